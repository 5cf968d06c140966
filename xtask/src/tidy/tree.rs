//! The repository as the rules see it: crates with their edges, Rust files with their tokens, documents.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

/// Folders that hold nothing of ours.
const SKIPPED_FOLDERS: &[&str] = &["target", ".git", "node_modules"];
/// Deepest folder that is walked, so that a loop of links ends.
const DEPTH_MAX: usize = 12;

/// Everything the rules read.
#[derive(Debug, Default)]
pub struct Tree {
    /// Crates of the workspace.
    pub crates: Vec<Crate>,
    /// Files by path relative to the root, `/` between folders: Rust, Markdown and manifests.
    pub files: BTreeMap<String, String>,
}

/// One crate of the workspace.
#[derive(Debug)]
pub struct Crate {
    /// Its folder's name, which is the name architecture speaks of (`core`, `llm`, …, `xtask`).
    pub name: String,
    /// `Cargo.toml` relative to the root.
    pub manifest: String,
    /// What it depends on.
    pub dependencies: Vec<Dependency>,
}

/// One edge as the manifest declares it.
#[derive(Debug, Clone)]
pub struct Dependency {
    /// Package name.
    pub package: String,
    /// Whether only tests, examples and benches use it.
    pub dev: bool,
}

impl Tree {
    /// Reads the repository at `root`; the edges are cargo's own reading of every manifest.
    pub fn read(root: &Path) -> anyhow::Result<Self> {
        let mut tree = Self { crates: crates(root)?, files: BTreeMap::new() };
        walk(root, "", 0, &mut tree.files)?;
        Ok(tree)
    }

    /// Rust files and their text.
    pub fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().filter(|(path, _)| path.ends_with(".rs")).map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// Documents and their text.
    pub fn documents(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().filter(|(path, _)| path.ends_with(".md")).map(|(path, text)| (path.as_str(), text.as_str()))
    }
}

/// The crate a path lies in: `crates/NAME/…` or a folder at the root.
pub fn crate_of(path: &str) -> &str {
    let inside = path.strip_prefix("crates/").unwrap_or(path);
    inside.split('/').next().unwrap_or(inside)
}

/// Whether a path is test code: integration tests, sibling `tests.rs` files, benches, examples.
pub fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || ["/tests/", "/benches/", "/examples/"].iter().any(|folder| path.contains(folder))
}

fn walk(root: &Path, relative: &str, depth: usize, files: &mut BTreeMap<String, String>) -> anyhow::Result<()> {
    anyhow::ensure!(depth <= DEPTH_MAX, "{relative} lies deeper than {DEPTH_MAX} folders");
    let folder = root.join(relative);
    for entry in std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = if relative.is_empty() { name.clone() } else { format!("{relative}/{name}") };
        let kind = entry.file_type()?;
        if kind.is_dir() && !SKIPPED_FOLDERS.contains(&name.as_str()) {
            walk(root, &path, depth + 1, files)?;
        } else if kind.is_file() && (name.ends_with(".rs") || name.ends_with(".md") || name.ends_with(".toml")) {
            let text = std::fs::read_to_string(entry.path()).with_context(|| format!("reading {path}"))?;
            files.insert(path, text);
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    manifest_path: String,
    dependencies: Vec<Declared>,
}

#[derive(Deserialize)]
struct Declared {
    name: String,
    kind: Option<String>,
}

fn crates(root: &Path) -> anyhow::Result<Vec<Crate>> {
    let output = crate::root::cargo()
        .current_dir(root)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .output()
        .context("cannot start cargo metadata")?;
    anyhow::ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Metadata = serde_json::from_slice(&output.stdout).context("reading cargo metadata")?;
    let root = root.canonicalize().context("the root folder")?;
    metadata.packages.into_iter().map(|package| read_crate(package, &root)).collect()
}

fn read_crate(package: Package, root: &Path) -> anyhow::Result<Crate> {
    let manifest = Path::new(&package.manifest_path)
        .strip_prefix(root)
        .with_context(|| format!("{} lies outside the repository", package.manifest_path))?
        .to_string_lossy()
        .into_owned();
    let dependencies = package
        .dependencies
        .into_iter()
        .map(|declared| Dependency { package: declared.name, dev: declared.kind.as_deref() == Some("dev") })
        .collect();
    Ok(Crate { name: crate_of(&manifest).to_owned(), manifest, dependencies })
}
