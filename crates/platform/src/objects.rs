//! Where bytes live that are too large for the database: files, artifacts, copies of workspaces. One type, [`Objects`], over
//! a folder or an S3-compatible bucket.
//!
//! What goes in is spooled to the node's own disk first ([`Spool`]), which gives its size and digest; then it appears under
//! its key as a whole or not at all. What comes out is checked against both while it streams. Objects never change: a key is
//! written once. Absent: rows. Which key belongs to whom is the caller's to know; bytes without a row are swept.
//!
//! Read next: `folder` and `bucket`, the two places; `failure` for what callers and operators are told.

mod bucket;
mod budget;
mod content;
mod failure;
mod folder;
mod health;
mod place;
mod spool;
mod wire;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use livery_core::{Error, Result, Timestamp};
use tokio::time::timeout;

pub(crate) use self::budget::Budget;
pub use self::content::Content;
pub use self::failure::Failure;
pub(crate) use self::folder::PART;
pub(crate) use self::health::{Health, watch};
pub use self::place::{Access, BucketPlace, BucketSettings, Place, PlaceError};
pub use self::spool::{Spool, Spooled};

/// Bytes moved at a time.
pub(crate) const PIECE_BYTES: usize = 256 * 1024;
/// Bytes of objects that may be in memory at once as whole pieces: parts of an upload, payloads that are read at once.
const MEMORY_BYTES_MAX: usize = 192 * 1024 * 1024;
/// Bytes of objects on their way that may lie in the spool at once.
const SPOOL_BYTES_MAX: usize = 8 * 1024 * 1024 * 1024;
/// Downloads at a time; each holds a piece or two.
const DOWNLOADS_MAX: usize = 512;
/// Putting one object, all its parts together.
const PUT_MAX: Duration = Duration::from_secs(600);
/// Anything small: a look, a deletion, a page of a list.
const CALL_MAX: Duration = Duration::from_secs(60);

/// Bytes on their way out of a place.
type Pieces = BoxStream<'static, std::result::Result<Bytes, Failure>>;

/// A name in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The key.
    pub key: String,
    /// When it was written, by the clock of whoever keeps it.
    pub modified: Timestamp,
}

/// The object store of a node. Cheap to clone.
#[derive(Clone)]
pub struct Objects {
    inner: Arc<Shared>,
}

struct Shared {
    store: Store,
    spool_dir: PathBuf,
    memory: Budget,
    spooled: Budget,
    downloads: Budget,
}

enum Store {
    Folder(folder::Folder),
    Bucket(bucket::Bucket),
}

