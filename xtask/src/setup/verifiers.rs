//! The public Standard Webhooks libraries, which a test of the whole binary checks real deliveries with.
//!
//! They lie below `target/tools`, so nothing of the system changes and `cargo clean` takes them along.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

/// The library on PyPI.
const PYTHON: &str = "standardwebhooks==1.1.0";
/// The library on npm.
const JAVASCRIPT: &str = "standardwebhooks@1.1.1";

/// Installs what is missing. Without Python or Node that one is left out, and its test says so.
///
/// # Errors
/// A registry cannot be reached, the disk is full.
pub(super) fn install() -> anyhow::Result<()> {
    let home = home();
    if super::on_path("python3") {
        python("python3", &home, &[PYTHON])?;
    } else {
        println!(" missing  python3, so {PYTHON} is left out");
    }
    if super::on_path("npm") {
        javascript(&home)?;
    } else {
        println!(" missing  npm, so {JAVASCRIPT} is left out");
    }
    Ok(())
}

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/standardwebhooks")
}

/// Packages of PyPI in an environment of their own, in `home`.
pub(super) fn python(interpreter: &str, home: &Path, packages: &[&str]) -> anyhow::Result<()> {
    let (venv, list) = (home.join("venv"), packages.join(" "));
    if std::fs::read_to_string(venv.join("installed")).is_ok_and(|noted| noted == list) {
        println!("   there  {list}");
        return Ok(());
    }
    println!("will install {list} below target/tools");
    run(Command::new(interpreter).args(["-m", "venv"]).arg(&venv))?;
    let pip = ["install", "--quiet", "--disable-pip-version-check"];
    run(Command::new(venv.join("bin/pip")).args(pip).args(packages))?;
    std::fs::write(venv.join("installed"), list).context("cannot note the installation")
}

fn javascript(home: &Path) -> anyhow::Result<()> {
    if home.join("node_modules/standardwebhooks/package.json").exists() {
        println!("   there  {JAVASCRIPT}");
        return Ok(());
    }
    println!("will install {JAVASCRIPT} below target/tools");
    std::fs::create_dir_all(home).context("cannot create target/tools")?;
    run(Command::new("npm")
        .args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
        .arg(home)
        .arg(JAVASCRIPT))
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    anyhow::ensure!(status.success(), "{:?} ended with {status}", command.get_program());
    Ok(())
}
