//! Which images there are: one small file, replaced as a whole.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use livery_core::Timestamp;
use livery_core::agent::ImageRef;
use serde::{Deserialize, Serialize};

use crate::blobs;
use crate::digest::Digest;
use crate::error::{Doing, Error, Result};

/// The largest file that is read or written; a thousand images of ordinary size are a tenth of it.
const BYTES_MAX: u64 = 64 << 20;
const VERSION: u32 = 1;

/// One image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Of its manifest.
    pub digest: Digest,
    /// `name:tag`, each held by one image of the store; none left: it is garbage.
    pub names: BTreeSet<String>,
    /// Of its configuration.
    pub config: Layer,
    /// Its layers, the lowest first.
    pub layers: Vec<Layer>,
    /// `linux/amd64`.
    pub platform: String,
    /// When it was made, as it says of itself.
    pub created: Option<String>,
    /// When it came here.
    pub imported_at: Timestamp,
    /// Bytes of its layers' archives, unpacked.
    pub unpacked_bytes: u64,
    /// Variables its commands get.
    pub env: Vec<(String, String)>,
}

/// A blob of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Index {
    version: u32,
    pub(crate) images: Vec<Image>,
}

impl Index {
    /// Reads the file; one that is not there has no images.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let doing = || format!("reading {}", path.display());
        let bytes = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            other => {
                let mut bytes = Vec::new();
                io::copy(&mut io::Read::take(other.doing(doing)?, BYTES_MAX), &mut bytes).doing(doing)?;
                bytes
            }
        };
        let index: Self = serde_json::from_slice(&bytes)
            .map_err(|error| Error::invalid(format!("{} cannot be read: {error}", path.display())))?;
        if index.version > VERSION {
            return Err(Error::invalid(format!("{} is of a later version of Livery", path.display())));
        }
        Ok(index)
    }

    /// Replaces the file: readers see the old one or this one.
    pub(crate) fn write(&mut self, path: &Path, staging: &Path) -> Result<()> {
        self.version = VERSION;
        let doing = || format!("writing {}", path.display());
        let coming = staging.join("index");
        let bytes = serde_json::to_vec_pretty(self).map_err(|error| Error::invalid(error.to_string()))?;
        if bytes.len() as u64 > BYTES_MAX {
            return Err(Error::limit("bytes of the list of images", BYTES_MAX));
        }
        let mut file = blobs::create(&coming).doing(doing)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).doing(doing)?;
        fs::rename(&coming, path).doing(doing)?;
        let folder = path.parent().map(File::open).transpose().doing(doing)?;
        folder.map_or(Ok(()), |folder| folder.sync_all()).doing(doing)
    }

    pub(crate) fn of_digest(&self, digest: &str) -> Option<&Image> {
        self.images.iter().find(|image| image.digest.hex() == digest)
    }

    /// The image a reference means here. With a digest the name is only a word beside it.
    pub(crate) fn find(&self, wanted: &ImageRef) -> Option<&Image> {
        match &wanted.digest {
            Some(digest) => self.of_digest(digest),
            None => {
                let name = wanted.tagged();
                self.images.iter().find(|image| image.names.contains(&name))
            }
        }
    }

    /// Adds an image or names to one that is here; a name goes from whoever had it.
    pub(crate) fn add(&mut self, image: Image) {
        for other in &mut self.images {
            other.names.retain(|name| !image.names.contains(name));
        }
        match self.images.iter_mut().find(|other| other.digest == image.digest) {
            Some(here) => here.names.extend(image.names),
            None => self.images.push(image),
        }
    }
}
