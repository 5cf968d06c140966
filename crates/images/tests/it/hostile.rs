//! Archives built to do harm: nothing outside the root is touched, nothing of them is listed.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use livery_core::Timestamp;
use livery_images::{Digest, Limits, Source, Store};
use serde_json::json;
use tar::EntryType;

use crate::kit::{FILE, FOLDER, HARD, LINK, Layout, Part, archive, config, gzip, import, layer, store, tree, zstd};

/// A house with a secret beside the images; afterwards it is as it was.
fn beside(check: impl FnOnce(&Path)) {
    let temp = tempfile::tempdir().unwrap();
    let outside = temp.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "untouched").unwrap();
    check(temp.path());
    let left = tree(&outside);
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].starts_with("secret ") && left[0].ends_with(" untouched"), "{left:?}");
}

/// Imports one image of these layers; its root, or why not.
fn unpacked(temp: &Path, layers: &[&[Part<'_>]]) -> Result<Vec<String>, String> {
    let layout = Layout::of(&temp.join("layout"), layers);
    let _ = fs::remove_dir_all(temp.join("images"));
    let store = store(temp);
    let done = import(&store, &layout.folder, Some("evil")).map_err(|error| error.to_string());
    let found = done.map(|_| tree(&store.find(&"evil".parse().unwrap()).unwrap().root));
    if found.is_err() {
        assert_eq!(store.list().unwrap(), []);
        assert_eq!(fs::read_dir(store.roots()).unwrap().count(), 0);
    }
    fs::remove_dir_all(layout.folder).unwrap();
    found
}

#[test]
fn links_lead_nowhere_but_into_the_image() {
    beside(|temp| {
        let outside = temp.join("outside");
        let text = outside.to_str().unwrap();
        let climbing = format!("../../../../../../../../../../{text}");
        for target in [text, &climbing, "/proc/self/cwd", "/proc/self/root"] {
            let below = target.trim_start_matches("../").trim_start_matches('/');
            // A link, then a file through it: it lands below the image's own root, where the link means.
            let found = unpacked(temp, &[&[(LINK, "out", target), (FILE, "out/secret", "stolen")]]);
            match found {
                Ok(lines) => assert!(lines.contains(&format!("{below}/secret 555 stolen")), "{lines:?}"),
                Err(why) => assert!(why.contains("out"), "{why}"),
            }
            // The same over two layers, and with a folder there already.
            let _ = unpacked(
                temp,
                &[
                    &[(FOLDER, "out/", ""), (LINK, "out", target)],
                    &[(FILE, "out/secret", "stolen"), (FOLDER, "out/new/", "")],
                ],
            );
            // Taking away through the link takes away nothing of ours.
            let _ = unpacked(
                temp,
                &[&[(LINK, "out", target)], &[(FILE, "out/.wh.secret", ""), (FILE, "out/.wh..wh..opq", "")]],
            );
            // A file over the link replaces the link.
            let lines = unpacked(temp, &[&[(LINK, "out", target), (FILE, "out", "mine")]]).unwrap();
            assert_eq!(lines, ["out 555 mine"]);
            // Another name of a file outside is no name of anything.
            let why = unpacked(temp, &[&[(LINK, "out", target), (HARD, "stolen", "out/secret")]]).unwrap_err();
            assert!(why.contains("which is no file"), "{why}");
            let why =
                unpacked(temp, &[&[(LINK, "out", &format!("{target}/secret")), (HARD, "stolen", "out")]]).unwrap_err();
            assert!(why.contains("which is no file"), "{why}");
        }
    });
}

#[test]
fn names_that_climb_or_begin_at_the_top() {
    beside(|temp| {
        for path in ["../outside/secret", "a/../../outside/secret", ".."] {
            let why = unpacked(temp, &[&[(FILE, path, "stolen")]]).unwrap_err();
            assert!(why.contains("leads out of the image"), "{why}");
        }
        let absolute = format!("{}/outside/secret", temp.display());
        let lines = unpacked(temp, &[&[(FILE, &absolute, "below")]]).unwrap();
        assert_eq!(lines.last().map(String::as_str), Some(format!("{} 555 below", &absolute[1..]).as_str()));
    });
}

#[test]
fn devices_pipes_and_set_bits_stay_behind() {
    beside(|temp| {
        let kinds = [EntryType::Char, EntryType::Block, EntryType::Fifo];
        let parts: Vec<Part<'_>> =
            kinds.iter().map(|kind| (*kind, "dev/null", "")).chain([(FILE, "su", "x")]).collect();
        assert_eq!(unpacked(temp, &[&parts]).unwrap(), ["su 555 x"]);
        let root = store(temp).find(&"evil".parse().unwrap()).unwrap().root;
        let metadata = fs::metadata(root.join("su")).unwrap();
        assert_eq!((metadata.mode() & 0o7000, metadata.uid()), (0, rustix_uid()));
    });
}

fn rustix_uid() -> u32 {
    fs::metadata("/proc/self").unwrap().uid()
}

#[test]
fn loops_and_depth_end() {
    beside(|temp| {
        let why = unpacked(temp, &[&[(LINK, "a", "b"), (LINK, "b", "a"), (FILE, "a/x", "")]]).unwrap_err();
        assert!(why.contains("unpacking a"), "{why}");
        // Links that shorten paths, so that folders lie deeper than any path may say.
        let long = "d/".repeat(40);
        let mut parts: Vec<(EntryType, String, String)> = vec![(FOLDER, format!("l0/{long}"), String::new())];
        for number in 1..8 {
            parts.push((LINK, format!("l{number}"), format!("l{}/{long}", number - 1)));
            parts.push((FOLDER, format!("l{number}/{long}"), String::new()));
        }
        let parts: Vec<Part<'_>> =
            parts.iter().map(|(kind, path, text)| (*kind, path.as_str(), text.as_str())).collect();
        let why = unpacked(temp, &[&parts]).unwrap_err();
        assert_eq!(why, "folders in each other: more than 256, which is the limit");
    });
}

#[test]
fn too_much_of_anything_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let check = |limits: Limits, layers: &[Vec<u8>], why: &str| {
        let folder = temp.path().join("layout");
        let layout = Layout::new(&folder);
        let layers: Vec<(Vec<u8>, Vec<u8>)> = layers.iter().map(|plain| (gzip(plain), plain.clone())).collect();
        let image = layout.image(&layers);
        layout.index(&[image]);
        let store = Store::within(temp.path().join("images"), limits);
        let change = store.change().unwrap();
        let found = Source::of(fs::File::open(&folder).unwrap(), "it".to_owned(), &limits, || change.spool())
            .and_then(|source| change.import(&source, Some(&"x".parse().unwrap()), Timestamp::from_micros(0)));
        let found = found.unwrap_err().to_string();
        assert!(found.contains(why), "{found:?}, not {why:?}");
        drop(change);
        assert_eq!(store.list().unwrap(), []);
        assert_eq!(fs::read_dir(temp.path().join("images/staging")).unwrap().count(), 0, "{why}");
        fs::remove_dir_all(folder).unwrap();
    };
    let default = Limits::default();
    let many = layer(&[(FILE, "a", ""), (FILE, "b", ""), (FILE, "c", "")]);
    check(Limits { layers: 1, ..default }, &[many.clone(), many.clone()], "layers: more than 1");
    check(Limits { entries: 5, ..default }, &[many.clone(), many.clone()], "names in the image: more than 5");
    check(Limits { file_bytes: 3, ..default }, &[layer(&[(FILE, "a", "four")])], "bytes of a: more than 3");
    check(Limits { blob_bytes: 10, ..default }, std::slice::from_ref(&many), "bytes of layer 0: more than 10");
    check(Limits { document_bytes: 10, ..default }, std::slice::from_ref(&many), "bytes of");
    let deep = layer(&[(FILE, "a/b/c/d/e", "")]);
    check(Limits { entries: 3, ..default }, std::slice::from_ref(&deep), "folders in the image: more than 3");
    let hiding = layer(&[(FILE, "a/.wh.b", ""), (FILE, "a/.wh.c", "")]);
    check(
        Limits { hidden_bytes: 5, ..default },
        std::slice::from_ref(&hiding),
        "names a layer takes away: more than 5",
    );
    let zeros = "\0".repeat(1 << 20);
    let bomb = layer(&[(FILE, "zeros", &zeros)]);
    check(Limits { unpacked_bytes: 1 << 20, ..default }, std::slice::from_ref(&bomb), "bytes of the image, unpacked");
    check(Limits { ratio_free_bytes: 1000, ratio: 50, ..default }, &[bomb], "bytes unpacked from one that came");
    let top: Vec<String> = (0..65).map(|number| format!("d{number}/x")).collect();
    let top: Vec<Part<'_>> = top.iter().map(|path| (FILE, path.as_str(), "")).collect();
    check(default, &[layer(&top)], "folders at the top of the image");
}

#[test]
fn layers_of_a_saved_archive_are_bounded_together() {
    let temp = tempfile::tempdir().unwrap();
    let plain = layer(&[(FILE, "a", "a")]);
    let limits = Limits { unpacked_bytes: plain.len() as u64 + 1, ..Limits::default() };
    let saved = temp.path().join("saved");
    fs::create_dir(&saved).unwrap();
    fs::write(saved.join("layer.tar"), &plain).unwrap();
    let digests = [Digest::of(&plain), Digest::of(&plain)];
    fs::write(saved.join("config.json"), config(digests.into_iter()).to_string()).unwrap();
    let manifest = json!([{"Config": "config.json", "RepoTags": ["x"], "Layers": ["layer.tar", "layer.tar"]}]);
    fs::write(saved.join("manifest.json"), manifest.to_string()).unwrap();
    let store = Store::within(temp.path().join("images"), limits);
    let change = store.change().unwrap();
    let source = Source::of(fs::File::open(&saved).unwrap(), "it".to_owned(), &limits, || change.spool()).unwrap();
    let refused = change.import(&source, None, Timestamp::from_micros(0)).unwrap_err().to_string();
    assert!(refused.starts_with("bytes of all layers: more than"), "{refused}");
    drop(change);
    assert!(store.has_garbage().unwrap(), "what came of it waits for the collector");
}

#[test]
fn an_archive_that_unpacks_without_end_is_stopped() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("bomb.tar.zst");
    let mut encoder = zstd::Encoder::new(fs::File::create(&path).unwrap(), 1).unwrap();
    for _ in 0..256 {
        encoder.write_all(&vec![0; 1 << 20]).unwrap();
    }
    encoder.finish().unwrap();
    let why = import(&store(temp.path()), &path, Some("x")).unwrap_err().to_string();
    assert_eq!(why, "bytes unpacked from one that came: more than 200, which is the limit");
}

