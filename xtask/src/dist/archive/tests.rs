//! Bytes, and what another program reads from them.

use super::{Tree, pack, sha256, tar};
use std::collections::BTreeMap;

fn tree() -> Tree {
    let mut tree = Tree::default();
    // Not in order.
    tree.program("bin/livery", "#!/bin/sh\n");
    tree.data("README.md", "read me\n");
    tree.data(format!("docs/{}.md", "long".repeat(40)), "a name longer than the header has room for\n");
    tree.seal();
    tree
}

#[test]
fn the_same_files_give_the_same_bytes() {
    let first = pack("livery-1", &tree(), 1_700_000_000).unwrap();
    assert_eq!(first, pack("livery-1", &tree(), 1_700_000_000).unwrap());
    let mut changed = tree();
    changed.data("README.md", "read me too\n");
    assert_ne!(first, pack("livery-1", &changed, 1_700_000_000).unwrap());
    assert_ne!(first, pack("livery-1", &tree(), 1_700_000_001).unwrap());
}

#[test]
fn entries_are_sorted_and_carry_nothing_of_this_machine() {
    let packed = pack("livery-1", &tree(), 1_700_000_000).unwrap();
    assert_eq!(packed[..8], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0], "gzip's own name and time");
    let plain = tar("livery-1", &tree(), 1_700_000_000).unwrap();
    let mut archive = ::tar::Archive::new(plain.as_slice());
    let mut seen = Vec::new();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, 1_700_000_000));
        seen.push((entry.path().unwrap().to_string_lossy().into_owned(), header.mode().unwrap()));
    }
    let mut sorted = seen.clone();
    sorted.sort();
    assert_eq!(seen, sorted);
    assert_eq!(seen.len(), 4);
    assert!(seen.contains(&("livery-1/bin/livery".to_owned(), 0o755)), "{seen:?}");
    assert!(seen.contains(&("livery-1/README.md".to_owned(), 0o644)), "{seen:?}");
}

#[test]
fn the_digests_are_of_every_other_file() {
    let tree = tree();
    let sums = String::from_utf8(tree.get("SHA256SUMS").unwrap().bytes.clone()).unwrap();
    let listed: BTreeMap<&str, &str> =
        sums.lines().map(|line| line.split_once("  ").unwrap()).map(|(digest, path)| (path, digest)).collect();
    for path in tree.paths().filter(|path| *path != "SHA256SUMS") {
        assert_eq!(listed[path], sha256(&tree.get(path).unwrap().bytes), "{path}");
    }
    assert_eq!(listed.len() + 1, tree.paths().count());
    // The well-known digest of nothing.
    assert_eq!(sha256(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}
