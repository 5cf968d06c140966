//! gVisor's `runsc`, which the sandbox's tests carry runs with: from a later Debian release than this machine may have, since
//! only that one knows the platform `systrap`. It is one static program.
//!
//! It is fetched by apt with the machine's own mirror and Debian's own keys, into folders of its own below `target/tools`, so
//! nothing of the system changes. Its digest is checked before it counts as there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;

use crate::dist::archive::sha256;

/// The release that has it.
const RELEASE: &str = "trixie";
/// The package and its version.
const PACKAGE: &str = "runsc=0.0~20240729.0-4+b7";
/// Of the program in it.
const SHA256: &str = "ce52e04038baa76d6069afae5fc1bee60c153bbf0276f2c3c25506553526f38f";
/// Debian's keys.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Fetches it, if it is missing. Where apt cannot have it, it is left out, and the tests of its tier say so.
///
/// # Errors
/// The mirror cannot be reached, the disk is full, or the program is not the one that was meant.
pub(super) fn install() -> anyhow::Result<()> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/runsc");
    let program = home.join("runsc");
    if is_right(&program) {
        println!("   there  {PACKAGE}");
        return Ok(());
    }
    if !cfg!(target_arch = "x86_64") || !super::on_path("apt-get") || !Path::new(KEYRING).exists() {
        println!(" missing  Debian's keys for x86-64, so {PACKAGE} is left out");
        return Ok(());
    }
    println!("will fetch {PACKAGE} from Debian {RELEASE} below target/tools");
    let Some(mirror) = mirror()? else {
        println!(" missing  a mirror of Debian, so {PACKAGE} is left out");
        return Ok(());
    };
    let apt = Apt::below(&home, &mirror)?;
    apt.run(&["update"])?;
    apt.run(&["download", PACKAGE])?;
    let package = fs::read_dir(&apt.folder)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|end| end == "deb"))
        .context("apt fetched no package")?;
    let unpacked = apt.folder.join("unpacked");
    run(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(&unpacked))?;
    let found = unpacked.join("usr/bin/runsc");
    anyhow::ensure!(is_right(&found), "the runsc of {PACKAGE} does not have the SHA-256 {SHA256}");
    fs::rename(&found, &program).context("cannot put runsc into target/tools")?;
    fs::remove_dir_all(&apt.folder).context("cannot clear away what apt fetched")
}

fn is_right(program: &Path) -> bool {
    fs::read(program).is_ok_and(|bytes| sha256(&bytes) == SHA256)
}

/// Where this machine gets its own Debian from.
fn mirror() -> anyhow::Result<Option<String>> {
    let mut command = Command::new("apt-get");
    command.args(["indextargets", "--format", "$(REPO_URI) $(COMPONENT)", "Created-By: Packages"]);
    let output = command.stderr(Stdio::null()).output().context("cannot start apt-get")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = text.lines().filter_map(|line| line.strip_suffix(" main")).map(|uri| uri.trim_end_matches('/'));
    let mut found = found.filter(|uri| uri.ends_with("/debian"));
    Ok(found.next().map(str::to_owned))
}

/// An apt with folders and sources of its own.
struct Apt {
    folder: PathBuf,
}

impl Apt {
    fn below(home: &Path, mirror: &str) -> anyhow::Result<Self> {
        fs::create_dir_all(home)?;
        let folder = fs::canonicalize(home)?.join("apt");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        for below in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(below))?;
        }
        let source = format!("deb [signed-by={KEYRING}] {mirror} {RELEASE} main\n");
        fs::write(folder.join("sources.list"), source)?;
        Ok(Self { folder })
    }

    fn run(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let of = |setting: &str, name: &str| format!("{setting}={}", self.folder.join(name).display());
        let settings = [
            of("Dir::Etc::sourcelist", "sources.list"),
            "Dir::Etc::sourceparts=-".to_owned(),
            of("Dir::State::lists", "lists"),
            of("Dir::Cache", "cache"),
            // apt's own user may not see this folder.
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
        ];
        let mut command = Command::new("apt-get");
        command.arg("--quiet=2").current_dir(&self.folder);
        for setting in &settings {
            command.args(["-o", setting.as_str()]);
        }
        run(command.args(arguments))
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    anyhow::ensure!(status.success(), "{:?} ended with {status}", command.get_program());
    Ok(())
}
