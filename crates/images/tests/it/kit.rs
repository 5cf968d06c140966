//! Images made on the spot: layers as tar archives, carried by a folder, a `docker save` archive or a compressed one.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use livery_core::Timestamp;
use livery_images::{Digest, Error, Image, Limits, Source, Store};
use serde_json::{Value, json};
use tar::EntryType;

/// One entry of a layer; content or the target of a link.
pub(crate) type Part<'a> = (EntryType, &'a str, &'a str);

pub(crate) const FILE: EntryType = EntryType::Regular;
pub(crate) const FOLDER: EntryType = EntryType::Directory;
pub(crate) const LINK: EntryType = EntryType::Symlink;
pub(crate) const HARD: EntryType = EntryType::Link;

/// A layer's archive. Names are written as they are, however bad.
pub(crate) fn layer(parts: &[Part<'_>]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (kind, path, text) in parts {
        let mut header = tar::Header::new_ustar();
        let link = matches!(*kind, EntryType::Symlink | EntryType::Link);
        let bytes = header.as_mut_bytes();
        bytes[..path.len()].copy_from_slice(path.as_bytes());
        if link {
            bytes[157..157 + text.len()].copy_from_slice(text.as_bytes());
        }
        header.set_entry_type(*kind);
        header.set_mode(0o6755);
        let content = if link { "" } else { *text };
        header.set_size(content.len() as u64);
        header.set_cksum();
        tar.append(&header, content.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// A layout being written: blobs, then the index that names them.
pub(crate) struct Layout {
    pub(crate) folder: PathBuf,
}

impl Layout {
    pub(crate) fn new(folder: &Path) -> Self {
        fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
        fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self { folder: folder.to_owned() }
    }

    pub(crate) fn blob(&self, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        fs::write(self.path(&digest), bytes).unwrap();
        json!({"digest": digest, "size": bytes.len()})
    }

    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs/sha256").join(digest.hex())
    }

    pub(crate) fn document(&self, value: &Value) -> Value {
        self.blob(value.to_string().as_bytes())
    }

    /// An image of layers, each as it is stored and as it unpacks; its manifest's descriptor.
    pub(crate) fn image(&self, layers: &[(Vec<u8>, Vec<u8>)]) -> Value {
        let stored: Vec<Value> = layers.iter().map(|(stored, _)| self.blob(stored)).collect();
        let config = self.document(&config(layers.iter().map(|(_, plain)| Digest::of(plain))));
        self.document(&json!({"schemaVersion": 2, "config": config, "layers": stored}))
    }

    pub(crate) fn index(&self, manifests: &[Value]) {
        let index = json!({"schemaVersion": 2, "manifests": manifests}).to_string();
        fs::write(self.folder.join("index.json"), index).unwrap();
    }

    /// One image of plain layers, under no name.
    pub(crate) fn of(folder: &Path, layers: &[&[Part<'_>]]) -> Self {
        let layout = Self::new(folder);
        let layers: Vec<_> = layers.iter().map(|parts| layer(parts)).map(|plain| (plain.clone(), plain)).collect();
        let image = layout.image(&layers);
        layout.index(&[image]);
        layout
    }
}

pub(crate) fn config(diff_ids: impl Iterator<Item = Digest>) -> Value {
    let architecture = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let diff_ids: Vec<Digest> = diff_ids.collect();
    json!({
        "os": "linux", "architecture": architecture, "created": "2026-01-01T00:00:00Z",
        "config": {"Env": ["PATH=/opt/bin:/bin", "LANG=C.UTF-8"], "User": "root", "Entrypoint": ["/bin/evil"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
}

/// A folder as one archive.
pub(crate) fn archive(folder: &Path) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_dir_all(".", folder).unwrap();
    tar.into_inner().unwrap()
}

pub(crate) fn store(temp: &Path) -> Store {
    Store::new(temp.join("images"))
}

/// Imports a path under a name, or under its own.
pub(crate) fn import(store: &Store, path: &Path, name: Option<&str>) -> Result<Vec<Image>, Error> {
    let change = store.change()?;
    let source = Source::of(File::open(path).unwrap(), "it".to_owned(), &Limits::default(), || change.spool())?;
    let name = name.map(|name| name.parse().unwrap());
    change.import(&source, name.as_ref(), Timestamp::from_micros(1_000_000))
}

/// Everything in a folder, a line each, sorted.
pub(crate) fn tree(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            let metadata = fs::symlink_metadata(&path).unwrap();
            lines.push(if metadata.is_symlink() {
                format!("{name} -> {}", fs::read_link(&path).unwrap().display())
            } else if metadata.is_dir() {
                folders.push(path);
                format!("{name}/")
            } else {
                use std::os::unix::fs::MetadataExt as _;
                let mut text = String::new();
                std::io::Read::read_to_string(&mut File::open(&path).unwrap(), &mut text).unwrap();
                format!("{name} {:o} {text}", metadata.mode() & 0o7777)
            });
        }
    }
    lines.sort();
    lines
}
