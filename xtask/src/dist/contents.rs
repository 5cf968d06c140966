//! What a release has in it: the program, what an operator installs with it, what a reader reads, what an auditor asks.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::archive::Tree;
use super::binary::{Needs, Spoken};
use super::packages::Packages;
use super::{Facts, licences, sbom, settings};

/// Files of the repository that go in under their own name.
const FILES: &[&str] = &["ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "SECURITY.md"];
/// Folders of the repository and their names in the archive; `dist` holds what is made for installing.
const FOLDERS: &[(&str, &str)] = &[
    ("docs", "docs"),
    ("examples", "examples"),
    ("dist/systemd", "systemd"),
    ("dist/docker", "docker"),
    ("dist/compose", "compose"),
    ("dist/helm", "helm"),
];
/// The install script in the repository.
const INSTALLER: &str = "dist/install.sh";
/// Deepest folder that is walked, so that a loop of links ends.
const DEPTH_MAX: usize = 12;
/// Largest file taken from the repository.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Gathers everything but the digests.
pub fn gather(
    facts: &Facts,
    program: Vec<u8>,
    spoken: &Spoken,
    needs: &Needs,
    packages: &Packages,
    say: &dyn Fn(&str),
) -> anyhow::Result<Tree> {
    let root = crate::root::folder();
    let mut tree = Tree::default();
    for name in FILES {
        tree.data(*name, read(&root.join(name))?);
    }
    for (from, to) in FOLDERS {
        walk(&root.join(from), to, 0, &mut tree)?;
    }
    tree.program(super::INSTALLER, read(&root.join(INSTALLER))?);
    for (name, script) in &spoken.completions {
        tree.data(format!("completions/{name}"), script.clone());
    }
    tree.data("systemd/livery.env", settings::file(&spoken.help));
    let texts = licences::collect(packages, &facts.target)?;
    say(&format!("{} KiB of licence texts", texts.len() / 1024));
    tree.data("THIRD_PARTY_LICENSES", texts);
    licences::toolchain(&compiler_folder()?, &mut tree, say);
    let list = sbom::list(facts, &program, packages, c_library().as_deref())?;
    tree.data("sbom.cdx.json", format!("{}\n", serde_json::to_string_pretty(&list)?));
    tree.data("RELEASE", release_note(facts, needs));
    tree.program("bin/livery", program);
    Ok(tree)
}

/// What this archive is, in lines a person and a script can read.
fn release_note(facts: &Facts, needs: &Needs) -> String {
    let Facts { version, target, commit, compiler, .. } = facts;
    let commit = if commit.is_empty() { "not known" } else { commit };
    format!(
        "version: {version}\ntarget: {target}\ncommit: {commit}\nrustc: {compiler}\nneeds: {needs}\n\
         guest: inside bin/livery, a static program; nothing to install for it\n"
    )
}

/// Where the compiler and what comes with it lie.
fn compiler_folder() -> anyhow::Result<PathBuf> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "sysroot"]).current_dir(crate::root::folder()).output();
    let text = String::from_utf8(output.context("cannot start rustc; is it on the PATH?")?.stdout);
    Ok(PathBuf::from(text.context("rustc's output")?.trim()))
}

/// The version of the C library this machine links with.
fn c_library() -> Option<String> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.trim().strip_prefix("glibc ").map(str::to_owned)
}

/// Every plain file below a folder; names that begin with a dot are somebody's own.
fn walk(folder: &Path, name: &str, depth: usize, tree: &mut Tree) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    anyhow::ensure!(depth <= DEPTH_MAX, "{name} lies deeper than {DEPTH_MAX} folders");
    for entry in std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry?;
        let Ok(file) = entry.file_name().into_string() else { continue };
        let kind = entry.file_type()?;
        let name = format!("{name}/{file}");
        if kind.is_dir() && !file.starts_with('.') {
            walk(&entry.path(), &name, depth + 1, tree)?;
        } else if kind.is_file() && (!file.starts_with('.') || file == ".helmignore") {
            let bytes = read(&entry.path())?;
            if entry.metadata()?.permissions().mode() & 0o100 == 0 {
                tree.data(name, bytes);
            } else {
                tree.program(name, bytes);
            }
        }
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let size = std::fs::metadata(path).with_context(|| format!("reading {}", path.display()))?.len();
    anyhow::ensure!(size <= FILE_BYTES_MAX, "{} has {size} bytes: too large for a release", path.display());
    std::fs::read(path).with_context(|| format!("reading {}", path.display()))
}
