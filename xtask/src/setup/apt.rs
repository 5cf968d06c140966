//! Packages of another Debian release than this machine may have, fetched and unpacked without being installed.
//!
//! apt fetches them with the machine's own mirror and Debian's own keys, into folders of its own below `target/tools`, so nothing
//! of the system changes. Read next: `runsc.rs`, `machines.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;

/// Debian's keys.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A package that was fetched.
pub(super) struct Package {
    folder: PathBuf,
    /// The files in it.
    pub(super) unpacked: PathBuf,
}

impl Package {
    /// Fetches `package` (with its version) of `release` below `home`. `None`, which is said: apt cannot have it here.
    pub(super) fn fetch(home: &Path, release: &str, package: &str) -> anyhow::Result<Option<Self>> {
        if !cfg!(target_arch = "x86_64") || !super::on_path("apt-get") || !Path::new(KEYRING).exists() {
            println!(" missing  Debian's keys for x86-64, so {package} is left out");
            return Ok(None);
        }
        println!("will fetch {package} from Debian {release} below target/tools");
        let Some(mirror) = mirror()? else {
            println!(" missing  a mirror of Debian, so {package} is left out");
            return Ok(None);
        };
        let apt = Apt::below(home, &mirror, release)?;
        apt.run(&["update"])?;
        apt.run(&["download", package])?;
        let file = fs::read_dir(&apt.folder)?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|end| end == "deb"))
            .context("apt fetched no package")?;
        let unpacked = apt.folder.join("unpacked");
        run(Command::new("dpkg-deb").arg("--extract").arg(&file).arg(&unpacked))?;
        Ok(Some(Self { folder: apt.folder, unpacked }))
    }

    /// Removes everything but what was moved away.
    pub(super) fn clear_away(self) -> anyhow::Result<()> {
        fs::remove_dir_all(&self.folder).context("cannot clear away what apt fetched")
    }
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
    fn below(home: &Path, mirror: &str, release: &str) -> anyhow::Result<Self> {
        fs::create_dir_all(home)?;
        let folder = fs::canonicalize(home)?.join("apt");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        for below in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(below))?;
        }
        let source = format!("deb [signed-by={KEYRING}] {mirror} {release} main\n");
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

pub(super) fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    anyhow::ensure!(status.success(), "{:?} ended with {status}", command.get_program());
    Ok(())
}
