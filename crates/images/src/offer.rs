//! What a source offers: the images in it, each with the blobs it is made of brought into the store.

use std::collections::BTreeMap;

use livery_core::agent::ImageRef;

use crate::blobs::{Blobs, Expected};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::manifest::{self, Config, Descriptor, Document, MANIFEST_TYPE, Manifest, Saved};
use crate::source::Source;

/// How deep indexes may lie in each other.
pub(crate) const INDEXES_DEEP: usize = 3;
/// The type of a layer that was found without one.
pub(crate) const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";

/// An image whose blobs are all in the store.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) digest: Digest,
    pub(crate) manifest: Manifest,
    pub(crate) config: Config,
    pub(crate) names: Vec<ImageRef>,
}

/// Brings every image of `source` in, or only what there is of it for this machine.
pub(crate) fn bring(source: &Source, blobs: &Blobs, limits: &Limits) -> Result<Vec<Offer>> {
    if let Some(bytes) = source.document("index.json", limits.document_bytes)? {
        return of_layout(source, &manifest::index(&bytes, limits)?, blobs, limits);
    }
    if let Some(bytes) = source.document("manifest.json", limits.document_bytes)? {
        let saved = manifest::saved(&bytes, limits)?;
        return saved.iter().map(|image| of_saved(source, image, blobs, limits)).collect();
    }
    Err(Error::invalid("this is neither an OCI image layout (index.json) nor a docker save archive (manifest.json)"))
}

/// Descriptors with the same name are one image for several machines.
fn of_layout(source: &Source, all: &[Descriptor], blobs: &Blobs, limits: &Limits) -> Result<Vec<Offer>> {
    let mut groups: BTreeMap<Option<ImageRef>, Vec<Descriptor>> = BTreeMap::new();
    for one in all {
        groups.entry(one.name()).or_default().push(one.clone());
    }
    let mut offers: Vec<Offer> = Vec::new();
    for (name, group) in groups {
        let mut offer = of_group(source, group, blobs, limits)?;
        match offers.iter_mut().find(|earlier| earlier.digest == offer.digest) {
            Some(earlier) => earlier.names.extend(name),
            None => {
                offer.names.extend(name);
                offers.push(offer);
            }
        }
    }
    Ok(offers)
}

fn of_group(source: &Source, mut group: Vec<Descriptor>, blobs: &Blobs, limits: &Limits) -> Result<Offer> {
    for _ in 0..INDEXES_DEEP {
        let chosen = manifest::choose(&group)?.clone();
        let bytes = checked_document(source, &chosen, limits)?;
        match manifest::document(&bytes, limits)? {
            Document::Index(inner) => group = inner,
            Document::Manifest(_) if chosen.is_index() => {
                return Err(Error::invalid("a manifest that is called an index"));
            }
            Document::Manifest(manifest) => {
                return of_manifest(&chosen.digest, &bytes, manifest, blobs, limits, |one, what| {
                    let Some(piece) = source.piece(&place(&one.digest))? else {
                        return Err(Error::invalid(format!("{what} {} is not there", one.digest)));
                    };
                    blobs.put(what, piece.reader, Expected::Exactly(&one.digest, one.size)).map(drop)
                });
            }
        }
    }
    Err(Error::limit("indexes in each other", INDEXES_DEEP as u64))
}

