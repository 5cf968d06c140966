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
pub fn install() -> anyhow::Result<()> {
    let home = home();
    if super::on_path("python3") {
        python(&home)?;
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

fn python(home: &Path) -> anyhow::Result<()> {
    let venv = home.join("venv");
    if venv.join("installed").exists() {
        println!("   there  {PYTHON}");
        return Ok(());
    }
    println!("will install {PYTHON} below target/tools");
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    run(Command::new(venv.join("bin/pip")).args(["install", "--quiet", "--disable-pip-version-check", PYTHON]))?;
    std::fs::write(venv.join("installed"), PYTHON).context("cannot note the installation")
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
