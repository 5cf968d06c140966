//! Where an image comes from: a folder, or a tar archive of one, compressed or not.
//!
//! Files are found by plain names only. In an archive they are found by where they begin, so nothing of it is unpacked.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{FileType, OFlags, ResolveFlags, fstat};

use crate::error::{Doing, Error, Result};
use crate::layer::{Kind, Tar, split};
use crate::limits::Limits;
use crate::tree::open_within;
use crate::unpack::decoded;

/// Names that an archive gives to files it has already: links are followed that often.
const LINKS_MAX: usize = 4;

/// What an image is read from.
#[derive(Debug)]
pub struct Source {
    place: Place,
    /// For people.
    name: String,
}

#[derive(Debug)]
enum Place {
    Folder(OwnedFd),
    Archive { file: File, names: HashMap<Vec<u8>, At> },
}

/// Where a file of an archive is.
#[derive(Debug, Clone)]
enum At {
    Bytes {
        offset: u64,
        size: u64,
    },
    /// Another name, plain.
    Link(Vec<u8>),
}

/// A file of a source.
pub(crate) struct Piece<'a> {
    pub(crate) reader: Box<dyn Read + 'a>,
    pub(crate) size: u64,
}

impl Source {
    /// A folder, or an archive; an archive may be a pipe. `name` is for people. `spool` makes a file for what has to be unpacked
    /// or read to its end first.
    ///
    /// # Errors
    /// It cannot be read, or is no archive.
    pub fn of(mut file: File, name: String, limits: &Limits, spool: impl FnOnce() -> io::Result<File>) -> Result<Self> {
        let doing = || format!("reading {name}");
        if file.metadata().doing(doing)?.is_dir() {
            return Ok(Self { place: Place::Folder(file.into()), name });
        }
        let mut head = [0; 4];
        let is_file = file.metadata().doing(doing)?.is_file();
        let plain = is_file && file.read_at(&mut head, 0).doing(doing)? == 4 && !is_compressed(head);
        if !plain {
            let mut spooled = spool().doing(|| "making a file to unpack into".to_owned())?;
            let mut unpacked = decoded(&mut file, limits)?;
            io::copy(&mut unpacked, &mut spooled).doing(doing)?;
            spooled.flush().and_then(|()| spooled.rewind()).doing(doing)?;
            drop(unpacked);
            file = spooled;
        }
        let names = names(&file, limits)?;
        Ok(Self { place: Place::Archive { file, names }, name })
    }

    /// A file by its plain name; `None`: there is none.
    pub(crate) fn piece(&self, name: &str) -> Result<Option<Piece<'_>>> {
        if name.is_empty() || name.split('/').any(|part| matches!(part, "" | "." | "..")) || name.contains('\0') {
            return Err(Error::invalid(format!("{name:?} is no name of a file in an image")));
        }
        match &self.place {
            Place::Folder(folder) => self.piece_of_folder(folder, name),
            Place::Archive { file, names } => {
                let mut at = names.get(name.as_bytes());
                for _ in 0..LINKS_MAX {
                    let Some(At::Link(target)) = at else { break };
                    at = names.get(target);
                }
                let Some(At::Bytes { offset, size }) = at else { return Ok(None) };
                let reader = Box::new(Window { file, at: *offset, left: *size });
                Ok(Some(Piece { reader, size: *size }))
            }
        }
    }

    fn piece_of_folder(&self, folder: &OwnedFd, name: &str) -> Result<Option<Piece<'_>>> {
        // A pipe in the place of a file must not hold us up.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let file = match open_within(folder, name, flags, within) {
            Ok(file) => file,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error).doing(|| format!("opening {name} of {}", self.name)),
        };
        let stat = fstat(&file).doing(|| format!("opening {name} of {}", self.name))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Error::invalid(format!("{name} of {} is no file", self.name)));
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        Ok(Some(Piece { reader: Box::new(File::from(file)), size }))
    }

    /// A small file whole.
    pub(crate) fn document(&self, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>> {
        let Some(piece) = self.piece(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        piece.reader.take(bytes_max + 1).read_to_end(&mut bytes).doing(|| format!("reading {name}"))?;
        if bytes.len() as u64 > bytes_max {
            return Err(Error::limit(format!("bytes of {name}"), bytes_max));
        }
        Ok(Some(bytes))
    }
}

/// Whether these four bytes begin a gzip or zstd stream.
pub(crate) fn is_compressed(head: [u8; 4]) -> bool {
    head.starts_with(&[0x1f, 0x8b]) || head == [0x28, 0xb5, 0x2f, 0xfd]
}

fn names(file: &File, limits: &Limits) -> Result<HashMap<Vec<u8>, At>> {
    let size = file.metadata().doing(|| "looking at the archive".to_owned())?.len();
    let mut tar = Tar::new(Window { file, at: 0, left: size }, limits.blob_bytes);
    let mut names = HashMap::new();
    while let Some(entry) = tar.next_entry()? {
        let at = match entry.kind {
            Kind::File { .. } => At::Bytes { offset: entry.offset, size: entry.size },
            Kind::Hard(target) => At::Link(target),
            // An older `docker save` links from one image's layer to another's.
            Kind::Symbolic(text) => match beside(&entry.path, &text) {
                Some(target) => At::Link(target),
                None => continue,
            },
            _ => continue,
        };
        if names.len() >= limits.archive_entries {
            return Err(Error::limit("files in the archive", limits.archive_entries as u64));
        }
        names.insert(entry.path, at);
    }
    Ok(names)
}

/// Where a relative link leads, as a plain name; `None`: nowhere in the archive.
fn beside(path: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    let mut parts: Vec<&[u8]> = split(path).0.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect();
    for part in text.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    (!text.starts_with(b"/")).then(|| parts.join(&b'/'))
}

/// A part of a file, read without moving in it.
#[derive(Debug)]
struct Window<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Window<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}