/// Where a layout keeps a blob.
fn place(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn checked_document(source: &Source, wanted: &Descriptor, limits: &Limits) -> Result<Vec<u8>> {
    let Some(bytes) = source.document(&place(&wanted.digest), limits.document_bytes)? else {
        return Err(Error::invalid(format!("the manifest {} is not there", wanted.digest)));
    };
    let found = Digest::of(&bytes);
    if found != wanted.digest || bytes.len() as u64 != wanted.size {
        return Err(Error::Digest { what: "the manifest".to_owned(), expected: wanted.digest.clone(), found });
    }
    Ok(bytes)
}

/// An image from its manifest, whose digest was checked. `fetch` brings a blob into the store.
pub(crate) fn of_manifest(
    digest: &Digest,
    bytes: &[u8],
    manifest: Manifest,
    blobs: &Blobs,
    limits: &Limits,
    mut fetch: impl FnMut(&Descriptor, &str) -> Result<()>,
) -> Result<Offer> {
    if manifest.config.size > limits.document_bytes {
        return Err(Error::limit("bytes of the configuration", limits.document_bytes));
    }
    // What a manifest says is what is fetched, to the byte: too much is refused before any of it comes.
    let bytes_of_layers = manifest.layers.iter().fold(0_u64, |sum, layer| sum.saturating_add(layer.size));
    within(bytes_of_layers, limits)?;
    fetch(&manifest.config, "the configuration")?;
    // Before anything large: another machine's image is refused at once.
    let config = config_of(blobs, &manifest.config.digest, limits)?;
    check_layers(&config, manifest.layers.len())?;
    for (number, layer) in manifest.layers.iter().enumerate() {
        if layer.size > limits.blob_bytes {
            return Err(Error::limit(format!("bytes of layer {number}"), limits.blob_bytes));
        }
        fetch(layer, &format!("layer {number}"))?;
    }
    blobs.put("the manifest", bytes, Expected::Exactly(digest, bytes.len() as u64))?;
    Ok(Offer { digest: digest.clone(), manifest, config, names: Vec::new() })
}

fn within(bytes_of_layers: u64, limits: &Limits) -> Result<()> {
    if bytes_of_layers <= limits.unpacked_bytes {
        return Ok(());
    }
    Err(Error::limit("bytes of all layers", limits.unpacked_bytes))
}

fn config_of(blobs: &Blobs, digest: &Digest, limits: &Limits) -> Result<Config> {
    let config = manifest::config(&blobs.document(digest, limits.document_bytes)?)?;
    config.platform.check()?;
    Ok(config)
}

fn check_layers(config: &Config, layers: usize) -> Result<()> {
    if config.diff_ids.len() == layers {
        return Ok(());
    }
    Err(Error::invalid(format!("the configuration tells of {} layers, and there are {layers}", config.diff_ids.len())))
}

/// An image of a `docker save` archive. It has no manifest, so it gets one: the same every time.
fn of_saved(source: &Source, saved: &Saved, blobs: &Blobs, limits: &Limits) -> Result<Offer> {
    let missing = |name: &str| Error::invalid(format!("{name} is not in the archive"));
    let bytes = source.document(&saved.config, limits.document_bytes)?.ok_or_else(|| missing(&saved.config))?;
    let (digest, size) = blobs.put("the configuration", bytes.as_slice(), Expected::AtMost(limits.document_bytes))?;
    let config = config_of(blobs, &digest, limits)?;
    check_layers(&config, saved.layers.len())?;
    let (mut layers, mut all) = (Vec::new(), 0_u64);
    for (number, name) in saved.layers.iter().enumerate() {
        let piece = source.piece(name)?.ok_or_else(|| missing(name))?;
        all = all.saturating_add(piece.size);
        within(all, limits)?;
        let bound = Expected::AtMost(limits.blob_bytes.min(piece.size));
        let (digest, size) = blobs.put(&format!("layer {number}"), piece.reader, bound)?;
        layers.push(descriptor(LAYER_TYPE, digest, size));
    }
    let names = saved.repo_tags.iter().flatten().filter_map(|name| name.parse().ok());
    let names = names.filter(|name: &ImageRef| !name.is_host()).collect();
    Ok(Offer { names, ..made(descriptor(CONFIG_TYPE, digest, size), layers, config, blobs)? })
}

/// An image made of these parts, which are in the store.
pub(crate) fn made(parts: Descriptor, layers: Vec<Descriptor>, config: Config, blobs: &Blobs) -> Result<Offer> {
    let manifest = Manifest { schema_version: 2, media_type: MANIFEST_TYPE.to_owned(), config: parts, layers };
    let bytes = serde_json::to_vec(&manifest).map_err(|error| Error::invalid(error.to_string()))?;
    let (digest, _) = blobs.put("the manifest", bytes.as_slice(), Expected::AtMost(bytes.len() as u64))?;
    Ok(Offer { digest, manifest, config, names: Vec::new() })
}

pub(crate) fn descriptor(media_type: &str, digest: Digest, size: u64) -> Descriptor {
    Descriptor { media_type: media_type.to_owned(), digest, size, platform: None, annotations: None }
}
