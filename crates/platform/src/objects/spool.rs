//! A file on the node's own disk for something on its way into the store: written in pieces off the async threads, with its
//! size and digest at the end, gone when it is let go.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use livery_core::{Error, Result};
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use super::{Budget, Failure, PIECE_BYTES};
use crate::files::hex;

/// Where, below the data directory.
pub(super) const FOLDER: &str = "spool";

/// Makes the folder, or empties it: whatever is in it belongs to a life that ended.
pub(super) fn prepare(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    for entry in fs::read_dir(dir)? {
        fs::remove_file(entry?.path())?;
    }
    Ok(())
}

/// A file's name; with it goes the file.
#[derive(Debug)]
struct Aside(PathBuf);

impl Drop for Aside {
    fn drop(&mut self) {
        // Moved into the store, or not wanted any more. What cannot be removed goes at the next start.
        let _ = fs::remove_file(&self.0);
    }
}

/// Something that is being received. Dropped, nothing stays of it.
#[derive(Debug)]
pub struct Spool {
    /// `None` once a write failed or was given up half-way.
    open: Option<Open>,
    /// Received and not written yet: less than a piece.
    gathered: BytesMut,
    bytes: u64,
    bytes_max: u64,
    what: &'static str,
    aside: Aside,
    budget: Budget,
    room: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
struct Open {
    file: File,
    digest: Sha256,
}

/// Something that was received whole. Dropped, its copy in the spool goes.
#[derive(Debug)]
pub struct Spooled {
    aside: Aside,
    /// Its size.
    pub bytes: u64,
    /// Its digest, hex.
    pub sha256: String,
    _room: Option<OwnedSemaphorePermit>,
}

impl Spool {
    pub(super) async fn create(dir: &Path, budget: Budget, what: &'static str, bytes_max: u64) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let path = dir.join(NEXT.fetch_add(1, Ordering::Relaxed).to_string());
        let aside = Aside(path.clone());
        let open = move || OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = tokio::task::spawn_blocking(open).await.map_err(Error::internal)?;
        let file = file.map_err(|error| Failure::of_io(&error).spooling())?;
        let open = Some(Open { file, digest: Sha256::new() });
        Ok(Self { open, gathered: BytesMut::new(), bytes: 0, bytes_max, what, aside, budget, room: None })
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`Error::TooLarge`] beyond the limit, [`Error::Unavailable`] when there is no room. Either way it is to be dropped.
    pub async fn write(&mut self, piece: Bytes) -> Result<()> {
        self.bytes += piece.len() as u64;
        if self.bytes > self.bytes_max {
            return Err(Error::TooLarge { what: self.what, limit_bytes: self.bytes_max });
        }
        if self.gathered.is_empty() && piece.len() >= PIECE_BYTES {
            return self.flush(piece).await;
        }
        self.gathered.extend_from_slice(&piece);
        if self.gathered.len() >= PIECE_BYTES {
            let gathered = self.gathered.split().freeze();
            self.flush(gathered).await?;
        }
        Ok(())
    }

    /// What has arrived so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    async fn flush(&mut self, piece: Bytes) -> Result<()> {
        let room = self.budget.take(piece.len()).await?;
        match &mut self.room {
            Some(all) => all.merge(room),
            none => *none = Some(room),
        }
        let mut open = self.open.take().ok_or_else(|| Error::internal("a spool that failed was written to"))?;
        let write = move || {
            open.file.write_all(&piece)?;
            open.digest.update(&piece);
            Ok(open)
        };
        let written: io::Result<Open> = tokio::task::spawn_blocking(write).await.map_err(Error::internal)?;
        self.open = Some(written.map_err(|error| Failure::of_io(&error).spooling())?);
        Ok(())
    }

    /// The whole, with its size and digest.
    ///
    /// # Errors
    /// As for [`Spool::write`].
    pub async fn finish(mut self) -> Result<Spooled> {
        let rest = self.gathered.split().freeze();
        if !rest.is_empty() {
            self.flush(rest).await?;
        }
        let open = self.open.take().ok_or_else(|| Error::internal("a spool that failed was finished"))?;
        let sha256 = hex(&open.digest.finalize());
        Ok(Spooled { aside: self.aside, bytes: self.bytes, sha256, _room: self.room })
    }
}

impl Spooled {
    /// The file itself, for reading.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the disk refuses.
    pub async fn open(&self) -> Result<File> {
        let path = self.aside.0.clone();
        let opened = tokio::task::spawn_blocking(move || File::open(path)).await.map_err(Error::internal)?;
        opened.map_err(|error| Failure::of_io(&error).spooling())
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.aside.0
    }
}
