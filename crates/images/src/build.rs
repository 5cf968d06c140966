//! Making an image out of a folder: one layer, whatever files, folders and links lie in it.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use livery_core::Timestamp;
use livery_core::agent::ImageRef;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use serde_json::json;
use tar::{EntryType, Header};

use crate::blobs::Expected;
use crate::error::{Doing, Error, Result};
use crate::index::Image;
use crate::limits::{DEPTH_MAX, Limits};
use crate::manifest::{self, Platform};
use crate::offer::{self, CONFIG_TYPE, LAYER_TYPE};
use crate::store::Change;

/// What every sandbox has of its own; in an image it would only hide.
const LEFT_OUT: [&str; 5] = ["proc", "sys", "dev", "run", "tmp"];

impl Change<'_> {
    /// Makes an image of a layer that [`pack`] wrote.
    ///
    /// # Errors
    /// As for an import.
    pub fn build(&self, layer: &mut File, name: &ImageRef, now: Timestamp) -> Result<Image> {
        let (blobs, limits) = (self.store().blobs(), self.store().limits());
        layer.rewind().doing(|| "reading the layer".to_owned())?;
        let (digest, size) = blobs.put("the layer", layer, Expected::AtMost(limits.blob_bytes))?;
        let Platform { os, architecture } = Platform::here();
        let config = json!({
            "os": os,
            "architecture": architecture,
            "created": now.to_string(),
            "rootfs": {"type": "layers", "diff_ids": [digest]},
        });
        let text = config.to_string();
        let parts = blobs.put("the configuration", text.as_bytes(), Expected::AtMost(limits.document_bytes))?;
        let parts = offer::descriptor(CONFIG_TYPE, parts.0, parts.1);
        let layers = vec![offer::descriptor(LAYER_TYPE, digest, size)];
        let mut offer = offer::made(parts, layers, manifest::config(text.as_bytes())?, &blobs)?;
        offer.names = vec![name.clone()];
        let made = self.admit(vec![offer], now)?;
        made.into_iter().next().ok_or_else(|| Error::Unknown(name.to_string()))
    }
}

/// Packs a folder into a layer: its files with their executable bit, folders and links. Owners, devices, pipes and sockets stay
/// behind, and so does what is in `proc`, `sys`, `dev`, `run` and `tmp` at its top. Another file system mounted in it is packed too.
///
/// # Errors
/// Something in it cannot be read, or it is beyond a limit.
pub fn pack(folder: &Path, into: &File, limits: &Limits) -> Result<()> {
    let tar = tar::Builder::new(BufWriter::new(into));
    let mut packing = Packing { tar, limits, entries: 0, bytes: 0, seen: HashMap::new() };
    let doing = || format!("reading {}", folder.display());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rustix::fs::open(folder, flags, Mode::empty()).doing(doing)?;
    packing.folder(&top, Path::new(""), 0)?;
    let written = packing.tar.into_inner().and_then(|mut inner| inner.flush());
    written.doing(|| "writing the layer".to_owned())
}

/// It may be root who packs what others can write to: each step is taken from an open folder, so that what they swap meanwhile
/// leads nowhere else.
struct Packing<'a> {
    tar: tar::Builder<BufWriter<&'a File>>,
    limits: &'a Limits,
    entries: u64,
    bytes: u64,
    /// Files with several names, by device and inode.
    seen: HashMap<(u64, u64), PathBuf>,
}

impl Packing<'_> {
    fn folder(&mut self, folder: &OwnedFd, inside: &Path, depth: usize) -> Result<()> {
        if depth > DEPTH_MAX {
            return Err(Error::limit("folders in each other", DEPTH_MAX as u64));
        }
        let doing = || format!("reading {}", inside.display());
        let mut names = Vec::new();
        for entry in Dir::read_from(folder).doing(doing)? {
            let name = entry.doing(doing)?.file_name().to_bytes().to_vec();
            if !matches!(name.as_slice(), b"." | b"..") {
                names.push(OsString::from_vec(name));
            }
            if names.len() as u64 > self.limits.entries {
                return Err(Error::limit("names in the image", self.limits.entries));
            }
        }
        // The same folder is the same image.
        names.sort();
        for name in names {
            if depth > 0 || !LEFT_OUT.iter().any(|left| name == *left) {
                self.entry(folder, &name, &inside.join(&name), depth)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, folder: &OwnedFd, name: &OsStr, inside: &Path, depth: usize) -> Result<()> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(Error::limit("names in the image", self.limits.entries));
        }
        let doing = || format!("packing {}", inside.display());
        let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).doing(doing)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let mut header = header(&stat, EntryType::Directory);
                self.tar.append_data(&mut header, inside, io::empty()).doing(doing)?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let below = rustix::fs::openat(folder, name, flags, Mode::empty()).doing(doing)?;
                self.folder(&below, inside, depth + 1)
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(folder, name, Vec::new()).doing(doing)?;
                let target = OsStr::from_bytes(target.as_bytes());
                self.tar.append_link(&mut header(&stat, EntryType::Symlink), inside, target).doing(doing)
            }
            FileType::RegularFile => self.file(folder, name, inside),
            _ => Ok(()),
        }
    }

    fn file(&mut self, folder: &OwnedFd, name: &OsStr, inside: &Path) -> Result<()> {
        let doing = || format!("packing {}", inside.display());
        // What was a file may be a pipe by now, and must not hold us up.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(folder, name, flags, Mode::empty()).doing(doing)?;
        let stat = rustix::fs::fstat(&file).doing(doing)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Error::invalid(format!("{} became another thing while it was packed", inside.display())));
        }
        if stat.st_nlink > 1 {
            let is = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.seen.get(&is) {
                return self.tar.append_link(&mut header(&stat, EntryType::Link), inside, first).doing(doing);
            }
            self.seen.insert(is, inside.to_owned());
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        self.bytes = self.bytes.saturating_add(size);
        if size > self.limits.file_bytes || self.bytes > self.limits.unpacked_bytes {
            return Err(Error::limit("bytes of the image", self.limits.unpacked_bytes));
        }
        let mut header = header(&stat, EntryType::Regular);
        header.set_size(size);
        self.tar.append_data(&mut header, inside, Exactly { inner: File::from(file), left: size }).doing(doing)
    }
}

fn header(stat: &Stat, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    header.set_mode(if kind == EntryType::Directory || stat.st_mode & 0o111 != 0 { 0o755 } else { 0o644 });
    header.set_size(0);
    header
}

/// As many bytes as a header says: a file that grows meanwhile is cut, and one that shrinks is an error.
struct Exactly<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.inner.read(&mut buffer[..most])?;
        if read == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        Ok(read)
    }
}
