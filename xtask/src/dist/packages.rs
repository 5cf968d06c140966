//! What is compiled into the program, as cargo resolves it: the source of the parts list and of the licence texts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;

/// What a package does for the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Its code is in the program.
    Linked,
    /// It only runs while the program is built: macros and build scripts.
    Tool,
}

/// One package.
#[derive(Debug, Clone)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SPDX expression, as its manifest declares it; empty when it does not.
    pub licence: String,
    /// What it is, in its own words.
    pub description: String,
    /// Where its source is looked after.
    pub repository: String,
    /// SHA-256 of the package as the registry delivers it; empty for our own.
    pub checksum: String,
    /// What it does for the program.
    pub role: Role,
    /// Where its source lies on this machine.
    pub folder: PathBuf,
    /// Keys of what it depends on, among the packages of this list.
    pub dependencies: BTreeSet<String>,
}

impl Package {
    /// `name@version`, unique.
    pub fn key(&self) -> String {
        key(&self.name, &self.version)
    }

    /// Whether it is a crate of this repository.
    pub fn is_ours(&self) -> bool {
        self.checksum.is_empty()
    }
}

/// Every package of the program, by key.
#[derive(Debug)]
pub struct Packages {
    /// `name@version` → package.
    pub by_key: BTreeMap<String, Package>,
}

impl Packages {
    /// Asks cargo, without the network: what it built with is there.
    pub fn read(target: &str) -> anyhow::Result<Self> {
        let linked = listed(target, "normal,no-proc-macro")?;
        let all = listed(target, "normal,build")?;
        let metadata: Metadata = serde_json::from_slice(&cargo(&[
            "metadata",
            "--locked",
            "--offline",
            "--format-version",
            "1",
            "--filter-platform",
            target,
        ])?)
        .context("reading cargo metadata")?;
        let lock = std::fs::read_to_string(crate::root::folder().join("Cargo.lock")).context("reading Cargo.lock")?;
        let checksums = checksums(&lock);
        let edges = edges(&metadata, &all);
        let mut by_key = BTreeMap::new();
        for described in metadata.packages {
            let key = key(&described.name, &described.version);
            if !all.contains(&key) {
                continue;
            }
            let role = if linked.contains(&key) { Role::Linked } else { Role::Tool };
            by_key.insert(
                key.clone(),
                Package {
                    checksum: checksums.get(&key).cloned().unwrap_or_default(),
                    dependencies: edges.get(&key).cloned().unwrap_or_default(),
                    role,
                    licence: described.license.unwrap_or_default().replace('/', " OR "),
                    description: first_line(described.description.as_deref().unwrap_or_default()),
                    repository: described.repository.unwrap_or_default(),
                    folder: Path::new(&described.manifest_path).parent().map(Path::to_path_buf).unwrap_or_default(),
                    name: described.name,
                    version: described.version,
                },
            );
        }
        let missing: Vec<&String> = all.iter().filter(|key| !by_key.contains_key(*key)).collect();
        anyhow::ensure!(missing.is_empty(), "cargo tree names packages that cargo metadata does not: {missing:?}");
        Ok(Self { by_key })
    }

    /// How many packages from outside are in the program.
    pub fn linked(&self) -> usize {
        self.count(Role::Linked)
    }

    /// How many packages from outside only help to build it.
    pub fn tools(&self) -> usize {
        self.count(Role::Tool)
    }

    fn count(&self, role: Role) -> usize {
        self.by_key.values().filter(|package| package.role == role && !package.is_ours()).count()
    }
}

fn key(name: &str, version: &str) -> String {
    format!("{name}@{version}")
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

/// `name@version` of everything `livery` depends on by these edges. (`cargo metadata` alone would count in what only tests
/// and chores switch on.)
fn listed(target: &str, edges: &str) -> anyhow::Result<BTreeSet<String>> {
    let output = cargo(&[
        "tree",
        "--locked",
        "--offline",
        "--package",
        "livery",
        "--target",
        target,
        "--edges",
        edges,
        "--prefix",
        "none",
        "--format",
        "{p}",
    ])?;
    Ok(parse_listed(&String::from_utf8(output).context("cargo tree's output")?))
}

/// `name v1.2.3 (more)` → `name@1.2.3`.
fn parse_listed(text: &str) -> BTreeSet<String> {
    let packages = text.lines().filter_map(|line| {
        let (name, rest) = line.split_once(" v")?;
        Some(key(name, rest.split(' ').next()?))
    });
    packages.collect()
}

fn cargo(arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
    let output = crate::root::cargo().args(arguments).output().context("cannot start cargo; is it on the PATH?")?;
    anyhow::ensure!(
        output.status.success(),
        "cargo {}: {}",
        arguments.first().unwrap_or(&""),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}

/// The registry's digests: in `Cargo.lock`, a `[[package]]` has its name, its version and then its checksum.
fn checksums(lock: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for block in lock.split("[[package]]").skip(1) {
        let value = |name: &str| {
            block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \"")?.strip_suffix('"'))
        };
        if let (Some(name), Some(version), Some(checksum)) = (value("name"), value("version"), value("checksum")) {
            found.insert(key(name, version), checksum.to_owned());
        }
    }
    found
}

/// Who depends on whom, among `all`, not counting what only tests use.
fn edges(metadata: &Metadata, all: &BTreeSet<String>) -> BTreeMap<String, BTreeSet<String>> {
    let keys: BTreeMap<&str, String> =
        metadata.packages.iter().map(|package| (package.id.as_str(), key(&package.name, &package.version))).collect();
    let mut edges = BTreeMap::new();
    for node in &metadata.resolve.nodes {
        let Some(from) = keys.get(node.id.as_str()) else { continue };
        let used = node.deps.iter().filter(|dep| dep.dep_kinds.iter().any(|kind| kind.kind.as_deref() != Some("dev")));
        let to = used.filter_map(|dep| keys.get(dep.pkg.as_str())).filter(|key| all.contains(*key)).cloned();
        edges.insert(from.clone(), to.collect());
    }
    edges
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Described>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Described {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    description: Option<String>,
    repository: Option<String>,
    manifest_path: String,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Deserialize)]
struct EdgeKind {
    kind: Option<String>,
}

#[cfg(test)]
mod tests;