#[test]
fn every_digest_and_size_is_checked() {
    let temp = tempfile::tempdir().unwrap();
    let plain = layer(&[(FILE, "a", "right")]);
    let other = layer(&[(FILE, "a", "wrong")]);
    let swap = |bytes: &[u8], by: &[u8]| {
        let folder = temp.path().join("layout");
        let layout = Layout::new(&folder);
        let image = layout.image(&[(plain.clone(), plain.clone())]);
        layout.index(&[image]);
        fs::write(layout.path(&Digest::of(bytes)), by).unwrap();
        // A fresh one: what an earlier import checked and kept would be used instead.
        let _ = fs::remove_dir_all(temp.path().join("images"));
        let store = store(temp.path());
        let why = import(&store, &folder, Some("x")).unwrap_err().to_string();
        assert_eq!(store.list().unwrap(), []);
        fs::remove_dir_all(&folder).unwrap();
        why
    };
    // The same length, so that only the digest can tell.
    assert!(swap(&plain, &other).contains("layer 0 (2048 bytes) should have the SHA-256"), "a layer");
    assert!(swap(&plain, &plain[..1024]).contains("should have the SHA-256"), "a short layer");
    assert!(
        swap(&plain, &[plain.as_slice(), b"more"].concat()).contains("bytes of layer 0: more than"),
        "a long layer"
    );
    let configuration = config(std::iter::once(Digest::of(&plain))).to_string();
    let evil = configuration.replace("/bin/evil", "/bin/sh\\u0020");
    assert!(swap(configuration.as_bytes(), evil.as_bytes()).contains("the configuration"), "a configuration");
    // The layer is the one named, and unpacks to something else than the configuration says.
    let layout = Layout::new(&temp.path().join("diff"));
    let image = layout.image(&[(zstd(&other), plain)]);
    layout.index(&[image]);
    let why = import(&store(temp.path()), &layout.folder, Some("x")).unwrap_err().to_string();
    assert!(why.contains(", unpacked, should have the SHA-256"), "{why}");
}

