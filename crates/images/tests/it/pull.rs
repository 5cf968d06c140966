//! Images fetched piece by piece, and images made out of a folder.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use livery_core::Timestamp;
use livery_images::{Digest, Error, Image, Limits, Store, Wanted, pack};
use serde_json::{Value, json};

use crate::kit::{FILE, config, gzip, layer, store, tree};

const NOW: Timestamp = Timestamp::from_micros(1);

/// What is offered, by tag and digest, and what was asked for.
#[derive(Default)]
struct Shelf {
    pieces: HashMap<String, Vec<u8>>,
    asked: RefCell<Vec<String>>,
}

impl Shelf {
    fn put(&mut self, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        self.pieces.insert(digest.to_string(), bytes.to_vec());
        json!({"digest": digest, "size": bytes.len()})
    }

    /// An image of one layer; its manifest's descriptor.
    fn image(&mut self, release: &str) -> Value {
        let plain = layer(&[(FILE, "etc/release", release)]);
        let configuration = self.put(config(std::iter::once(Digest::of(&plain))).to_string().as_bytes());
        let stored = self.put(&gzip(&plain));
        let manifest = json!({"schemaVersion": 2, "config": configuration, "layers": [stored]}).to_string();
        let descriptor = self.put(manifest.as_bytes());
        self.pieces.insert("1".to_owned(), manifest.into_bytes());
        descriptor
    }

    fn pull(&self, store: &Store, name: &str) -> Result<Image, Error> {
        store.change()?.pull(&name.parse().unwrap(), NOW, |wanted| {
            let key = match wanted {
                Wanted::Manifest(reference) => reference.to_owned(),
                Wanted::Blob { digest, .. } => digest.to_string(),
            };
            self.asked.borrow_mut().push(key.clone());
            let bytes = self.pieces.get(&key).cloned();
            let bytes = bytes.ok_or_else(|| io::Error::other("there is no such piece"))?;
            Ok(Box::new(io::Cursor::new(bytes)) as Box<dyn Read>)
        })
    }
}

#[test]
fn an_image_is_fetched_once_and_by_its_digest() {
    let temp = tempfile::tempdir().unwrap();
    let (store, mut shelf) = (store(temp.path()), Shelf::default());
    let descriptor = shelf.image("one");
    let image = shelf.pull(&store, "app:1").unwrap();
    assert_eq!(json!(image.digest), descriptor["digest"]);
    assert_eq!(tree(&store.find(&"app:1".parse().unwrap()).unwrap().root), ["etc/", "etc/release 555 one"]);
    assert_eq!(shelf.asked.take().len(), 3, "manifest, configuration, layer");
    shelf.pull(&store, "app:1").unwrap();
    assert_eq!(shelf.asked.take(), ["1"], "only what the tag means now");
    // By digest, under a tag of its own; the right one or none.
    let digest = image.digest.to_string();
    assert_eq!(shelf.pull(&store, &format!("app:2@{digest}")).unwrap().names.len(), 2);
    assert_eq!(shelf.asked.take(), [digest.as_str()]);
    let other = shelf.pieces[&digest].iter().copied().chain(*b" ").collect::<Vec<u8>>();
    shelf.pieces.insert(digest.clone(), other);
    let refused = shelf.pull(&store, &format!("app:2@{digest}")).unwrap_err();
    assert!(matches!(refused, Error::Digest { .. }), "{refused}");
    let refused = shelf.pull(&store, &format!("app@{digest}")).unwrap_err().to_string();
    assert_eq!(refused, "say what to keep it as: app:TAG@sha256:…", "a digest alone is not `latest`");
    assert!(shelf.pull(&store, "missing:7").unwrap_err().to_string().contains("there is no such piece"));
}

#[test]
fn an_index_leads_to_this_machines_image_and_lies_are_found() {
    let temp = tempfile::tempdir().unwrap();
    let (store, mut shelf) = (store(temp.path()), Shelf::default());
    let architecture = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let mut own = shelf.image("here");
    own["platform"] = json!({"os": "linux", "architecture": architecture});
    let other = json!({"digest": format!("sha256:{}", "0".repeat(64)), "size": 1, "platform": {"os": "linux", "architecture": "s390x"}});
    let index = |manifests: &[Value]| json!({"schemaVersion": 2, "manifests": manifests}).to_string().into_bytes();
    shelf.pieces.insert("latest".to_owned(), index(&[other.clone(), own.clone()]));
    shelf.pull(&store, "app").unwrap();
    shelf.pieces.insert("latest".to_owned(), index(std::slice::from_ref(&other)));
    assert!(matches!(shelf.pull(&store, "app"), Err(Error::Platform { .. })));
    own["size"] = json!(3);
    shelf.pieces.insert("latest".to_owned(), index(std::slice::from_ref(&own)));
    assert!(matches!(shelf.pull(&store, "app"), Err(Error::Digest { .. })));
    // A layer that is another one, on the way.
    let mut shelf = Shelf::default();
    shelf.image("right");
    let mut evil = Shelf::default();
    evil.image("wrong");
    let layers: Vec<String> =
        shelf.pieces.keys().filter(|key| shelf.pieces[*key].starts_with(&[0x1f, 0x8b])).cloned().collect();
    let wrong = evil.pieces.values().find(|bytes| bytes.starts_with(&[0x1f, 0x8b])).unwrap().clone();
    for digest in layers {
        shelf.pieces.insert(digest, wrong.clone());
    }
    let refused = shelf.pull(&store, "evil:1").unwrap_err().to_string();
    assert!(refused.contains("layer 0"), "{refused}");
    assert!(store.find(&"evil:1".parse().unwrap()).is_err());
}

