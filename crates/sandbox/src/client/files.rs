//! Files of a sandbox, moved by its guest; this process never opens a path of a workspace.
//!
//! Read next: `livery-guest`'s `files.rs` and `upload.rs`, the other side.

use std::fs::File;
use std::io::Read as _;
use std::path::{Component, Path};
use std::time::Duration;

use livery_guest::wire::message::{
    self, Done, ENTRIES_MAX, GET_BYTES_MAX, Get, List, PATH_BYTES_MAX, Put, Reach, Stat,
};
use livery_guest::wire::{Kind, PAYLOAD_BYTES_MAX, Reader};

pub use livery_guest::wire::message::FileKind;

use super::channel::Call;
use super::exec::absolute;
use super::sandbox::Sandbox;
use crate::error::Error;

/// One file request.
const REQUEST_MAX: Duration = Duration::from_secs(30);
/// A whole file on its way in.
const PUT_MAX: Duration = Duration::from_secs(120);
/// Bytes of a collected file that are read at a time.
const ARTIFACT_PIECE_BYTES: u32 = 1 << 20;
/// Bytes of a local file that are read at a time.
const SOURCE_PIECE_BYTES: u64 = 256 << 10;
/// What an entry may take on the wire.
const ENTRY_BYTES_MAX: u64 = PATH_BYTES_MAX as u64 + 32;

/// One name in a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the folder that was listed, or empty for a description. Bytes that are not UTF-8 are replaced.
    pub path: String,
    /// What it is.
    pub kind: FileKind,
    /// Bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Last change, microseconds since 1970.
    pub modified_us: u64,
}

/// A listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Level by level, each level in the order of names.
    pub entries: Vec<Entry>,
    /// Whether there were more than the limit.
    pub truncated: bool,
}

/// A part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePart {
    /// The bytes asked for; fewer at the file's end.
    pub bytes: Vec<u8>,
    /// The file's whole size.
    pub size: u64,
}

/// What may be collected from `/workspace/outputs`.
#[derive(Clone, Copy, Debug)]
pub struct ArtifactLimits {
    /// Files; at most 10,000.
    pub files: u32,
    /// Bytes of one.
    pub file_bytes: u64,
    /// Bytes of all.
    pub total_bytes: u64,
}

impl Default for ArtifactLimits {
    fn default() -> Self {
        Self { files: 100, file_bytes: 16 << 20, total_bytes: 64 << 20 }
    }
}

/// One file to collect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Relative to `/workspace/outputs`, plain components only.
    pub path: String,
    /// What it may have at most; it may change until it is read.
    pub bytes_max: u64,
}

/// What may be collected, and what may not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Artifacts {
    /// The files, to be read with [`Sandbox::artifact`].
    pub files: Vec<Artifact>,
    /// Paths left out, each with the reason.
    pub left_out: Vec<(String, &'static str)>,
}

impl Sandbox {
    /// Writes a file, making folders on the way. The name appears once the file is complete.
    ///
    /// # Errors
    /// The guest cannot write there, or the sandbox was lost.
    pub async fn put(&self, path: &str, bytes: &[u8], mode: u32) -> Result<(), Error> {
        let request = Put { path: absolute(path)?, mode: mode & 0o777, reach: Reach::Sandbox };
        let mut call = self.inner.channel.open(0);
        self.within(PUT_MAX, async {
            call.send(Kind::Put, &request.encode()).await?;
            for part in bytes.chunks(PAYLOAD_BYTES_MAX) {
                call.send(Kind::PutData, part).await?;
            }
            call.send(Kind::PutEnd, &[]).await?;
            done(&mut call).await.map(drop)
        })
        .await
    }

