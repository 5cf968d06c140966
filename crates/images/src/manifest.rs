//! The JSON documents of an image: index, manifest, configuration, and the list in a `docker save` archive.
//!
//! Only what is used is read; the bytes are kept as they came, under their digest. Read next: `offer.rs`.

use livery_core::agent::ImageRef;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::limits::Limits;

/// A manifest of the OCI's image format, and of Docker's, which differ in the name of the type.
const MANIFESTS: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
/// A list of manifests.
const INDEXES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
/// The types a registry is asked for.
pub const TYPES: [&str; 4] = [MANIFESTS[0], MANIFESTS[1], INDEXES[0], INDEXES[1]];
/// The type of manifests made here.
pub(crate) const MANIFEST_TYPE: &str = MANIFESTS[0];
/// Variables of an image, and the bytes of all of them.
const ENV_MAX: usize = 64;
const ENV_BYTES_MAX: usize = 16 * 1024;
/// Documents attached to an image rather than one.
const ATTACHED: &str = "vnd.docker.reference.type";
/// The names of an image in an OCI layout: the first is a whole name, the second often only a tag.
const NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// What is named by digest and size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    #[serde(default)]
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// In an index: what it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// In an index: its names among other things.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<serde_json::Map<String, serde_json::Value>>,
}

/// An operating system and a processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`.
    #[serde(default)]
    pub os: String,
    /// `amd64`, `arm64`, …
    #[serde(default)]
    pub architecture: String,
}

impl Platform {
    /// This machine's.
    #[must_use]
    pub fn here() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self { os: "linux".to_owned(), architecture: architecture.to_owned() }
    }

    /// Fails unless it is this machine's.
    pub(crate) fn check(&self) -> Result<()> {
        let here = Self::here();
        if *self == here {
            return Ok(());
        }
        Err(Error::Platform { wanted: here.to_string(), found: self.to_string() })
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)
    }
}

/// What a descriptor's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// A choice of images.
    Index(Vec<Descriptor>),
}

/// One image: a configuration and its layers, the lowest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// 2.
    pub schema_version: u32,
    /// One of two.
    #[serde(default)]
    pub media_type: String,
    /// The configuration.
    pub config: Descriptor,
    /// The layers.
    pub layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    #[serde(default)]
    media_type: String,
    manifests: Vec<Descriptor>,
}

/// What is used of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What it runs on.
    pub platform: Platform,
    /// When it was made, as it says.
    pub created: Option<String>,
    /// Variables for its commands.
    pub env: Vec<(String, String)>,
    /// The digests of the layers' archives before they were compressed.
    pub diff_ids: Vec<Digest>,
}

/// One image of a `docker save` archive.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Saved {
    /// The file with its configuration.
    pub config: String,
    /// `name:tag`, as often as it has names.
    #[serde(default)]
    pub repo_tags: Option<Vec<String>>,
    /// The files with its layers.
    pub layers: Vec<String>,
}

fn parse<'a, T: Deserialize<'a>>(what: &str, bytes: &'a [u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::invalid(format!("{what} is not as it should be: {error}")))
}

/// Reads a manifest or an index, whichever it is. A document of one type that has the parts of the other is neither.
///
/// # Errors
/// It is neither, or beyond a limit.
pub fn document(bytes: &[u8], limits: &Limits) -> Result<Document> {
    let value: serde_json::Map<String, serde_json::Value> = parse("the manifest", bytes)?;
    match (value.contains_key("layers"), value.contains_key("manifests")) {
        (true, false) => manifest(bytes, limits).map(Document::Manifest),
        (false, true) => index(bytes, limits).map(Document::Index),
        (true, true) => Err(Error::invalid("a document that is a manifest and an index at once")),
        (false, false) => {
            Err(Error::invalid("this is neither a manifest nor an index (images of schema 1 are not taken)"))
        }
    }
}

/// Reads an index.
///
/// # Errors
/// It is none, or has more manifests than may be.
pub fn index(bytes: &[u8], limits: &Limits) -> Result<Vec<Descriptor>> {
    let index: Index = parse("the index", bytes)?;
    if !index.media_type.is_empty() && !INDEXES.contains(&index.media_type.as_str()) {
        return Err(Error::invalid(format!("an index of the type {:?}", index.media_type)));
    }
    if index.manifests.len() > limits.manifests {
        return Err(Error::limit("manifests in an index", limits.manifests as u64));
    }
    Ok(index.manifests)
}

