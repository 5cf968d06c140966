//! The program itself: built, stripped, asked what it needs of a machine and what it says of itself.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::Context as _;

/// The shells that completions are made for, and the name each looks for.
const SHELLS: &[(&str, &str)] = &[("bash", "livery"), ("zsh", "_livery"), ("fish", "livery.fish")];
/// How an ELF file begins.
const ELF: &[u8] = b"\x7fELF";

/// Builds the release for a target (`None`: this machine) and answers the stripped program.
pub fn build(target: Option<&str>, say: &dyn Fn(&str)) -> anyhow::Result<Vec<u8>> {
    let mut cargo = crate::root::cargo();
    cargo.args(["build", "--release", "--locked", "--package", "livery", "--bin", "livery"]);
    let mut built = target_folder()?;
    if let Some(target) = target {
        cargo.args(["--target", target]);
        built.push(target);
    }
    let status = cargo.status().context("cannot start cargo; is it on the PATH?")?;
    anyhow::ensure!(status.success(), "the release did not build ({status})");
    let built = built.join("release/livery");
    let aside = Scratch::copy_of(&std::fs::read(&built).with_context(|| format!("reading {}", built.display()))?)?;
    match Command::new("strip").args(["--strip-all", "--preserve-dates"]).arg(&aside.0).output() {
        Ok(Output { status, .. }) if status.success() => {}
        Ok(Output { stderr, .. }) => {
            say(&format!("not stripped, it is only larger: {}", String::from_utf8_lossy(&stderr).trim()));
        }
        Err(error) => say(&format!("not stripped, it is only larger: strip: {error}")),
    }
    std::fs::read(&aside.0).context("reading the stripped program")
}

fn target_folder() -> anyhow::Result<PathBuf> {
    let output = crate::root::cargo()
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .output()
        .context("cannot start cargo metadata")?;
    anyhow::ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).context("reading cargo metadata")?;
    let folder = metadata["target_directory"].as_str().context("cargo metadata names no target folder")?;
    Ok(PathBuf::from(folder))
}

/// What a program needs of the system it runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Needs {
    /// Nothing but the kernel.
    Static,
    /// Shared libraries, and the newest version of the GNU C library any of its symbols asks for.
    Shared {
        /// Names such as `libc.so.6`, sorted.
        libraries: BTreeSet<String>,
        /// Such as `(2, 34)`; `None` when it asks for no GNU C library.
        glibc: Option<(u32, u32)>,
    },
    /// It is no ELF file, or the tool that looks is not installed.
    Unknown(&'static str),
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Static => write!(f, "nothing but the kernel (static)"),
            Self::Unknown(why) => write!(f, "what nobody looked at: {why}"),
            Self::Shared { libraries, glibc } => {
                if let Some((major, minor)) = glibc {
                    write!(f, "the GNU C library {major}.{minor} or newer, ")?;
                }
                let names: Vec<&str> = libraries.iter().map(String::as_str).collect();
                write!(f, "and these libraries: {}", names.join(", "))
            }
        }
    }
}

/// Reads what a program needs with binutils' `objdump`.
pub fn needs(program: &[u8]) -> anyhow::Result<Needs> {
    if !program.starts_with(ELF) {
        return Ok(Needs::Unknown("it is no ELF file"));
    }
    let aside = Scratch::copy_of(program)?;
    let Ok(output) = Command::new("objdump").arg("-p").arg(&aside.0).output() else {
        return Ok(Needs::Unknown("objdump is not installed"));
    };
    if !output.status.success() {
        return Ok(Needs::Unknown("objdump does not know this machine's kind"));
    }
    Ok(parse_needs(&String::from_utf8_lossy(&output.stdout)))
}

/// `  NEEDED  libc.so.6` and, below "Version References", `    0x09691972 0x00 08 GLIBC_2.34`.
fn parse_needs(dump: &str) -> Needs {
    let words: Vec<Vec<&str>> = dump.lines().map(|line| line.split_whitespace().collect()).collect();
    let libraries: BTreeSet<String> = words
        .iter()
        .filter(|line| line.first() == Some(&"NEEDED"))
        .filter_map(|line| line.get(1))
        .map(|name| (*name).to_owned())
        .collect();
    if libraries.is_empty() {
        return Needs::Static;
    }
    let versions = words.iter().filter_map(|line| line.last()?.strip_prefix("GLIBC_")).filter_map(parse_version);
    Needs::Shared { libraries, glibc: versions.max() }
}

/// `2.34` and `2.2.5`; the third number never decides.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// What a program says when it is asked; nothing when it was built for another machine.
#[derive(Debug, Default)]
pub struct Spoken {
    /// `0.1.0`
    pub version: Option<String>,
    /// File name and script of each shell's completions.
    pub completions: Vec<(&'static str, Vec<u8>)>,
    /// The help of `livery up`.
    pub help: String,
}

impl Spoken {
    /// Asks a program. One that does not start here is not asked, and that is said.
    pub fn of(program: &[u8], say: &dyn Fn(&str)) -> anyhow::Result<Self> {
        let aside = Scratch::copy_of(program)?;
        // Without this machine's settings, which the help would show.
        let ask = |words: &[&str]| Command::new(&aside.0).args(words).env_clear().output();
        let Ok(answer) = ask(&["--version"]) else {
            say("the program does not start on this machine: the archive gets no completions and no list of settings");
            return Ok(Self::default());
        };
        let version = version_in(&answer)?;
        let mut completions = Vec::new();
        for (shell, file) in SHELLS {
            let answer = ask(&["completions", shell])?;
            anyhow::ensure!(answer.status.success(), "`livery completions {shell}` ended with {}", answer.status);
            completions.push((*file, answer.stdout));
        }
        let help = ask(&["up", "--help"])?;
        anyhow::ensure!(help.status.success(), "`livery up --help` ended with {}", help.status);
        let help = String::from_utf8(help.stdout).context("the help of `livery up`")?;
        Ok(Self { version: Some(version), completions, help })
    }
}

/// `livery 0.1.0` → `0.1.0`.
fn version_in(answer: &Output) -> anyhow::Result<String> {
    let text = String::from_utf8_lossy(&answer.stdout);
    let version = text.trim().strip_prefix("livery ").filter(|_| answer.status.success());
    let version = version.with_context(|| format!("`livery --version` answered {text:?}"))?;
    let plain = version.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+'));
    anyhow::ensure!(plain && !version.is_empty(), "{version:?} is no version");
    Ok(version.to_owned())
}

/// A program in a file of its own, removed when dropped: tools read files, and the original is not theirs to change.
struct Scratch(PathBuf);

impl Scratch {
    fn copy_of(program: &[u8]) -> anyhow::Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/xtask");
        std::fs::create_dir_all(&folder)?;
        let path = folder.join(format!("livery-{}-{count}", std::process::id()));
        std::fs::write(&path, program).with_context(|| format!("writing {}", path.display()))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests;