    /// Writes a file as [`Sandbox::put`] does, out of one of this machine that the caller opened: it is read piece by piece,
    /// from where it stands to its end.
    ///
    /// # Errors
    /// As for [`Sandbox::put`]; `source` cannot be read.
    pub async fn put_file(&self, path: &str, source: File, mode: u32) -> Result<(), Error> {
        let request = Put { path: absolute(path)?, mode: mode & 0o777, reach: Reach::Sandbox };
        let mut call = self.inner.channel.open(0);
        self.within(PUT_MAX, async {
            call.send(Kind::Put, &request.encode()).await?;
            let mut source = source;
            loop {
                let piece;
                (piece, source) = read_piece(source).await?;
                if piece.is_empty() {
                    break;
                }
                for part in piece.chunks(PAYLOAD_BYTES_MAX) {
                    call.send(Kind::PutData, part).await?;
                }
            }
            call.send(Kind::PutEnd, &[]).await?;
            done(&mut call).await.map(drop)
        })
        .await
    }

    /// Reads up to `limit` bytes (at most 8 MiB) of a regular file.
    ///
    /// # Errors
    /// [`Error::Guest`] when there is no such regular file; the sandbox was lost.
    pub async fn get(&self, path: &str, offset: u64, limit: u32) -> Result<FilePart, Error> {
        self.get_within(path, offset, limit, Reach::Sandbox).await
    }

    async fn get_within(&self, path: &str, offset: u64, limit: u32, reach: Reach) -> Result<FilePart, Error> {
        let limit = limit.min(GET_BYTES_MAX);
        let request = Get { path: absolute(path)?, offset, limit, reach };
        let mut call = self.inner.channel.open(u64::from(limit));
        self.within(REQUEST_MAX, async {
            call.send(Kind::Get, &request.encode()).await?;
            let mut bytes = Vec::new();
            loop {
                let event = call.next().await?;
                match event.kind {
                    Kind::Data if bytes.len() + event.payload.len() <= limit as usize => {
                        bytes.extend_from_slice(&event.payload)
                    }
                    Kind::Done => {
                        let done = Done::decode(&event.payload).map_err(|error| call.rubbish(error))?;
                        return Ok(FilePart { bytes, size: done.total });
                    }
                    kind => return Err(call.rubbish(livery_guest::wire::Error::Kind(kind as u8))),
                }
            }
        })
        .await
    }

    /// Lists a folder, `depth` levels down (1 is the folder alone), at most `limit` entries (and 10,000). Links are listed,
    /// never followed.
    ///
    /// # Errors
    /// [`Error::Guest`] when there is no such folder; the sandbox was lost.
    pub async fn list(&self, path: &str, depth: u32, limit: u32) -> Result<Listing, Error> {
        self.list_within(path, depth, limit, Reach::Sandbox).await
    }

    async fn list_within(&self, path: &str, depth: u32, limit: u32, reach: Reach) -> Result<Listing, Error> {
        let limit = limit.min(ENTRIES_MAX);
        let request = List { path: absolute(path)?, depth, limit, reach };
        let mut call = self.inner.channel.open(u64::from(limit) * ENTRY_BYTES_MAX);
        self.within(REQUEST_MAX, async {
            call.send(Kind::List, &request.encode()).await?;
            let mut entries = Vec::new();
            let done = collect(&mut call, limit, &mut entries).await?;
            entries.sort_by(|a, b| depth_of(a).cmp(&depth_of(b)).then_with(|| a.path.cmp(&b.path)));
            Ok(Listing { entries, truncated: done.truncated })
        })
        .await
    }

    /// Describes one path, following a link.
    ///
    /// # Errors
    /// [`Error::Guest`] when there is nothing of that name; the sandbox was lost.
    pub async fn stat(&self, path: &str) -> Result<Entry, Error> {
        let request = Stat { path: absolute(path)?, reach: Reach::Sandbox };
        let mut call = self.inner.channel.open(ENTRY_BYTES_MAX);
        self.within(REQUEST_MAX, async {
            call.send(Kind::Stat, &request.encode()).await?;
            let mut entries = Vec::new();
            collect(&mut call, 1, &mut entries).await?;
            entries.pop().ok_or_else(|| call.rubbish(livery_guest::wire::Error::Malformed))
        })
        .await
    }