#[test]
fn too_many_bytes_are_not_even_fetched_and_what_failed_is_garbage() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::within(temp.path().join("images"), Limits { unpacked_bytes: 10, ..Limits::default() });
    let mut shelf = Shelf::default();
    shelf.image("large");
    let refused = shelf.pull(&store, "app:1").unwrap_err().to_string();
    assert_eq!(refused, "bytes of all layers: more than 10, which is the limit");
    assert_eq!(shelf.asked.take(), ["1"], "the manifest alone");
    assert!(!store.has_garbage().unwrap());
    // A pull that breaks off leaves what it has for the next one, or for the collector.
    let store = crate::kit::store(temp.path());
    shelf.pieces.retain(|_, bytes| !bytes.starts_with(&[0x1f, 0x8b]));
    assert!(shelf.pull(&store, "app:1").is_err());
    assert!(store.has_garbage().unwrap());
    assert_eq!(store.change().unwrap().collect(&BTreeSet::new()).unwrap().blobs, 1, "the configuration");
    assert!(!store.has_garbage().unwrap());
}

#[test]
fn a_damaged_layer_is_fetched_anew() {
    let temp = tempfile::tempdir().unwrap();
    let (store, mut shelf) = (store(temp.path()), Shelf::default());
    shelf.image("whole");
    shelf.pull(&store, "app:1").unwrap();
    let layer = shelf.pieces.iter().find(|(_, bytes)| bytes.starts_with(&[0x1f, 0x8b])).unwrap();
    let digest: Digest = layer.0.parse().unwrap();
    let blob = temp.path().join("images/blobs").join(digest.hex());
    let mut bytes = fs::read(&blob).unwrap();
    // The time in the stream's head: it unpacks to the same, and is another blob.
    bytes[4] ^= 1;
    fs::write(&blob, bytes).unwrap();
    fs::remove_dir_all(store.find(&"app:1".parse().unwrap()).unwrap().root).unwrap();
    let refused = shelf.pull(&store, "app:1").unwrap_err();
    assert!(matches!(refused, Error::Digest { .. }), "{refused}");
    shelf.pull(&store, "app:1").unwrap();
    assert_eq!(fs::read(&blob).unwrap(), shelf.pieces[&digest.to_string()]);
}

#[test]
fn a_folder_becomes_an_image() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("root");
    fs::create_dir_all(folder.join("bin")).unwrap();
    fs::create_dir_all(folder.join("proc/1")).unwrap();
    fs::create_dir_all(folder.join("usr/proc")).unwrap();
    fs::write(folder.join("bin/tool"), "tool").unwrap();
    fs::set_permissions(folder.join("bin/tool"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::hard_link(folder.join("bin/tool"), folder.join("bin/twin")).unwrap();
    fs::write(folder.join("note"), "n").unwrap();
    fs::set_permissions(folder.join("note"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink("/etc/shadow", folder.join("link")).unwrap();
    symlink(temp.path(), folder.join("out")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
    let store = store(temp.path());
    let build = || {
        let mut layer = tempfile::tempfile().unwrap();
        pack(&folder, &layer, &Limits::default()).unwrap();
        store.change().unwrap().build(&mut layer, &"made:1".parse().unwrap(), NOW).unwrap()
    };
    let image = build();
    let root = store.find(&"made:1".parse().unwrap()).unwrap().root;
    let out = format!("out -> {}", temp.path().display());
    assert_eq!(
        tree(&root),
        [
            "bin/",
            "bin/tool 555 tool",
            "bin/twin 555 tool",
            "link -> /etc/shadow",
            "note 444 n",
            out.as_str(),
            "usr/",
            "usr/proc/"
        ]
    );
    assert_eq!(build().digest, image.digest, "the same folder is the same image");
    let refused =
        pack(&folder, &tempfile::tempfile().unwrap(), &Limits { entries: 3, ..Limits::default() }).unwrap_err();
    assert!(refused.to_string().contains("names in the image"), "{refused}");
    let refused =
        pack(&folder, &tempfile::tempfile().unwrap(), &Limits { file_bytes: 3, ..Limits::default() }).unwrap_err();
    assert!(refused.to_string().contains("bytes of the image"), "{refused}");
}
