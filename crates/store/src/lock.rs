//! One process per database file: a lock beside it, held for the life of the store and freed by the kernel at any death.
//!
//! Without it a second `livery up` on the same folder would void the leases of the first.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::error::{Error, Result};

/// The held lock.
pub(crate) struct DatabaseLock {
    _file: File,
}

impl DatabaseLock {
    /// Takes the lock of the database at `path`, and makes sure that only its owner can read the database.
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
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path.with_extension("lock"))
            .map_err(|error| unavailable("cannot lock", error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => {
                Err(Error::Unavailable { reason: format!("{} is in use by another process", path.display()) })
            }
            Err(TryLockError::Error(error)) => Err(unavailable("cannot lock", error)),
        }
    }
}
