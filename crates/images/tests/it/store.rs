//! Imports in every form, what is shared, what is taken away, and what a death in between leaves.

use std::collections::BTreeSet;
use std::fs;

use livery_core::Timestamp;
use livery_core::agent::ImageRef;
use livery_images::{Collected, Error, Limits, Source};
use serde_json::json;

use crate::kit::{FILE, FOLDER, HARD, LINK, Layout, archive, config, gzip, import, layer, store, tree, zstd};

fn name(text: &str) -> ImageRef {
    text.parse().unwrap()
}

#[test]
fn layers_lie_on_each_other() {
    let temp = tempfile::tempdir().unwrap();
    let layout = Layout::of(
        &temp.path().join("layout"),
        &[
            &[
                (FOLDER, "bin/", ""),
                (FILE, "bin/tool", "one"),
                (HARD, "bin/same", "bin/tool"),
                (LINK, "usr", "lib/usr"),
                (FOLDER, "gone/", ""),
                (FILE, "gone/a", "a"),
                (FOLDER, "opaque/", ""),
                (FILE, "opaque/old", "o"),
                (FILE, "kept", "k"),
                (FILE, "was-folder/x", "x"),
                (FILE, "was-file", "f"),
                (FOLDER, "lib/usr/", ""),
            ],
            &[
                // The layer's own file stays, though its whiteout comes after it.
                (FILE, "opaque/new", "n"),
                (FILE, "opaque/.wh..wh..opq", ""),
                (FILE, ".wh.gone", ""),
                (FILE, "bin/.wh.missing", ""),
                (FILE, "bin/tool", "two"),
                (FILE, "usr/through", "t"),
                (FILE, "was-folder", "file"),
                (FILE, "was-file/y", "never"),
            ],
        ],
    );
    let store = store(temp.path());
    // A file where a folder has to be is no image any more.
    let refused = import(&store, &layout.folder, Some("base:1")).unwrap_err().to_string();
    assert!(refused.contains("unpacking was-file"), "{refused}");
    assert_eq!(store.list().unwrap(), []);
    fs::remove_dir_all(&layout.folder).unwrap();
    let layout = Layout::of(
        &temp.path().join("layout"),
        &[
            &[
                (FOLDER, "bin/", ""),
                (FILE, "bin/tool", "one"),
                (HARD, "bin/same", "bin/tool"),
                (LINK, "usr", "lib/usr"),
                (FOLDER, "gone/", ""),
                (FILE, "gone/a", "a"),
                (FOLDER, "opaque/", ""),
                (FILE, "opaque/old", "o"),
                (FILE, "kept", "k"),
                (FILE, "was-folder/x", "x"),
                (FILE, "was-file", "f"),
                (FOLDER, "lib/usr/", ""),
            ],
            &[
                (FILE, "opaque/new", "n"),
                (FILE, "opaque/.wh..wh..opq", ""),
                (FILE, ".wh.gone", ""),
                (FILE, "bin/.wh.missing", ""),
                (FILE, "bin/tool", "two"),
                (FILE, "usr/through", "t"),
                (FILE, "was-folder", "file"),
                (FOLDER, "was-file/", ""),
            ],
        ],
    );
    let images = import(&store, &layout.folder, Some("base:1")).unwrap();
    let found = store.find(&name("base:1")).unwrap();
    assert_eq!(found.digest, images[0].digest);
    assert_eq!(
        tree(&found.root),
        [
            "bin/",
            "bin/same 555 one",
            "bin/tool 555 two",
            "kept 555 k",
            "lib/",
            "lib/usr/",
            "lib/usr/through 555 t",
            "opaque/",
            "opaque/new 555 n",
            "usr -> lib/usr",
            "was-file/",
            "was-folder 555 file",
        ]
    );
    assert_eq!(found.env, [("PATH".to_owned(), "/opt/bin:/bin".to_owned()), ("LANG".to_owned(), "C.UTF-8".to_owned())]);
}

