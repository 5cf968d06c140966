//! Taking away what nobody needs, never under anybody's feet.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::{Store, remove};
use crate::digest::Digest;
use crate::error::{Doing, Result};
use crate::index::Index;

/// What was taken away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Images, unpacked.
    pub images: u64,
    /// Blobs.
    pub blobs: u64,
    /// Bytes of these blobs.
    pub blob_bytes: u64,
}

/// First the index forgets, then the roots go, then the blobs: whatever a crash leaves, the next time finds.
pub(super) fn collect(store: &Store, keep: &BTreeSet<Digest>) -> Result<Collected> {
    let mut index = Index::read(&store.index())?;
    let mut going = Vec::new();
    let mut kept = Vec::new();
    for image in std::mem::take(&mut index.images) {
        match (image.names.is_empty() && !keep.contains(&image.digest)).then(|| alone(&store.root(&image.digest))) {
            // Nobody takes it up while its lock is held.
            Some(Some(lock)) => going.push(lock),
            Some(None) | None => kept.push(image),
        }
    }
    index.images = kept;
    index.write(&store.index(), &store.staging())?;
    let mut collected = Collected { images: going.len() as u64, ..Collected::default() };
    for (number, path) in unlisted(&store.roots(), &roots(&index))?.into_iter().enumerate() {
        let doing = || format!("removing {}", path.display());
        let gone = store.staging().join(format!("gone-{number}"));
        fs::rename(&path, &gone).and_then(|()| remove(&gone)).doing(doing)?;
    }
    drop(going);
    for path in unlisted(&store.folder.join("blobs"), &blobs(&index))? {
        let doing = || format!("removing {}", path.display());
        collected.blob_bytes += fs::metadata(&path).map_or(0, |metadata| metadata.len());
        fs::remove_file(&path).doing(doing)?;
        collected.blobs += 1;
    }
    Ok(collected)
}

pub(super) fn has_garbage(store: &Store) -> Result<bool> {
    let index = Index::read(&store.index())?;
    Ok(index.images.iter().any(|image| image.names.is_empty())
        || !unlisted(&store.roots(), &roots(&index))?.is_empty()
        || !unlisted(&store.folder.join("blobs"), &blobs(&index))?.is_empty())
}

/// The roots of all images.
fn roots(index: &Index) -> BTreeSet<&str> {
    index.images.iter().map(|image| image.digest.hex()).collect()
}

/// The blobs of all images.
fn blobs(index: &Index) -> BTreeSet<&str> {
    let blobs = index.images.iter().flat_map(|image| {
        let layers = image.layers.iter().map(|layer| layer.digest.hex());
        layers.chain([image.config.digest.hex(), image.digest.hex()])
    });
    blobs.collect()
}

/// The lock of a root that nobody else holds. One that is not there is nobody's.
fn alone(root: &Path) -> Option<Option<File>> {
    match File::open(root) {
        Ok(root) => root.try_lock().ok().map(|()| Some(root)),
        Err(_) => Some(None),
    }
}

fn unlisted(folder: &Path, listed: &BTreeSet<&str>) -> Result<Vec<PathBuf>> {
    let doing = || format!("reading {}", folder.display());
    let mut paths = Vec::new();
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(paths),
        other => other.doing(doing)?,
    };
    for entry in entries {
        let name: OsString = entry.doing(doing)?.file_name();
        if !name.to_str().is_some_and(|name| listed.contains(name)) {
            paths.push(folder.join(name));
        }
    }
    Ok(paths)
}