    /// Finds the regular files below `/workspace/outputs`. No link is followed, and nothing outside is reached.
    ///
    /// # Errors
    /// The sandbox was lost. A missing folder is no error.
    pub async fn artifacts(&self, limits: ArtifactLimits) -> Result<Artifacts, Error> {
        let listing = match self.list_within("outputs", 32, ENTRIES_MAX, Reach::Workspace).await {
            Ok(listing) => listing,
            Err(Error::Guest { .. }) => return Ok(Artifacts::default()),
            Err(error) => return Err(error),
        };
        let mut found = Artifacts::default();
        let mut total = 0;
        for entry in listing.entries {
            let reason = match entry.kind {
                FileKind::Directory => continue,
                FileKind::Symlink => Some("a link"),
                FileKind::Other => Some("not a regular file"),
                FileKind::File if !is_plain(&entry.path) => Some("its name is not plain text"),
                FileKind::File if found.files.len() >= limits.files as usize => Some("too many files"),
                FileKind::File if entry.size > limits.file_bytes => Some("too large"),
                FileKind::File if total + entry.size > limits.total_bytes => Some("all together too large"),
                FileKind::File => None,
            };
            if let Some(reason) = reason {
                found.left_out.push((entry.path, reason));
                continue;
            }
            let bytes_max = limits.file_bytes.min(limits.total_bytes - total);
            total += entry.size;
            found.files.push(Artifact { path: entry.path, bytes_max });
        }
        Ok(found)
    }

    /// Reads a piece of a file that [`Sandbox::artifacts`] found: up to 1 MiB from `offset`, nothing at its end.
    ///
    /// # Errors
    /// [`Error::Guest`] when it cannot be read any more; the sandbox was lost.
    pub async fn artifact(&self, path: &str, offset: u64) -> Result<FilePart, Error> {
        self.get_within(&format!("outputs/{path}"), offset, ARTIFACT_PIECE_BYTES, Reach::Workspace).await
    }

    async fn within<T>(&self, deadline: Duration, request: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        match tokio::time::timeout(deadline, request).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.silent().await),
        }
    }
}

/// Reads off the async threads: a disk may stand still.
async fn read_piece(mut source: File) -> Result<(Vec<u8>, File), Error> {
    let failed = |source| Error::Io { doing: "reading a file for a sandbox", source };
    let read = move || {
        let mut piece = Vec::new();
        (&mut source).take(SOURCE_PIECE_BYTES).read_to_end(&mut piece).map(|_| (piece, source))
    };
    let read = tokio::task::spawn_blocking(read).await;
    read.map_err(|error| failed(std::io::Error::other(error)))?.map_err(failed)
}

async fn done(call: &mut Call) -> Result<Done, Error> {
    let event = call.next().await?;
    if event.kind != Kind::Done {
        return Err(call.rubbish(livery_guest::wire::Error::Kind(event.kind as u8)));
    }
    Done::decode(&event.payload).map_err(|error| call.rubbish(error))
}

async fn collect(call: &mut Call, limit: u32, entries: &mut Vec<Entry>) -> Result<Done, Error> {
    loop {
        let event = call.next().await?;
        match event.kind {
            Kind::Entries => {
                let mut reader = Reader::new(&event.payload);
                while !reader.is_empty() {
                    let entry = message::Entry::decode(&mut reader).map_err(|error| call.rubbish(error))?;
                    if entries.len() >= limit as usize {
                        return Err(call.rubbish(livery_guest::wire::Error::TooLong));
                    }
                    entries.push(readable(entry));
                }
            }
            Kind::Done => return Done::decode(&event.payload).map_err(|error| call.rubbish(error)),
            kind => return Err(call.rubbish(livery_guest::wire::Error::Kind(kind as u8))),
        }
    }
}

fn readable(entry: message::Entry) -> Entry {
    let message::Entry { path, kind, size, mode, modified_us } = entry;
    Entry { path: String::from_utf8_lossy(&path).into_owned(), kind, size, mode, modified_us }
}

fn depth_of(entry: &Entry) -> usize {
    entry.path.bytes().filter(|byte| *byte == b'/').count()
}

/// Plain components, readable characters: fit to be a name elsewhere.
fn is_plain(path: &str) -> bool {
    let normal = Path::new(path).components().all(|component| matches!(component, Component::Normal(_)));
    !path.is_empty() && path.len() <= 1024 && normal && !path.chars().any(|c| c.is_control() || c == '\u{FFFD}')
}
