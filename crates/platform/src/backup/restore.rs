//! The way back: everything is laid down beside the place it belongs, checked there, and put into place by one rename.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use livery_core::id::{FileId, OrgId};
use livery_core::{Error, Result};
use livery_store::Snapshot;

use super::archive::{self, Entry};
use super::{DATABASE, FORMAT, MANIFEST, Manifest, ROOT_KEY, digest_of, each_file, failed, with_suffix};
use crate::files::FILE_BYTES_MAX;

/// Largest manifest.
const MANIFEST_BYTES_MAX: u64 = 64 * 1024;
/// Largest root key.
const ROOT_KEY_BYTES_MAX: u64 = 4 * 1024;

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What the archive said, and holds.
    pub manifest: Manifest,
}

/// Makes the data directory `into` out of the archive `from`. `into` must not exist, or be empty. `own` is called with the
/// finished directory before it gets its name, to give it to whom it belongs.
///
/// # Errors
/// A damaged, altered or foreign archive, a directory in use, a disk that is full: then `into` is what it was.
pub fn restore(from: &Path, into: &Path, own: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<Restored> {
    let is_empty = fs::read_dir(into).map(|mut entries| entries.next().is_none());
    if into.exists() && !is_empty.unwrap_or(false) {
        return Err(failed("restore into", into, "it is not empty; name a new directory"));
    }
    let aside = with_suffix(into, "restoring");
    let make = fs::DirBuilder::new().recursive(true).mode(0o700).create(&aside);
    make.map_err(|error| failed("write", &aside, error))?;
    if fs::read_dir(&aside).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(failed("restore into", &aside, "an earlier attempt was cut off there; remove it"));
    }
    let restored = lay_out(from, &aside).and_then(|manifest| {
        own(&aside).map_err(|error| failed("give away", &aside, error))?;
        if into.exists() {
            fs::remove_dir(into).map_err(|error| failed("replace", into, error))?;
        }
        fs::rename(&aside, into).map_err(|error| failed("write", into, error))?;
        Ok(Restored { manifest })
    });
    if restored.is_err() {
        // Of what was refused nothing stays; if it cannot be removed, the refusal is still what matters.
        let _ = fs::remove_dir_all(&aside);
    }
    restored
}

/// Lays the archive out below `aside` and checks it there.
fn lay_out(from: &Path, aside: &Path) -> Result<Manifest> {
    let mut manifest: Option<Manifest> = None;
    let mut files = 0;
    archive::read(from, |entry| {
        let Some(known) = &manifest else {
            manifest = Some(read_manifest(from, entry)?);
            return Ok(());
        };
        let (limit, target) = place(from, known, aside, &entry)?;
        if entry.bytes > limit {
            return Err(failed("restore", from, format!("{} is larger than it can be", entry.name)));
        }
        files += u64::from(entry.name != DATABASE && entry.name != ROOT_KEY);
        archive::lay_down(from, entry, &target)
    })?;
    let manifest = manifest.ok_or_else(|| failed("restore", from, "it is empty"))?;
    check(from, aside, &manifest, files)?;
    Ok(manifest)
}

fn read_manifest(from: &Path, entry: Entry<'_>) -> Result<Manifest> {
    let refuse = |why: String| failed("restore", from, why);
    if entry.name != MANIFEST || entry.bytes > MANIFEST_BYTES_MAX {
        return Err(refuse("it is no backup of Livery".into()));
    }
    let mut text = String::new();
    entry.content.read_to_string(&mut text).map_err(|error| refuse(error.to_string()))?;
    let manifest: Manifest =
        serde_json::from_str(&text).map_err(|error| refuse(format!("its manifest cannot be read: {error}")))?;
    if manifest.format != FORMAT {
        return Err(refuse(format!("its format is {}, this version reads {FORMAT}", manifest.format)));
    }
    Ok(manifest)
}

/// Where an entry goes and how large it may be. Only the names a backup gives are known; a path that leads elsewhere is not
/// one of them.
fn place(from: &Path, manifest: &Manifest, aside: &Path, entry: &Entry<'_>) -> Result<(u64, PathBuf)> {
    match entry.name.as_str() {
        DATABASE => return Ok((manifest.database_bytes, aside.join(DATABASE))),
        ROOT_KEY if manifest.root_key => return Ok((ROOT_KEY_BYTES_MAX, aside.join(ROOT_KEY))),
        _ => {}
    }
    let parts: Vec<&str> = entry.name.split('/').collect();
    let known = match parts.as_slice() {
        ["files", org, folder, file] => {
            org.parse::<OrgId>().is_ok()
                && file.parse::<FileId>().is_ok()
                && file.ends_with(folder)
                && folder.len() == 2
        }
        _ => false,
    };
    if !known {
        return Err(failed("restore", from, format!("it holds {:?}, which no backup has", entry.name)));
    }
    let target = aside.join(&entry.name);
    let parent = target.parent().unwrap_or(aside);
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(parent);
    made.map_err(|error| failed("write", parent, error))?;
    Ok((FILE_BYTES_MAX, target))
}

/// Whether what was laid out is what was backed up: the database by its digest, the log by its own, the files by their rows.
fn check(from: &Path, aside: &Path, manifest: &Manifest, files: u64) -> Result<()> {
    let refuse = |why: String| failed("restore", from, why);
    let database = aside.join(DATABASE);
    if !database.is_file() || digest_of(&database)? != (manifest.database_bytes, manifest.database_sha256.clone()) {
        return Err(refuse("its database is not the one that was backed up".into()));
    }
    let snapshot = Snapshot::open(&database)?;
    snapshot.schema()?;
    snapshot.check().map_err(|error| refuse(Error::from(error).to_string()))?;
    let found = each_file(&snapshot, |row| {
        let path = aside.join(&row.storage_path);
        if !path.is_file() {
            return Ok(0);
        }
        if digest_of(&path)? != (row.bytes, row.sha256.clone()) {
            return Err(refuse(format!("{} is not what was stored", row.storage_path)));
        }
        Ok(1)
    })?;
    if found != manifest.files || found != files {
        return Err(refuse(format!(
            "it names {} files and holds {files}, of which {found} belong to it",
            manifest.files
        )));
    }
    drop(snapshot);
    // What SQLite leaves beside a database it has read is not part of a backup.
    for left in ["livery.db-wal", "livery.db-shm"] {
        let _ = fs::remove_file(aside.join(left));
    }
    Ok(())
}
