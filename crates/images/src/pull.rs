//! Fetching an image piece by piece from wherever it is offered: the index chooses, every piece is checked as it comes.
//!
//! Who fetches and how is the caller's business; what comes is believed by its digest alone. Read next: `offer.rs`.

use std::io::{self, Read};

use livery_core::Timestamp;
use livery_core::agent::ImageRef;
use livery_core::agent::image::TAG_DEFAULT;

use crate::blobs::Expected;
use crate::digest::Digest;
use crate::error::{Doing, Error, Result};
use crate::index::Image;
use crate::limits::Limits;
use crate::manifest::{self, Document, Manifest};
use crate::offer::{self, INDEXES_DEEP};
use crate::store::Change;

/// A piece that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// The manifest or index of this tag, or of this digest (`sha256:…`).
    Manifest(&'a str),
    /// A blob of so many bytes.
    Blob {
        /// Its digest.
        digest: &'a Digest,
        /// Its length, as its manifest says.
        bytes: u64,
    },
}

impl Change<'_> {
    /// Brings in the image that `name` means to `fetch`, under that name, which moves. What is here already is not fetched.
    /// A digest alone is no name to keep it under: there has to be a tag beside it.
    ///
    /// # Errors
    /// Anything that is wrong with it, or what `fetch` says; then it is not here.
    pub fn pull<'a>(
        &self,
        name: &ImageRef,
        now: Timestamp,
        mut fetch: impl FnMut(Wanted<'_>) -> io::Result<Box<dyn Read + 'a>>,
    ) -> Result<Image> {
        if name.digest.is_some() && name.tag.is_none() {
            let repository = &name.repository;
            return Err(Error::invalid(format!("say what to keep it as: {repository}:TAG@sha256:…")));
        }
        let (blobs, limits) = (self.store().blobs(), self.store().limits());
        let (digest, bytes, manifest) = choose(name, limits, &mut fetch)?;
        let mut offer = offer::of_manifest(&digest, &bytes, manifest, &blobs, limits, |one, what| {
            if blobs.has(&one.digest, one.size) {
                return Ok(());
            }
            let reader =
                fetch(Wanted::Blob { digest: &one.digest, bytes: one.size }).doing(|| format!("fetching {what}"))?;
            blobs.put(what, reader, Expected::Exactly(&one.digest, one.size)).map(drop)
        })?;
        offer.names = vec![ImageRef { digest: None, ..name.clone() }];
        let admitted = self.admit(vec![offer], now)?;
        admitted.into_iter().next().ok_or_else(|| Error::Unknown(name.to_string()))
    }
}

/// The manifest of this machine's image.
fn choose<'a>(
    name: &ImageRef,
    limits: &Limits,
    fetch: &mut impl FnMut(Wanted<'_>) -> io::Result<Box<dyn Read + 'a>>,
) -> Result<(Digest, Vec<u8>, Manifest)> {
    let mut expected = name.digest.as_deref().map(str::parse::<Digest>).transpose()?;
    let mut reference =
        expected.as_ref().map_or_else(|| name.tag.as_deref().unwrap_or(TAG_DEFAULT).to_owned(), Digest::to_string);
    let mut size = None;
    for _ in 0..INDEXES_DEEP {
        let mut bytes = Vec::new();
        let reader = fetch(Wanted::Manifest(&reference)).doing(|| format!("fetching the manifest {reference}"))?;
        reader.take(limits.document_bytes + 1).read_to_end(&mut bytes).doing(|| "fetching a manifest".to_owned())?;
        if bytes.len() as u64 > limits.document_bytes {
            return Err(Error::limit("bytes of the manifest", limits.document_bytes));
        }
        let found = Digest::of(&bytes);
        if let Some(expected) =
            expected.filter(|expected| *expected != found || size.is_some_and(|size| size != bytes.len() as u64))
        {
            return Err(Error::Digest { what: "the manifest".to_owned(), expected, found });
        }
        match manifest::document(&bytes, limits)? {
            Document::Manifest(manifest) => return Ok((found, bytes, manifest)),
            Document::Index(all) => {
                let chosen = manifest::choose(&all)?;
                reference = chosen.digest.to_string();
                size = Some(chosen.size);
                expected = Some(chosen.digest.clone());
            }
        }
    }
    Err(Error::limit("indexes in each other", INDEXES_DEEP as u64))
}