#[test]
fn a_layout_and_an_archive_cannot_point_elsewhere() {
    beside(|temp| {
        let folder = temp.join("layout");
        let layout = Layout::new(&folder);
        let secret = fs::read(temp.join("outside/secret")).unwrap();
        let digest = Digest::of(&secret);
        std::os::unix::fs::symlink(temp.join("outside/secret"), layout.path(&digest)).unwrap();
        layout.index(&[json!({"digest": digest, "size": secret.len()})]);
        let why = import(&store(temp), &folder, Some("x")).unwrap_err().to_string();
        assert!(why.contains("opening blobs/sha256/"), "{why}");
        fs::remove_file(folder.join("index.json")).unwrap();
        for name in ["../outside/secret", "/etc/passwd", "a//b", ""] {
            let saved = json!([{"Config": name, "Layers": []}]).to_string();
            fs::write(folder.join("manifest.json"), saved).unwrap();
            let why = import(&store(temp), &folder, Some("x")).unwrap_err().to_string();
            assert!(why.contains("is no name of a file"), "{why}");
            fs::write(temp.join("saved.tar"), archive(&folder)).unwrap();
            let why = import(&store(temp), &temp.join("saved.tar"), Some("x")).unwrap_err().to_string();
            assert!(why.contains("is no name of a file"), "{why}");
        }
    });
}
