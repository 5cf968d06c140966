//! Making an image out of a folder: one layer, whatever files, folders and links lie in it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use livery_core::Timestamp;
use livery_core::agent::ImageRef;
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
    packing.folder(folder, Path::new(""), 0)?;
    let written = packing.tar.into_inner().and_then(|mut inner| inner.flush());
    written.doing(|| "writing the layer".to_owned())
}

struct Packing<'a> {
    tar: tar::Builder<BufWriter<&'a File>>,
    limits: &'a Limits,
    entries: u64,
    bytes: u64,
    /// Files with several names, by device and inode.
    seen: HashMap<(u64, u64), PathBuf>,
}

impl Packing<'_> {
    fn folder(&mut self, folder: &Path, inside: &Path, depth: usize) -> Result<()> {
        if depth > DEPTH_MAX {
            return Err(Error::limit("folders in each other", DEPTH_MAX as u64));
        }
        let doing = || format!("reading {}", folder.display());
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).doing(doing)? {
            names.push(entry.doing(doing)?.file_name());
            if names.len() as u64 > self.limits.entries {
                return Err(Error::limit("names in the image", self.limits.entries));
            }
        }
        // The same folder is the same image.
        names.sort();
        for name in names {
            if depth > 0 || !LEFT_OUT.iter().any(|left| name == *left) {
                self.entry(&folder.join(&name), &inside.join(&name), depth)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, inside: &Path, depth: usize) -> Result<()> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(Error::limit("names in the image", self.limits.entries));
        }
        let doing = || format!("packing {}", path.display());
        let metadata = fs::symlink_metadata(path).doing(doing)?;
        let mut header = Header::new_gnu();
        header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or(0));
        header.set_mode(if metadata.is_dir() || metadata.mode() & 0o111 != 0 { 0o755 } else { 0o644 });
        header.set_size(0);
        if metadata.is_dir() {
            header.set_entry_type(EntryType::Directory);
            self.tar.append_data(&mut header, inside, io::empty()).doing(doing)?;
            return self.folder(path, inside, depth + 1);
        }
        if metadata.is_symlink() {
            header.set_entry_type(EntryType::Symlink);
            let target = fs::read_link(path).doing(doing)?;
            return self.tar.append_link(&mut header, inside, target).doing(doing);
        }
        if !metadata.is_file() {
            return Ok(());
        }
        if metadata.nlink() > 1 {
            let is = (metadata.dev(), metadata.ino());
            if let Some(first) = self.seen.get(&is) {
                header.set_entry_type(EntryType::Link);
                return self.tar.append_link(&mut header, inside, first).doing(doing);
            }
            self.seen.insert(is, inside.to_owned());
        }
        self.file(path, inside, header)
    }

    fn file(&mut self, path: &Path, inside: &Path, mut header: Header) -> Result<()> {
        let doing = || format!("packing {}", path.display());
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(path, flags, rustix::fs::Mode::empty()).doing(doing)?);
        let size = file.metadata().doing(doing)?.len();
        self.bytes = self.bytes.saturating_add(size);
        if size > self.limits.file_bytes || self.bytes > self.limits.unpacked_bytes {
            return Err(Error::limit("bytes of the image", self.limits.unpacked_bytes));
        }
        header.set_entry_type(EntryType::Regular);
        header.set_size(size);
        self.tar.append_data(&mut header, inside, Exactly { inner: file, left: size }).doing(doing)
    }
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