impl Objects {
    /// Opens the place; what an earlier life of this node left in its spool below `data_dir` goes. Nothing is asked of a
    /// bucket yet.
    ///
    /// # Errors
    /// A spool that cannot be made, a bucket that cannot be addressed.
    pub async fn open(place: &Place, data_dir: &Path, ca: Option<&Path>) -> Result<Self> {
        let store = match place {
            Place::Folder(root) => Store::Folder(folder::Folder::new(root.clone())),
            Place::Bucket(place) => Store::Bucket(bucket::Bucket::new(place, ca)?),
        };
        let spool_dir = data_dir.join(spool::FOLDER);
        let dir = spool_dir.clone();
        let made = tokio::task::spawn_blocking(move || spool::prepare(&dir)).await.map_err(Error::internal)?;
        made.map_err(|error| Failure::of_io(&error).spooling())?;
        let inner = Shared {
            store,
            spool_dir,
            memory: Budget::new(MEMORY_BYTES_MAX),
            spooled: Budget::new(SPOOL_BYTES_MAX),
            downloads: Budget::new(DOWNLOADS_MAX * PIECE_BYTES),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// A place on this node's disk for something on its way in, of at most `bytes_max`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the disk refuses.
    pub async fn spool(&self, what: &'static str, bytes_max: u64) -> Result<Spool> {
        Spool::create(&self.inner.spool_dir, self.inner.spooled.clone(), what, bytes_max).await
    }

    /// The same for bytes that are there already.
    ///
    /// # Errors
    /// As for [`Objects::spool`].
    pub async fn spool_bytes(&self, what: &'static str, bytes: Bytes) -> Result<Spooled> {
        let mut spool = self.spool(what, bytes.len() as u64).await?;
        spool.write(bytes).await?;
        spool.finish().await
    }

    /// Keeps what was spooled under `key`: whole and durable when this returns, not there at all before. May be repeated
    /// after a failure.
    ///
    /// # Errors
    /// [`Failure`]; then nothing is under the key, or the whole.
    pub async fn put(&self, key: &str, content: &Spooled) -> std::result::Result<(), Failure> {
        let put = async {
            match &self.inner.store {
                Store::Folder(folder) => folder.put(key, content).await,
                Store::Bucket(bucket) => bucket.put(key, content, &self.inner.memory).await,
            }
        };
        timeout(PUT_MAX, put).await.unwrap_or(Err(Failure::Slow)).inspect_err(|failure| failure.log("put", key))
    }

    /// The bytes under `key`, piece by piece, checked against their size and digest as they come.
    ///
    /// # Errors
    /// [`Failure`], [`Failure::Missing`] when there is nothing.
    pub async fn get(&self, key: &str, bytes: u64, sha256: &str) -> std::result::Result<Content, Failure> {
        let permit = self.inner.downloads.take(PIECE_BYTES).await?;
        let pieces = timeout(CALL_MAX, self.pieces(key)).await.unwrap_or(Err(Failure::Slow));
        let pieces = pieces.inspect_err(|failure| failure.log("get", key))?;
        Ok(Content::new(key, pieces, bytes, sha256, permit))
    }

    async fn pieces(&self, key: &str) -> std::result::Result<Pieces, Failure> {
        match &self.inner.store {
            Store::Folder(folder) => folder.get(key).await,
            Store::Bucket(bucket) => bucket.get(key).await,
        }
    }

    /// All of the bytes under `key` at once, within the node's budget for such.
    ///
    /// # Errors
    /// As for [`Objects::get`].
    pub async fn read(&self, key: &str, bytes: u64, sha256: &str) -> std::result::Result<Bytes, Failure> {
        let length = usize::try_from(bytes).map_err(|_| Failure::Damaged)?;
        let _permit = self.inner.memory.take(length).await?;
        let mut content = self.get(key, bytes, sha256).await?;
        let mut whole = BytesMut::with_capacity(length);
        while let Some(piece) = content.next().await {
            whole.extend_from_slice(&piece?);
        }
        Ok(whole.freeze())
    }

    /// A copy of what is under `key` on this node's own disk, whole and checked: for who cannot wait in the middle.
    ///
    /// # Errors
    /// As for [`Objects::get`], and of the spool.
    pub async fn fetch(&self, key: &str, bytes: u64, sha256: &str) -> Result<Spooled> {
        let mut content = self.get(key, bytes, sha256).await?;
        let mut spool = self.spool("the object", bytes).await?;
        while let Some(piece) = content.next().await {
            spool.write(piece?).await?;
        }
        spool.finish().await
    }

    /// How many bytes are under `key`; `None`: nothing is.
    ///
    /// # Errors
    /// [`Failure`] but for [`Failure::Missing`].
    pub async fn size(&self, key: &str) -> std::result::Result<Option<u64>, Failure> {
        let look = async {
            match &self.inner.store {
                Store::Folder(folder) => folder.size(key).await,
                Store::Bucket(bucket) => bucket.size(key).await,
            }
        };
        match timeout(CALL_MAX, look).await.unwrap_or(Err(Failure::Slow)) {
            Ok(size) => Ok(Some(size)),
            Err(Failure::Missing) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Removes what is under `key`; nothing there is as good.
    ///
    /// # Errors
    /// [`Failure`] but for [`Failure::Missing`].
    pub async fn delete(&self, key: &str) -> std::result::Result<(), Failure> {
        let delete = async {
            match &self.inner.store {
                Store::Folder(folder) => folder.delete(key).await,
                Store::Bucket(bucket) => bucket.delete(key).await,
            }
        };
        match timeout(CALL_MAX, delete).await.unwrap_or(Err(Failure::Slow)) {
            Err(Failure::Missing) => Ok(()),
            outcome => outcome,
        }
    }

    /// Up to `most` names below `folder` (`files`, `snapshots`) after `after`, in an order that stays the same.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn list(
        &self,
        folder: &'static str,
        after: Option<String>,
        most: usize,
    ) -> std::result::Result<Vec<Listed>, Failure> {
        let list = async {
            match &self.inner.store {
                Store::Folder(place) => place.list(folder, after, most).await,
                Store::Bucket(bucket) => bucket.list(folder, after, most).await,
            }
        };
        timeout(CALL_MAX, list).await.unwrap_or(Err(Failure::Slow))
    }

    /// Whether objects can be written now: writes a small one of this `node`'s own.
    ///
    /// # Errors
    /// [`Failure`] says what is wrong.
    pub async fn check(&self, node: &str) -> std::result::Result<(), Failure> {
        let probe = self.spool_bytes("a probe", Bytes::from_static(b"livery\n")).await;
        let probe = probe.map_err(|_| Failure::Spool)?;
        let key = format!("probes/{node}");
        match &self.inner.store {
            Store::Folder(folder) => folder.put(&key, &probe).await,
            Store::Bucket(bucket) => bucket.put(&key, &probe, &self.inner.memory).await,
        }
    }
}

#[cfg(test)]
mod tests;
