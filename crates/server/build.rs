//! Tells cargo that the pages of error codes are part of this crate: they are embedded, and files may be added to them.

fn main() {
    println!("cargo::rerun-if-changed=../../docs/errors");
    println!("cargo::rerun-if-changed=build.rs");
}
