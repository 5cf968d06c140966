//! `cargo xtask dist`: one archive with everything a machine needs to run Livery, and what a careful operator asks about it.
//!
//! The same program and the same commit give the same bytes: entries are sorted, times are the commit's, owners are root.
//! Refuses to sign or to publish; that is for whoever has the key.
//!
//! Read next: [`contents`] for what goes in, [`archive`] for how it is packed.

pub mod archive;
pub mod binary;
pub mod contents;
pub mod licences;
pub mod packages;
pub mod sbom;
pub mod settings;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use self::archive::Tree;

/// The install script: in the archive, and beside it so that it can be fetched first.
const INSTALLER: &str = "install.sh";
/// Digests of what a release publishes; the install script looks for it beside the archive.
pub const SUMS: &str = "SHA256SUMS";

/// What to pack and where to put it.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Where the archive goes (default: target/dist).
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Build for this target (default: this machine's).
    #[arg(long, value_name = "TRIPLE")]
    pub target: Option<String>,
    /// Pack this program as it is, instead of building and stripping one.
    #[arg(long, value_name = "FILE")]
    pub binary: Option<PathBuf>,
}

/// A finished release.
#[derive(Debug)]
pub struct Release {
    /// The archive.
    pub archive: PathBuf,
    /// Its SHA-256, in hex.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
}

/// What is true of one release, whatever goes into it.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Version of the program, as it says itself.
    pub version: String,
    /// What it was compiled for.
    pub target: String,
    /// Commit, with `-dirty` when the tree had changes; empty outside a repository.
    pub commit: String,
    /// The moment all times in the archive are set to, in seconds since 1970.
    pub epoch_s: u64,
    /// The compiler, as `rustc --version` says.
    pub compiler: String,
}

/// Builds, packs and says what came out.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let release = make(options, &|line| println!("{line}"))?;
    println!("{}", release.archive.display());
    println!("sha256 {} ({:.1} MiB)", release.sha256, mib(release.bytes));
    Ok(())
}

/// Builds and packs; `say` hears what happens.
pub fn make(options: &Options, say: &dyn Fn(&str)) -> anyhow::Result<Release> {
    let compiler = compiler()?;
    let host = fact(&compiler, "host")?;
    let target = options.target.clone().unwrap_or_else(|| host.clone());
    let program = match &options.binary {
        Some(path) => std::fs::read(path).with_context(|| format!("reading {}", path.display()))?,
        None => {
            say(&format!("building livery for {target} (release; this takes minutes) …"));
            binary::build(options.target.as_deref(), say)?
        }
    };
    let needs = binary::needs(&program)?;
    say(&format!("the program is {:.1} MiB and needs {needs}", mib(program.len() as u64)));
    let spoken = binary::Spoken::of(&program, say)?;
    let facts = Facts {
        // One that does not run here has the version of its source.
        version: spoken.version.clone().unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned()),
        target,
        commit: commit(),
        epoch_s: epoch_s()?,
        compiler: fact(&compiler, "release")?,
    };
    let packages = packages::Packages::read(&facts.target)?;
    say(&format!("{} packages are compiled in, {} more help to build", packages.linked(), packages.tools()));
    let mut tree = contents::gather(&facts, program, &spoken, &needs, &packages, say)?;
    tree.seal();
    let folder = format!("livery-{}-{}", facts.version, facts.target);
    let bytes = archive::pack(&folder, &tree, facts.epoch_s)?;
    publish(&out_folder(options), &folder, &bytes, &tree)
}

/// Writes the archive, the install script and the digests of both; each appears whole or not at all.
fn publish(out: &Path, folder: &str, archive: &[u8], tree: &Tree) -> anyhow::Result<Release> {
    std::fs::create_dir_all(out).with_context(|| format!("creating {}", out.display()))?;
    let name = format!("{folder}.tar.gz");
    let installer = &tree.get(INSTALLER).context("the install script is not in the archive")?.bytes;
    let sha256 = archive::sha256(archive);
    let sums = format!("{}  {INSTALLER}\n{sha256}  {name}\n", archive::sha256(installer));
    for (file, bytes) in [(name.as_str(), archive), (INSTALLER, installer), (SUMS, sums.as_bytes())] {
        let aside = out.join(format!(".{file}.part"));
        std::fs::write(&aside, bytes).with_context(|| format!("writing {}", aside.display()))?;
        std::fs::rename(&aside, out.join(file)).with_context(|| format!("renaming {}", aside.display()))?;
    }
    Ok(Release { archive: out.join(name), sha256, bytes: archive.len() as u64 })
}

fn out_folder(options: &Options) -> PathBuf {
    options.out.clone().unwrap_or_else(|| crate::root::folder().join("target/dist"))
}

/// `rustc -vV` of the compiler that cargo uses.
fn compiler() -> anyhow::Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").current_dir(crate::root::folder()).output();
    let output = output.context("cannot start rustc; is it on the PATH?")?;
    anyhow::ensure!(output.status.success(), "rustc -vV ended with {}", output.status);
    String::from_utf8(output.stdout).context("rustc's output")
}

/// `name: value` of a list of lines.
fn fact(lines: &str, name: &str) -> anyhow::Result<String> {
    let mut values = lines.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    values.next().map(str::to_owned).with_context(|| format!("rustc -vV does not say `{name}`"))
}

/// The time of the archive: `SOURCE_DATE_EPOCH` where it is set, else the commit's.
fn epoch_s() -> anyhow::Result<u64> {
    if let Ok(text) = std::env::var("SOURCE_DATE_EPOCH") {
        return text.parse().with_context(|| format!("SOURCE_DATE_EPOCH={text} is no number of seconds"));
    }
    let committed = git(&["log", "-1", "--format=%ct"]).and_then(|text| text.parse().ok());
    committed.context("no commit to take the time from: set SOURCE_DATE_EPOCH to seconds since 1970")
}

fn commit() -> String {
    let Some(commit) = git(&["rev-parse", "HEAD"]) else { return String::new() };
    let clean = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changes| changes.is_empty());
    if clean { commit } else { format!("{commit}-dirty") }
}

/// What git answers, when there is a git and a repository.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).current_dir(crate::root::folder()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

#[cfg(test)]
mod tests;
