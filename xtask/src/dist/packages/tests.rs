//! What cargo prints, and what it says of this repository.

use super::{Packages, Role, checksums, parse_listed};

#[test]
fn trees_and_lock_files_are_read() {
    let listed = parse_listed("livery v0.1.0 (/src/crates/livery)\nserde v1.0.229\nserde v1.0.229 (*)\n\n");
    assert_eq!(listed.into_iter().collect::<Vec<_>>(), ["livery@0.1.0", "serde@1.0.229"]);
    let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \"ab\"\n\n[[package]]\nname = \"own\"\nversion = \"0.1.0\"\n";
    let found = checksums(lock);
    assert_eq!(found.len(), 1);
    assert_eq!(found["a@1.0.0"], "ab");
}

#[test]
fn what_is_compiled_in_is_told_from_what_only_helps() {
    let packages = Packages::read("x86_64-unknown-linux-gnu").unwrap();
    let one = |name: &str| packages.by_key.values().find(|package| package.name == name);
    assert_eq!(one("tokio").unwrap().role, Role::Linked);
    assert_eq!(one("libsqlite3-sys").unwrap().role, Role::Linked);
    assert_eq!(one("serde_derive").unwrap().role, Role::Tool, "a macro leaves nothing but what it wrote");
    assert_eq!(one("cc").unwrap().role, Role::Tool);
    assert!(one("proptest").is_none(), "tests are not part of the program");
    assert!(one("xtask").is_none());
    let outside = packages.by_key.values().filter(|package| !package.is_ours());
    assert!(outside.clone().all(|package| package.checksum.len() == 64));
    assert!(outside.clone().count() > 100);
    assert!(one("livery").unwrap().is_ours());
}
