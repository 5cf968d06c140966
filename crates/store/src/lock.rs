//! One process per database file: a lock beside it, held for the life of the store and freed by the kernel at any death.
//!
//! Without it a second `livery up` on the same folder would void the leases of the first.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// How long a lock is waited for: a process that is being ended, or that forked and has not executed yet, holds one of an owner
/// that is gone.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The held lock.
pub(crate) struct DatabaseLock {
    _file: File,
}

impl DatabaseLock {
    /// Takes the lock of the database at `path`, and makes sure that only its owner can read the database. Blocks as [`hold`].
    pub(crate) fn take(path: &Path) -> Result<Self> {
        let unavailable = |what: &str, error: std::io::Error| Error::Unavailable {
            reason: format!("{what} {}: {error}", path.display()),
        };
        // Created before SQLite does, for the mode; the -wal and -shm files inherit it.
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| unavailable("cannot open", error))?;
        match hold(&path.with_extension("lock")) {
            Ok(file) => Ok(Self { _file: file }),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                Err(Error::Unavailable { reason: format!("{} is in use by another process", path.display()) })
            }
            Err(error) => Err(unavailable("cannot lock", error)),
        }
    }
}

/// Locks the file at `path`, made with mode 0600, until it is dropped. Blocks for up to a second while it is held.
///
/// # Errors
/// `WouldBlock` when it stays held; what the file system says.
pub fn hold(path: &Path) -> std::io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if begun.elapsed() < WAIT_MAX => std::thread::sleep(LOOK_EVERY),
            locked => return Ok(locked.map(|()| file)?),
        }
    }
}
