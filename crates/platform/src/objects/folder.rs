//! Objects in a folder of this machine, or one that all nodes have mounted.
//!
//! A key is a path below the folder. An object appears by a rename within the folder, after its bytes and before its
//! directory are flushed: a crash leaves the whole or a `.part`, which is swept.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use futures_util::StreamExt as _;
use livery_core::Timestamp;

use super::{Failure, Listed, PIECE_BYTES, Pieces, Spooled};

/// The end of a name that is not an object yet.
pub(crate) const PART: &str = "part";
/// Folders below each other that a list walks down.
const DEPTH_MAX: usize = 8;

#[derive(Debug, Clone)]
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) async fn put(&self, key: &str, content: &Spooled) -> Result<(), Failure> {
        let (target, spooled) = (self.path_of(key)?, content.path().to_owned());
        blocking(move || put(&spooled, &target)).await.map_err(|failure| match failure {
            // The way there was made: whatever is missing now is no object that a caller asked for.
            Failure::Missing => Failure::Disk("its folder went away".into()),
            failure => failure,
        })
    }

    pub(super) async fn get(&self, key: &str) -> Result<Pieces, Failure> {
        let path = self.path_of(key)?;
        let file = blocking(move || File::open(path)).await?;
        let next = async |file: Option<File>| {
            let mut file = file?;
            let read = blocking(move || read_piece(&mut file).map(|piece| (piece, file))).await;
            match read {
                Ok((piece, _)) if piece.is_empty() => None,
                Ok((piece, file)) => Some((Ok(piece), Some(file))),
                Err(failure) => Some((Err(failure), None)),
            }
        };
        Ok(futures_util::stream::unfold(Some(file), next).boxed())
    }

    pub(super) async fn size(&self, key: &str) -> Result<u64, Failure> {
        let path = self.path_of(key)?;
        blocking(move || fs::metadata(path).map(|found| found.len())).await
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), Failure> {
        let path = self.path_of(key)?;
        blocking(move || fs::remove_file(path)).await
    }

    pub(super) async fn list(&self, folder: &str, after: Option<String>, most: usize) -> Result<Vec<Listed>, Failure> {
        let (root, folder) = (self.root.clone(), folder.to_owned());
        blocking(move || {
            let mut found = Vec::new();
            walk(&root, &folder, after.as_deref(), most, DEPTH_MAX, &mut found)?;
            Ok(found)
        })
        .await
    }

    /// Below the folder, whatever the key: keys come from rows, and rows from this program, but a path is a path.
    fn path_of(&self, key: &str) -> Result<PathBuf, Failure> {
        let plain = Path::new(key).components().all(|part| matches!(part, Component::Normal(_)));
        if plain && !key.is_empty() { Ok(self.root.join(key)) } else { Err(Failure::Missing) }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|_| Failure::Nonsense)?;
    done.map_err(|error| Failure::of_io(&error))
}

/// Moves the spooled file to its place, or a copy of it where the place is another file system.
fn put(spooled: &Path, target: &Path) -> io::Result<()> {
    let parent = target.parent().unwrap_or(target);
    DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    File::open(spooled)?.sync_data()?;
    match fs::rename(spooled, target) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => copy(spooled, target)?,
        moved => moved?,
    }
    File::open(parent)?.sync_all()
}

fn copy(spooled: &Path, target: &Path) -> io::Result<()> {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(PART);
    let aside = target.with_file_name(name);
    let copied = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        io::copy(&mut File::open(spooled)?, &mut file)?;
        file.sync_data()?;
        fs::rename(&aside, target)
    };
    copied().inspect_err(|_| {
        // On a full disk the half of a file is the first thing to go; if it cannot, the sweep takes it.
        let _ = fs::remove_file(&aside);
    })
}

fn read_piece(file: &mut File) -> io::Result<Bytes> {
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    file.take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
    Ok(piece.into())
}

/// Collects the files below `key` that come after `after`, folder by folder in the order of names.
fn walk(
    root: &Path,
    key: &str,
    after: Option<&str>,
    most: usize,
    depth: usize,
    found: &mut Vec<Listed>,
) -> io::Result<()> {
    if depth == 0 {
        return Ok(());
    }
    let entries = match fs::read_dir(root.join(key)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        // What is no text was not written here.
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort_unstable();
    for name in names {
        if found.len() >= most {
            return Ok(());
        }
        let key = format!("{key}/{name}");
        if after.is_some_and(|after| is_before(&key, after)) {
            continue;
        }
        let metadata = match fs::symlink_metadata(root.join(&key)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        if metadata.is_dir() {
            walk(root, &key, after, most, depth - 1, found)?;
        } else if metadata.is_file() && after != Some(key.as_str()) {
            let since = metadata.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            let micros = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
            found.push(Listed { key, modified: Timestamp::from_micros(micros) });
        }
    }
    Ok(())
}

/// Whether nothing at or below `key` comes after `after`, name by name.
fn is_before(key: &str, after: &str) -> bool {
    let mut later = after.split('/');
    for name in key.split('/') {
        match later.next() {
            Some(other) if name == other => {}
            Some(other) => return name < other,
            None => return false,
        }
    }
    false
}
