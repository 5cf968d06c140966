//! A copy of one node's data directory as one file, taken while the server works, and the way back.
//!
//! The file is a zstd-compressed tar: `manifest.json` first, then `livery.db`, then the stored files, each under the path it
//! has in the data directory. The database is a snapshot; the files it names were written before their rows and never
//! change, so copying them afterwards is in time. The root key is only in it when asked for.
//!
//! Walk on: `archive` is the format, `restore` the way back, which trusts nothing in the file.

mod archive;
mod restore;

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use livery_core::{Error, Result, Timestamp};
use livery_store::{Counts, FileRow, Snapshot};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use self::restore::{Restored, restore};
use crate::files::hex;

/// The format this version writes and reads.
const FORMAT: &str = "livery-backup/1";
/// The database below a data directory, and in the archive.
const DATABASE: &str = "livery.db";
/// The root key below a data directory, and in the archive.
const ROOT_KEY: &str = "root.key";
/// The manifest in the archive.
const MANIFEST: &str = "manifest.json";
/// Bytes hashed at a time.
const CHUNK: usize = 64 * 1024;

/// What to copy and where to.
#[derive(Debug, Clone)]
pub struct BackUp {
    /// The data directory of a server, at work or not.
    pub data_dir: PathBuf,
    /// The file to write; it must not exist.
    pub out: PathBuf,
    /// Whether the root key goes along. Whoever has the file then has every secret in it.
    pub include_root_key: bool,
    /// When.
    pub now: Timestamp,
}

/// What is in an archive: its first entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The format, `livery-backup/1`.
    pub format: String,
    /// The Livery that wrote it.
    pub livery: String,
    /// The version of the database's schema.
    pub schema: u32,
    /// When.
    pub created_at: Timestamp,
    /// Rows.
    pub organizations: u64,
    /// Rows.
    pub runs: u64,
    /// Rows.
    pub events: u64,
    /// Files whose bytes are in the archive.
    pub files: u64,
    /// Files that have a row and no bytes below the data directory: in an object store, or lost before.
    pub files_elsewhere: u64,
    /// Bytes of the database.
    pub database_bytes: u64,
    /// SHA-256 of the database, hex.
    pub database_sha256: String,
    /// Whether the root key is in it.
    pub root_key: bool,
}

/// Copies a data directory into one file. Synchronous, for a command of its own.
///
/// # Errors
/// When something cannot be read or written, or a stored file is not what its row says: then there is no archive.
pub fn back_up(order: &BackUp) -> Result<Manifest> {
    if order.out.exists() {
        return Err(failed("write", &order.out, "it exists already"));
    }
    let aside = with_suffix(&order.out, "part");
    let copy = with_suffix(&order.out, "part-db");
    let written = write_archive(order, &aside, &copy);
    // The working copies go in any case; what cannot be removed is named by the failure that counts.
    let _ = fs::remove_file(&copy);
    if written.is_err() {
        let _ = fs::remove_file(&aside);
    }
    let manifest = written?;
    fs::rename(&aside, &order.out).map_err(|error| failed("write", &order.out, error))?;
    Ok(manifest)
}

fn write_archive(order: &BackUp, aside: &Path, copy: &Path) -> Result<Manifest> {
    // SQLite writes only into a file that is not there; of an earlier attempt that was cut off nothing is wanted.
    let _ = fs::remove_file(copy);
    let database = order.data_dir.join(DATABASE);
    if !database.is_file() {
        return Err(failed("read", &database, "there is no database; is this the data directory of a server?"));
    }
    let snapshot = Snapshot::take(&database, copy)?;
    let Counts { organizations, runs, events, files } = snapshot.counts()?;
    let missing = each_file(&snapshot, |row| Ok(u64::from(!order.data_dir.join(&row.storage_path).is_file())))?;
    let (database_bytes, database_sha256) = digest_of(copy)?;
    let manifest = Manifest {
        format: FORMAT.to_owned(),
        livery: env!("CARGO_PKG_VERSION").to_owned(),
        schema: snapshot.schema()?,
        created_at: order.now,
        organizations,
        runs,
        events,
        files: files - missing,
        files_elsewhere: missing,
        database_bytes,
        database_sha256,
        root_key: order.include_root_key,
    };
    let mut archive = archive::Writer::create(aside)?;
    archive.bytes(MANIFEST, &serde_json::to_vec_pretty(&manifest).map_err(Error::internal)?)?;
    archive.file(DATABASE, copy)?;
    if order.include_root_key {
        let path = order.data_dir.join(ROOT_KEY);
        archive.bytes(ROOT_KEY, &fs::read(&path).map_err(|error| failed("read", &path, error))?)?;
    }
    let mut left = manifest.files;
    each_file(&snapshot, |row| {
        let path = order.data_dir.join(&row.storage_path);
        if left == 0 || !path.is_file() {
            return Ok(0);
        }
        if digest_of(&path)? != (row.bytes, row.sha256.clone()) {
            return Err(failed("copy", &path, "its content is not what was stored"));
        }
        left -= 1;
        archive.file(&row.storage_path, &path).map(|()| 1)
    })?;
    if left > 0 {
        return Err(failed("copy", &order.data_dir, "files went away meanwhile; try again"));
    }
    archive.finish()?;
    Ok(manifest)
}

/// Calls `look` for every file's row; the sum of what it answers.
fn each_file(snapshot: &Snapshot, mut look: impl FnMut(&FileRow) -> Result<u64>) -> Result<u64> {
    let (mut sum, mut after) = (0, None);
    loop {
        let page = snapshot.files_after(after)?;
        let Some(last) = page.last() else { return Ok(sum) };
        after = Some(last.id);
        for row in &page {
            sum += look(row)?;
        }
    }
}

/// Size and SHA-256 of a file.
fn digest_of(path: &Path) -> Result<(u64, String)> {
    let read = || -> std::io::Result<(u64, String)> {
        let (mut file, mut digest, mut bytes) = (File::open(path)?, Sha256::new(), 0);
        let mut chunk = vec![0; CHUNK];
        loop {
            match file.read(&mut chunk)? {
                0 => return Ok((bytes, hex(&digest.finalize()))),
                read => {
                    digest.update(&chunk[..read]);
                    bytes += read as u64;
                }
            }
        }
    };
    read().map_err(|error| failed("read", path, error))
}

/// `path` with something after its whole name.
fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(suffix);
    path.with_file_name(name)
}

/// What could not be done with a file, for the operator at the command line.
fn failed(what: &str, path: &Path, why: impl std::fmt::Display) -> Error {
    Error::Unavailable { detail: format!("cannot {what} {}: {why}", path.display()), retry_after_s: 0 }
}

#[cfg(test)]
mod tests;
