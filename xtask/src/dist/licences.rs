//! The licence texts of everything compiled in, read from the packages' own files: the archive carries them, this repository
//! does not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::archive::Tree;
use super::packages::{Package, Packages, Role};

/// How the names of files with licence texts begin, in lower case.
const NAMES: &[&str] = &["license", "licence", "copying", "notice", "unlicense", "copyright"];
/// Folders that hold such files, beside the package's own.
const FOLDERS: &[&str] = &["", "LICENSES", "licenses", "aws-lc"];
/// Longest text taken: a licence is not a book.
const TEXT_BYTES_MAX: u64 = 1024 * 1024;

const HEAD: &str = "\
Licences of the software that is compiled into Livery

Livery itself is under the Apache License, version 2.0: see the file LICENSE.
Each text below stands once, after the names of all packages that carry it. Those of the Rust standard library and of the C library
are in the folder licenses, where the machine that packed this had them.
The file sbom.cdx.json lists every package with its version and digest.
";

const GLIBC: &str = "\
The program bin/livery carries a small helper (the guest) that is linked with the GNU C library, which is under the GNU
Lesser General Public License, version 2.1 or later. Its source is that of the distribution's package libc6. Livery's own
source is published, so the helper can be linked again with another version of that library: `cargo build` does it.
";

/// What compiler and C library are delivered under: (below the compiler's folder or from the root, name in the archive).
const TOOLCHAIN: &[(&str, &str)] = &[
    ("share/doc/rust/COPYRIGHT-library.html", "licenses/rust-standard-library.html"),
    ("/usr/share/doc/libc6-dev/copyright", "licenses/glibc.txt"),
    ("/usr/share/common-licenses/LGPL-2.1", "licenses/LGPL-2.1.txt"),
];

/// Adds what is not in packages: the licences of the compiler's own library and of the C library, as far as they are here.
pub fn toolchain(compiler_folder: &Path, tree: &mut Tree, say: &dyn Fn(&str)) {
    for (from, name) in TOOLCHAIN {
        // Joining with a path from the root gives that path.
        let file = compiler_folder.join(from);
        match std::fs::read(&file) {
            Ok(text) => tree.data(*name, text),
            Err(error) => say(&format!("the archive gets no {name}: {}: {error}", file.display())),
        }
    }
}

/// One document with every text, and the packages that carry none.
pub fn collect(packages: &Packages, target: &str) -> anyhow::Result<String> {
    let mut holders: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut without = Vec::new();
    for package in packages.by_key.values().filter(|package| package.role == Role::Linked && !package.is_ours()) {
        let texts = texts_of(package)?;
        if texts.is_empty() {
            without.push(format!("{}: {} ({})", package.key(), package.licence, package.repository));
        }
        for text in texts {
            holders.entry(text).or_default().push(package.key());
        }
    }
    let mut sections: Vec<(Vec<String>, String)> = holders.into_iter().map(|(text, names)| (names, text)).collect();
    sections.sort();
    let mut document = HEAD.to_owned();
    if target.ends_with("-gnu") {
        document.push_str(&section(&["GNU C library".to_owned()], GLIBC));
    }
    if !without.is_empty() {
        let lines = without.join("\n");
        let names = ["packages without a text of their own, with the licence each declares".to_owned()];
        document.push_str(&section(&names, &lines));
    }
    for (names, text) in &sections {
        document.push_str(&section(names, text));
    }
    Ok(document)
}

fn section(names: &[String], text: &str) -> String {
    let line = "=".repeat(80);
    format!("\n{line}\n{}\n{line}\n\n{}\n", names.join(", "), text.trim_end())
}

/// The texts of a package, each once.
fn texts_of(package: &Package) -> anyhow::Result<Vec<String>> {
    let mut texts = Vec::new();
    for file in FOLDERS.iter().flat_map(|folder| files_in(&package.folder.join(folder))) {
        let size = std::fs::metadata(&file).with_context(|| format!("reading {}", file.display()))?.len();
        anyhow::ensure!(size <= TEXT_BYTES_MAX, "{} has {size} bytes: no licence text", file.display());
        let bytes = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n").trim().to_owned();
        if !text.is_empty() && !texts.contains(&text) {
            texts.push(text);
        }
    }
    Ok(texts)
}

/// Files with licence texts in a folder, sorted; none where there is no such folder.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name().to_string_lossy().to_lowercase();
            let code = [".rs", ".toml", ".h", ".c"].iter().any(|end| name.ends_with(end));
            let in_licences = folder.file_name().is_some_and(|name| name.eq_ignore_ascii_case("licenses"));
            !code && (in_licences || NAMES.iter().any(|start| name.starts_with(start)))
        })
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests;
