//! The store: a folder with blobs, unpacked roots, and an index of which images they are.
//!
//! One process changes it at a time (a lock of the kernel's, so that a death frees it); any number read. A root appears under
//! its digest when it is whole and on disk, by one rename, and is used only then. What a change leaves half done lies in
//! `staging`, which nobody reads and the next change clears. Read next: `offer.rs`, `unpack.rs`, `index.rs`.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use livery_core::Timestamp;
use livery_core::agent::ImageRef;

use crate::blobs::{self, Blobs};
use crate::digest::Digest;
use crate::error::{Doing, Error, Result};
use crate::index::{Image, Index, Layer};
use crate::limits::Limits;
use crate::offer::{self, Offer};
use crate::source::Source;
use crate::unpack;

mod collect;

pub use collect::Collected;

/// A folder of images.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
    limits: Limits,
}

/// The right to change a store, for as long as it is held.
#[derive(Debug)]
pub struct Change<'a> {
    store: &'a Store,
    _lock: File,
}

/// An image that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its digest.
    pub digest: Digest,
    /// Its root.
    pub root: PathBuf,
    /// Variables its commands get.
    pub env: Vec<(String, String)>,
}

/// Keeps an image's root where it is, whoever collects garbage. Freed by dropping it, or by the process's end.
#[derive(Debug)]
pub struct Lease {
    _root: File,
}

impl Store {
    /// The store in this folder, which need not be there yet.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self::within(folder, Limits::default())
    }

    /// The same with other limits.
    pub fn within(folder: impl Into<PathBuf>, limits: Limits) -> Self {
        Self { folder: folder.into(), limits }
    }

    /// What one import may be.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The folder below which all roots are.
    #[must_use]
    pub fn roots(&self) -> PathBuf {
        self.folder.join("roots")
    }

    fn staging(&self) -> PathBuf {
        self.folder.join("staging")
    }

    fn index(&self) -> PathBuf {
        self.folder.join("index.json")
    }

    fn root(&self, digest: &Digest) -> PathBuf {
        self.roots().join(digest.hex())
    }

    pub(crate) fn blobs(&self) -> Blobs {
        Blobs::new(self.folder.join("blobs"), self.staging())
    }

    /// Every image, in the order they came.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn list(&self) -> Result<Vec<Image>> {
        Ok(Index::read(&self.index())?.images)
    }

    /// The image that a reference means now. Not for [`host`](ImageRef::is_host), which is in no store.
    ///
    /// # Errors
    /// [`Error::Unknown`], or the index cannot be read.
    pub fn find(&self, wanted: &ImageRef) -> Result<Found> {
        let unknown = || Error::Unknown(wanted.to_string());
        let index = Index::read(&self.index())?;
        let image = index.find(wanted).ok_or_else(unknown)?;
        let root = self.root(&image.digest);
        if !root.is_dir() {
            return Err(unknown());
        }
        Ok(Found { digest: image.digest.clone(), root, env: image.env.clone() })
    }

    /// The same, held: its root stays while the lease lives.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn hold(&self, wanted: &ImageRef) -> Result<(Found, Lease)> {
        let found = self.find(wanted)?;
        let unknown = || Error::Unknown(wanted.to_string());
        let root = File::open(&found.root).map_err(|_| unknown())?;
        // Only a collector holds it alone, and then it goes.
        root.try_lock_shared().map_err(|_| unknown())?;
        // It may have gone between the two: what is held must be what the name leads to.
        let same = |a: &fs::Metadata, b: &fs::Metadata| {
            use std::os::unix::fs::MetadataExt as _;
            (a.dev(), a.ino()) == (b.dev(), b.ino())
        };
        match (root.metadata(), fs::symlink_metadata(&found.root)) {
            (Ok(held), Ok(named)) if same(&held, &named) => Ok((found, Lease { _root: root })),
            _ => Err(unknown()),
        }
    }

    /// The right to change the store, and a clean staging folder.
    ///
    /// # Errors
    /// [`Error::Busy`]: another process has it.
    pub fn change(&self) -> Result<Change<'_>> {
        let doing = || format!("opening {}", self.folder.display());
        for folder in [&self.folder, &self.folder.join("blobs"), &self.roots()] {
            blobs::folder(folder).doing(doing)?;
        }
        let lock = File::options().create(true).append(true).open(self.folder.join("lock")).doing(doing)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Busy),
            Err(TryLockError::Error(error)) => return Err(error).doing(doing),
        }
        remove(&self.staging()).and_then(|()| blobs::folder(&self.staging())).doing(doing)?;
        Ok(Change { store: self, _lock: lock })
    }

    /// Whether anything here has no name or belongs to no image: what a failed import leaves, for one.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn has_garbage(&self) -> Result<bool> {
        collect::has_garbage(self)
    }

    /// Clears what a change that died has left. Does nothing while another is at work, or where nothing is.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn sweep(&self) -> Result<()> {
        let left = fs::read_dir(self.staging()).is_ok_and(|mut entries| entries.next().is_some());
        if !left {
            return Ok(());
        }
        match self.change() {
            Ok(_) | Err(Error::Busy) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        // What resists is left to the next change.
        let _ = remove(&self.store.staging()).and_then(|()| blobs::folder(&self.store.staging()));
    }
}