fn manifest(bytes: &[u8], limits: &Limits) -> Result<Manifest> {
    let manifest: Manifest = parse("the manifest", bytes)?;
    if manifest.schema_version != 2 {
        return Err(Error::invalid("a manifest of another schema than 2"));
    }
    if !manifest.media_type.is_empty() && !MANIFESTS.contains(&manifest.media_type.as_str()) {
        return Err(Error::invalid(format!("a manifest of the type {:?}", manifest.media_type)));
    }
    if manifest.layers.len() > limits.layers {
        return Err(Error::limit("layers", limits.layers as u64));
    }
    Ok(manifest)
}

/// Reads the list in a `docker save` archive.
///
/// # Errors
/// It is none, or beyond a limit.
pub fn saved(bytes: &[u8], limits: &Limits) -> Result<Vec<Saved>> {
    let saved: Vec<Saved> = parse("manifest.json", bytes)?;
    if saved.len() > limits.manifests {
        return Err(Error::limit("images in an archive", limits.manifests as u64));
    }
    if saved.iter().any(|image| image.layers.len() > limits.layers) {
        return Err(Error::limit("layers", limits.layers as u64));
    }
    Ok(saved)
}

/// Reads a configuration.
///
/// # Errors
/// It is none.
pub fn config(bytes: &[u8]) -> Result<Config> {
    #[derive(Deserialize)]
    struct Whole {
        #[serde(flatten)]
        platform: Platform,
        #[serde(default)]
        created: Option<String>,
        #[serde(default)]
        config: Option<Inner>,
        rootfs: RootFs,
    }
    #[derive(Default, Deserialize)]
    struct Inner {
        #[serde(default, rename = "Env")]
        env: Option<Vec<String>>,
    }
    #[derive(Deserialize)]
    struct RootFs {
        #[serde(default)]
        diff_ids: Vec<Digest>,
    }
    let whole: Whole = parse("the configuration", bytes)?;
    let created = whole.created.filter(|text| text.len() <= 64 && !text.chars().any(char::is_control));
    let env = environment(whole.config.unwrap_or_default().env.unwrap_or_default());
    Ok(Config { platform: whole.platform, created, env, diff_ids: whole.rootfs.diff_ids })
}

/// What of an image's environment its commands get. `HOME` is the workspace in every sandbox.
fn environment(entries: Vec<String>) -> Vec<(String, String)> {
    let is_name = |name: &str| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
    };
    let mut left = ENV_BYTES_MAX;
    let pairs = entries.into_iter().filter(|entry| !entry.contains('\0')).filter(move |entry| {
        let fits = entry.len() <= left;
        left -= if fits { entry.len() } else { 0 };
        fits
    });
    let pairs =
        pairs.filter_map(|entry| entry.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())));
    pairs.filter(|(name, _)| is_name(name) && name != "HOME").take(ENV_MAX).collect()
}

/// The one of an index's manifests that is for this machine. What is attached to images is passed over.
///
/// # Errors
/// None is, or several are.
pub fn choose(manifests: &[Descriptor]) -> Result<&Descriptor> {
    let here = Platform::here();
    let is_attached = |one: &&Descriptor| one.annotations.as_ref().is_some_and(|all| all.contains_key(ATTACHED));
    let offered: Vec<&Descriptor> = manifests.iter().filter(|one| !is_attached(one)).collect();
    let mut fitting = offered.iter().filter(|one| one.platform.as_ref().is_none_or(|platform| *platform == here));
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(one),
        (Some(one), Some(other)) if one.platform.is_some() || other.platform.is_some() => {
            // Variants of one processor: the first is the index's own preference.
            Ok(offered.iter().find(|one| one.platform.as_ref() == Some(&here)).unwrap_or(one))
        }
        (Some(_), Some(_)) => Err(Error::invalid("an index with several images and nothing that tells them apart")),
        (None, _) => {
            let all = offered.iter().filter_map(|one| one.platform.as_ref()).map(Platform::to_string).take(16);
            let found = all.collect::<Vec<_>>().join(", ");
            Err(Error::Platform {
                wanted: here.to_string(),
                found: if found.is_empty() { "none".to_owned() } else { found },
            })
        }
    }
}

impl Descriptor {
    /// Whether it leads to more manifests.
    pub(crate) fn is_index(&self) -> bool {
        INDEXES.contains(&self.media_type.as_str())
    }

    /// The image's name in a layout, if it says a whole one.
    pub(crate) fn name(&self) -> Option<ImageRef> {
        let annotations = self.annotations.as_ref()?;
        let text = NAMES.iter().find_map(|key| annotations.get(*key)?.as_str())?;
        text.parse().ok().filter(|name: &ImageRef| text.contains([':', '/']) && !name.is_host())
    }
}

#[cfg(test)]
mod tests;