#[test]
fn every_form_gives_the_same_root_and_layers_are_kept_once() {
    let temp = tempfile::tempdir().unwrap();
    let plain = layer(&[(FILE, "etc/release", "tiny\n"), (LINK, "link", "/etc/release")]);
    let (one, two) = (temp.path().join("one"), temp.path().join("two"));
    let layout = Layout::new(&one);
    let image = layout.image(&[(gzip(&plain), plain.clone())]);
    layout.index(&[image]);
    let squeezed = Layout::new(&two);
    let image = squeezed.image(&[(zstd(&plain), plain.clone())]);
    squeezed.index(&[image]);
    // An older `docker save`: a second image's layer is a link to the first one's.
    let saved = temp.path().join("saved");
    fs::create_dir_all(saved.join("aaa")).unwrap();
    fs::create_dir_all(saved.join("bbb")).unwrap();
    fs::write(saved.join("aaa/layer.tar"), &plain).unwrap();
    std::os::unix::fs::symlink("../aaa/layer.tar", saved.join("bbb/layer.tar")).unwrap();
    let configuration = config(std::iter::once(livery_images::Digest::of(&plain)));
    fs::write(saved.join("config.json"), configuration.to_string()).unwrap();
    let both = json!([
        {"Config": "config.json", "RepoTags": ["docker.io/library/saved:1", "saved:2"], "Layers": ["aaa/layer.tar"]},
        {"Config": "config.json", "RepoTags": ["other"], "Layers": ["bbb/layer.tar"]},
    ]);
    fs::write(saved.join("manifest.json"), both.to_string()).unwrap();
    let archive_of = |folder: &std::path::Path, name: &str, bytes: Vec<u8>| {
        let path = folder.with_file_name(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let store = store(temp.path());
    let forms = [
        ("folder:1", one.clone()),
        ("tar:1", archive_of(&one, "one.tar", archive(&one))),
        ("gz:1", archive_of(&one, "one.tar.gz", gzip(&archive(&one)))),
        ("zstd:1", two.clone()),
        ("zst:1", archive_of(&two, "two.tar.zst", zstd(&archive(&two)))),
    ];
    for (named, path) in &forms {
        import(&store, path, Some(named)).unwrap();
    }
    let images = import(&store, &archive_of(&saved, "saved.tar", archive(&saved)), None).unwrap();
    assert_eq!(images.len(), 1, "two entries are one image: {images:?}");
    assert_eq!(images[0].names.iter().map(String::as_str).collect::<Vec<_>>(), ["other:latest", "saved:1", "saved:2"]);
    for named in ["folder:1", "tar:1", "gz:1", "zstd:1", "zst:1", "saved:1", "saved:2", "other"] {
        let found = store.find(&name(named)).unwrap();
        assert_eq!(tree(&found.root), ["etc/", "etc/release 555 tiny\n", "link -> /etc/release"], "{named}");
    }
    // gzip, zstd and plain: three images, each with its manifest and its layer, and one configuration that they share.
    let blobs = fs::read_dir(temp.path().join("images/blobs")).unwrap().count();
    assert_eq!((store.list().unwrap().len(), blobs), (3, 3 + 3 + 1));
}

#[test]
fn a_name_moves_and_what_no_name_leads_to_goes_when_nobody_needs_it() {
    let temp = tempfile::tempdir().unwrap();
    let store = store(temp.path());
    let shared: &[crate::kit::Part<'_>] = &[(FILE, "base", "b")];
    for (folder, text) in [("one", "1"), ("two", "2"), ("three", "3")] {
        let layout = Layout::of(&temp.path().join(folder), &[shared, &[(FILE, "own", text)]]);
        import(&store, &layout.folder, Some("app")).unwrap();
    }
    let [one, two, three] = store.list().unwrap().try_into().unwrap();
    assert_eq!((one.names.len(), two.names.len(), three.names.len()), (0, 0, 1));
    // A sandbox holds the first, a run that waits needs the second.
    let (held, lease) = store.hold(&name(&format!("app@{}", one.digest))).unwrap();
    let keep = BTreeSet::from([two.digest.clone()]);
    assert_eq!(store.change().unwrap().collect(&keep).unwrap(), Collected::default());
    assert!(held.root.join("own").exists());
    drop(lease);
    let gone = store.change().unwrap().collect(&keep).unwrap();
    assert_eq!((gone.images, gone.blobs), (1, 3), "its manifest, its configuration and the layer nobody shares");
    assert!(!held.root.exists() && matches!(store.find(&name(&format!("app@{}", one.digest))), Err(Error::Unknown(_))));
    assert_eq!(
        fs::read_to_string(store.find(&name(&format!("x@{}", two.digest))).unwrap().root.join("own")).unwrap(),
        "2"
    );
    let change = store.change().unwrap();
    change.remove_name(&name("app")).unwrap();
    assert!(matches!(change.remove_name(&name("app")), Err(Error::Unknown(name)) if name == "app:latest"));
    assert_eq!(change.collect(&BTreeSet::new()).unwrap().images, 2);
    assert_eq!(fs::read_dir(temp.path().join("images/blobs")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(store.roots()).unwrap().count(), 0);
}

#[test]
fn what_a_death_leaves_is_never_used_and_swept() {
    let temp = tempfile::tempdir().unwrap();
    let store = store(temp.path());
    let layout = Layout::of(&temp.path().join("one"), &[&[(FILE, "a", "a")]]);
    // Dead while it unpacked: a half root, a half blob, and a root that was never listed.
    let images = temp.path().join("images");
    fs::create_dir_all(images.join("staging/root/half")).unwrap();
    fs::write(images.join("staging/blob"), "half").unwrap();
    let stray = images.join("roots").join("f".repeat(64));
    fs::create_dir_all(stray.join("x")).unwrap();
    assert!(matches!(store.find(&name(&format!("x@sha256:{}", "f".repeat(64)))), Err(Error::Unknown(_))));
    assert_eq!(store.list().unwrap(), []);
    store.sweep().unwrap();
    assert_eq!(fs::read_dir(images.join("staging")).unwrap().count(), 0);
    // Dead between the rename and the list: the next import of the same makes it anew.
    import(&store, &layout.folder, Some("a")).unwrap();
    let root = store.find(&name("a")).unwrap().root;
    fs::remove_file(images.join("index.json")).unwrap();
    fs::write(root.join("tampered"), "x").unwrap();
    assert!(matches!(store.find(&name("a")), Err(Error::Unknown(_))));
    import(&store, &layout.folder, Some("a")).unwrap();
    assert_eq!(tree(&root), ["a 555 a"]);
    // Dead with the root gone and the list not: it is unpacked again.
    fs::remove_dir_all(&root).unwrap();
    assert!(matches!(store.find(&name("a")), Err(Error::Unknown(_))));
    import(&store, &layout.folder, Some("a")).unwrap();
    assert_eq!(tree(&root), ["a 555 a"]);
    store.change().unwrap().collect(&BTreeSet::new()).unwrap();
    assert!(!stray.exists() && root.exists());
}

#[test]
fn an_archives_own_names_move_nothing_and_names_are_few() {
    let temp = tempfile::tempdir().unwrap();
    let store = store(temp.path());
    let here = Layout::of(&temp.path().join("here"), &[&[(FILE, "a", "here")]]);
    let digest = import(&store, &here.folder, Some("app:1")).unwrap()[0].digest.clone();
    let other = Layout::new(&temp.path().join("other"));
    let plain = layer(&[(FILE, "a", "other")]);
    let mut image = other.image(&[(plain.clone(), plain)]);
    image["annotations"] = json!({"io.containerd.image.name": "app:1"});
    other.index(&[image]);
    let refused = import(&store, &other.folder, None).unwrap_err().to_string();
    assert_eq!(refused, format!("app:1 is {digest} here; to move it, say its name"));
    assert_eq!(store.find(&name("app:1")).unwrap().digest, digest);
    assert!(store.change().unwrap().collect(&BTreeSet::new()).unwrap().blobs > 0);
    import(&store, &other.folder, Some("app:1")).unwrap();
    assert_ne!(store.find(&name("app:1")).unwrap().digest, digest);
    import(&store, &other.folder, None).unwrap();
    for number in 2..=16 {
        import(&store, &other.folder, Some(&format!("app:{number}"))).unwrap();
    }
    let refused = import(&store, &other.folder, Some("app:17")).unwrap_err().to_string();
    assert_eq!(refused, "names of one image: more than 16, which is the limit");
}

#[test]
fn one_process_changes_at_a_time() {
    let temp = tempfile::tempdir().unwrap();
    let store = store(temp.path());
    let held = store.change().unwrap();
    assert!(matches!(store.change(), Err(Error::Busy)));
    store.sweep().unwrap();
    drop(held);
    store.change().unwrap();
}

#[test]
fn one_image_of_several_and_names_that_are_said_or_missing() {
    let temp = tempfile::tempdir().unwrap();
    let store = store(temp.path());
    let layout = Layout::new(&temp.path().join("layout"));
    let plain = layer(&[(FILE, "a", "here")]);
    let mut own = layout.image(&[(plain.clone(), plain)]);
    let architecture = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    own["platform"] = json!({"os": "linux", "architecture": architecture});
    // The other machine's image is not even there.
    let other = json!({"digest": format!("sha256:{}", "0".repeat(64)), "size": 9, "platform": {"os": "linux", "architecture": "s390x"}});
    let mut index = layout.document(&json!({"schemaVersion": 2, "manifests": [other, own]}));
    index["mediaType"] = json!("application/vnd.oci.image.index.v1+json");
    index["annotations"] =
        json!({"io.containerd.image.name": "reg.example:5000/team/app:v1", "org.opencontainers.image.ref.name": "v1"});
    layout.index(&[index.clone()]);
    let images = import(&store, &layout.folder, None).unwrap();
    assert_eq!(images[0].names.iter().map(String::as_str).collect::<Vec<_>>(), ["reg.example:5000/team/app:v1"]);
    index["annotations"] = json!({"org.opencontainers.image.ref.name": "v1"});
    layout.index(&[index]);
    let refused = import(&store, &layout.folder, None).unwrap_err().to_string();
    assert_eq!(refused, "an image in it has no name of its own; say one");
    layout.index(std::slice::from_ref(&other));
    let refused = import(&store, &layout.folder, Some("x")).unwrap_err();
    assert!(matches!(&refused, Error::Platform { found, .. } if found == "linux/s390x"), "{refused}");
    layout.index(&[]);
    assert!(import(&store, &layout.folder, Some("x")).unwrap_err().to_string().contains("there is no image in it"));
    let change = store.change().unwrap();
    let folder = fs::File::open(temp.path()).unwrap();
    let source = Source::of(folder, "it".to_owned(), &Limits::default(), || change.spool()).unwrap();
    let refused = change.import(&source, None, Timestamp::from_micros(0)).unwrap_err().to_string();
    assert!(refused.starts_with("this is neither an OCI image layout"), "{refused}");
}
