//! Files on their way out: parts of regular files, listings, descriptions.
//!
//! Only regular files are read: a FIFO or a device would block the one thread there is. Read next: `path.rs`.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};

use livery_guest::wire::message::{Done, ENTRIES_MAX, Entry, FileKind, Get, List, Stat};
use livery_guest::wire::{Kind, PAYLOAD_BYTES_MAX, Writer};

use crate::channel::Channel;
use crate::path;

/// Bytes read at a time.
const CHUNK_BYTES: usize = 32 * 1024;
/// Levels a listing goes down at most.
const DEPTH_MAX: u32 = 64;

/// A part of a file being sent.
pub(crate) struct Download {
    stream: u32,
    file: File,
    offset: u64,
    left: usize,
    size: u64,
}

impl Download {
    pub(crate) fn start(stream: u32, get: &Get) -> io::Result<Self> {
        let file = path::open(&get.path, libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY, get.reach)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let left = usize::try_from(get.limit).unwrap_or(usize::MAX);
        Ok(Self { stream, file, offset: get.offset, left, size: metadata.len() })
    }

    /// Sends the next chunk. Answers whether the part is complete.
    pub(crate) fn pump(&mut self, scratch: &mut [u8], channel: &mut Channel) -> bool {
        let want = self.left.min(CHUNK_BYTES).min(scratch.len());
        match self.file.read_at(&mut scratch[..want], self.offset) {
            Ok(0) => {
                let done = Done { total: self.size, truncated: false };
                channel.send(Kind::Done, self.stream, &done.encode());
                true
            }
            Ok(count) => {
                channel.send(Kind::Data, self.stream, &scratch[..count]);
                self.offset += count as u64;
                self.left -= count;
                false
            }
            Err(error) => {
                channel.fail(self.stream, &error, "reading the file");
                true
            }
        }
    }
}

/// Answers a description.
pub(crate) fn stat(stream: u32, request: &Stat, channel: &mut Channel) -> io::Result<()> {
    let metadata = path::open(&request.path, libc::O_PATH, request.reach)?.metadata()?;
    let mut w = Writer::new();
    describe(Vec::new(), &metadata).encode(&mut w);
    channel.send(Kind::Entries, stream, &w.into_bytes());
    channel.send(Kind::Done, stream, &Done { total: 1, truncated: false }.encode());
    Ok(())
}

/// Answers a listing, level by level; unreadable folders are listed and not entered.
pub(crate) fn list(stream: u32, request: &List, channel: &mut Channel) -> io::Result<()> {
    let root = path::open(&request.path, libc::O_RDONLY | libc::O_DIRECTORY, request.reach)?;
    let base = path::of_fd(&root);
    let limit = request.limit.min(ENTRIES_MAX);
    let mut sent = 0;
    let mut truncated = false;
    let mut batch = Writer::new();
    let mut level = vec![Vec::new()];
    for _ in 0..request.depth.clamp(1, DEPTH_MAX) {
        let mut next_level = Vec::new();
        for folder in std::mem::take(&mut level) {
            let Ok(names) = std::fs::read_dir(std::path::Path::new(&base).join(as_path(&folder))) else { continue };
            for name in names.flatten() {
                if sent == limit {
                    truncated = true;
                    break;
                }
                let Ok(metadata) = name.metadata() else { continue };
                let entry = describe(join(&folder, name.file_name().as_bytes()), &metadata);
                if entry.kind == FileKind::Directory {
                    next_level.push(entry.path.clone());
                }
                batch = add(batch, &entry, stream, channel);
                sent += 1;
            }
        }
        level = next_level;
    }
    if !batch.is_empty() {
        channel.send(Kind::Entries, stream, &batch.into_bytes());
    }
    channel.send(Kind::Done, stream, &Done { total: u64::from(sent), truncated }.encode());
    Ok(())
}

/// Adds an entry to the batch, sending the batch first when it is nearly full.
fn add(mut batch: Writer, entry: &Entry, stream: u32, channel: &mut Channel) -> Writer {
    if batch.len() + entry.path.len() + 64 > PAYLOAD_BYTES_MAX {
        channel.send(Kind::Entries, stream, &std::mem::take(&mut batch).into_bytes());
    }
    entry.encode(&mut batch);
    batch
}

fn describe(path: Vec<u8>, metadata: &Metadata) -> Entry {
    let kind = match metadata.file_type() {
        t if t.is_file() => FileKind::File,
        t if t.is_dir() => FileKind::Directory,
        t if t.is_symlink() => FileKind::Symlink,
        _ => FileKind::Other,
    };
    let seconds = u64::try_from(metadata.mtime()).unwrap_or(0);
    let nanos = u64::try_from(metadata.mtime_nsec()).unwrap_or(0);
    let modified_us = seconds.saturating_mul(1_000_000).saturating_add(nanos / 1000);
    Entry { path, kind, size: metadata.len(), mode: metadata.mode() & 0o7777, modified_us }
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}

fn as_path(bytes: &[u8]) -> &std::path::Path {
    std::path::Path::new(std::ffi::OsStr::from_bytes(bytes))
}
