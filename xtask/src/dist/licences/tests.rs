//! Texts of packages that were written for these tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{collect, toolchain};
use crate::dist::archive::Tree;
use crate::dist::packages::{Package, Packages, Role};

fn package(root: &Path, name: &str, role: Role, files: &[(&str, &str)]) -> Package {
    let folder = root.join(name);
    for (file, text) in files {
        let path = folder.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    Package {
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        licence: "MIT".to_owned(),
        description: String::new(),
        repository: format!("https://example.com/{name}"),
        checksum: "00".repeat(32),
        role,
        folder,
        dependencies: BTreeSet::new(),
    }
}

#[test]
fn each_text_stands_once_and_nobody_is_forgotten() {
    let root = tempfile::tempdir().unwrap();
    let list = [
        package(
            root.path(),
            "one",
            Role::Linked,
            &[("LICENSE-MIT", "Permission of the two\r\n"), ("license.rs", "code")],
        ),
        package(
            root.path(),
            "two",
            Role::Linked,
            &[("COPYING", "Permission of the two\n"), ("NOTICE", "Two's notice\n")],
        ),
        package(root.path(), "bare", Role::Linked, &[("README.md", "no licence here")]),
        package(root.path(), "macro", Role::Tool, &[("LICENSE", "of a tool")]),
    ];
    let by_key: BTreeMap<String, Package> = list.into_iter().map(|package| (package.key(), package)).collect();
    let text = collect(&Packages { by_key }, "x86_64-unknown-linux-musl").unwrap();
    assert_eq!(text.matches("Permission of the two").count(), 1, "{text}");
    assert!(text.contains("\none@1.0.0, two@1.0.0\n"), "{text}");
    assert!(text.contains("Two's notice"), "{text}");
    assert!(text.contains("bare@1.0.0: MIT (https://example.com/bare)"), "{text}");
    assert!(!text.contains("of a tool") && !text.contains("code") && !text.contains("GNU C library"), "{text}");
}

#[test]
fn what_is_not_on_this_machine_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (mut tree, said) = (Tree::default(), std::cell::RefCell::new(String::new()));
    toolchain(folder.path(), &mut tree, &|line| said.borrow_mut().push_str(line));
    assert!(said.borrow().contains("no licenses/rust-standard-library.html"), "{said:?}");
    let file = folder.path().join("share/doc/rust/COPYRIGHT-library.html");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, "<p>MIT</p>").unwrap();
    toolchain(folder.path(), &mut tree, &|_| {});
    assert_eq!(tree.get("licenses/rust-standard-library.html").unwrap().bytes, b"<p>MIT</p>");
}