impl Change<'_> {
    pub(crate) const fn store(&self) -> &Store {
        self.store
    }

    /// A file for what has to be unpacked before it can be read; it has no name and goes by itself.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn spool(&self) -> io::Result<File> {
        let path = self.store.staging().join("spool");
        let file = blobs::create(&path)?;
        fs::remove_file(path)?;
        Ok(file)
    }

    /// Brings in what `source` has, under its own names, or `named`. Answers the images as they are now.
    ///
    /// # Errors
    /// Anything that is wrong with it; then no image of it is here.
    pub fn import(&self, source: &Source, named: Option<&ImageRef>, now: Timestamp) -> Result<Vec<Image>> {
        let blobs = self.store.blobs();
        let mut offers = offer::bring(source, &blobs, &self.store.limits)?;
        match (named, offers.as_mut_slice()) {
            (_, []) => return Err(Error::invalid("there is no image in it")),
            (Some(name), [one]) => one.names = vec![name.clone()],
            (Some(_), many) => {
                return Err(Error::invalid(format!(
                    "there are {} images in it; they cannot all have one name",
                    many.len()
                )));
            }
            (None, many) => {
                if many.iter().any(|offer| offer.names.is_empty()) {
                    return Err(Error::invalid("an image in it has no name of its own; say one"));
                }
                self.refuse_moves(many)?;
            }
        }
        self.admit(offers, now)
    }

    /// An archive's own word moves no name: what runs would get under it is the operator's to say.
    fn refuse_moves(&self, offers: &[Offer]) -> Result<()> {
        let index = Index::read(&self.store.index())?;
        for offer in offers {
            for name in &offer.names {
                if let Some(other) = index.find(name).filter(|here| here.digest != offer.digest) {
                    let (name, other) = (name.tagged(), &other.digest);
                    return Err(Error::invalid(format!("{name} is {other} here; to move it, say its name")));
                }
            }
        }
        Ok(())
    }

    /// Unpacks what is offered, and lists it. Its names move here from whatever they led to.
    pub(crate) fn admit(&self, offers: Vec<Offer>, now: Timestamp) -> Result<Vec<Image>> {
        let store = self.store;
        let mut index = Index::read(&store.index())?;
        let mut images = Vec::new();
        for offer in offers {
            if offer.names.iter().any(|name| name.digest.is_some() || name.is_host()) {
                return Err(Error::invalid("an image is kept under a name and a tag, and not as `host`"));
            }
            let names = offer.names.iter().map(ImageRef::tagged);
            let earlier = index.of_digest(offer.digest.hex()).map(|here| here.names.clone()).unwrap_or_default();
            if names.chain(earlier).collect::<BTreeSet<_>>().len() > store.limits.names {
                return Err(Error::limit("names of one image", store.limits.names as u64));
            }
            let image = match index.of_digest(offer.digest.hex()) {
                Some(here) if store.root(&here.digest).is_dir() => {
                    Image { names: offer.names.iter().map(ImageRef::tagged).collect(), ..here.clone() }
                }
                _ => self.unpack(offer, now)?,
            };
            index.add(image.clone());
            images.push(image.digest);
        }
        if index.images.len() > store.limits.images {
            return Err(Error::limit("images", store.limits.images as u64));
        }
        index.write(&store.index(), &store.staging())?;
        Ok(index.images.into_iter().filter(|image| images.contains(&image.digest)).collect())
    }

    fn unpack(&self, offer: Offer, now: Timestamp) -> Result<Image> {
        let store = self.store;
        let Offer { digest, manifest, config, names } = offer;
        let (coming, root) = (store.staging().join("root"), store.root(&digest));
        remove(&coming).doing(|| "clearing the staging folder".to_owned())?;
        let unpacked = unpack::unpack(&store.blobs(), &manifest.layers, &config.diff_ids, &coming, &store.limits)?;
        // One that lies there without being listed was whole too, but nobody says of what.
        remove(&root)
            .and_then(|()| fs::rename(&coming, &root))
            .doing(|| "putting the image in its place".to_owned())?;
        let layer = |one: &crate::manifest::Descriptor| Layer { digest: one.digest.clone(), bytes: one.size };
        Ok(Image {
            digest,
            names: names.iter().map(ImageRef::tagged).collect(),
            config: layer(&manifest.config),
            layers: manifest.layers.iter().map(layer).collect(),
            platform: config.platform.to_string(),
            created: config.created,
            imported_at: now,
            unpacked_bytes: unpacked.bytes,
            env: config.env,
        })
    }

    /// Takes a name away. The image itself goes with the next [`collect`](Self::collect), unless it has other names.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn remove_name(&self, name: &ImageRef) -> Result<()> {
        let store = self.store;
        let mut index = Index::read(&store.index())?;
        let wanted = name.tagged();
        let held = index.images.iter_mut().find(|image| image.names.contains(&wanted));
        let held = held.ok_or_else(|| Error::Unknown(wanted.clone()))?;
        held.names.remove(&wanted);
        index.write(&store.index(), &store.staging())
    }

    /// Takes away what no name leads to and nobody needs: images (but those in `keep`, and those a sandbox holds), and blobs of
    /// no image.
    ///
    /// # Errors
    /// Something resists; what went is gone.
    pub fn collect(&self, keep: &BTreeSet<Digest>) -> Result<Collected> {
        collect::collect(self.store, keep)
    }
}

/// Removes a tree of ours, if it is there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
