//! deno, which the sandbox's tests run programs with in the tier isolate: the program out of a package of npm, checked by its digest.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use crate::dist::archive::sha256;

/// The package and its version.
const PACKAGE: &str = "@deno/linux-x64-glibc@2.9.6";
/// Of the program in it.
const SHA256: &str = "bceb5b6a6239b0b010418406d8c77a508f67cf4337d94288f1c19fe71304aab0";

/// Fetches it, if it is missing. Where there is no npm, it is left out, and the tests of its tier say so.
///
/// # Errors
/// The registry cannot be reached, the disk is full, or the program is not the one that was meant.
pub(super) fn install() -> anyhow::Result<()> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/deno");
    let program = home.join("deno");
    if is_right(&program) {
        println!("   there  {PACKAGE}");
        return Ok(());
    }
    if !cfg!(target_arch = "x86_64") || !super::on_path("npm") {
        println!(" missing  npm on x86-64, so {PACKAGE} is left out");
        return Ok(());
    }
    println!("will fetch {PACKAGE} below target/tools");
    let unpacked = home.join("npm");
    fs::create_dir_all(&unpacked).context("cannot create target/tools")?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]);
    let status = npm.arg(&unpacked).arg(PACKAGE).status().context("cannot start npm")?;
    anyhow::ensure!(status.success(), "npm ended with {status}");
    let found = unpacked.join("node_modules/@deno/linux-x64-glibc/deno");
    anyhow::ensure!(is_right(&found), "the deno of {PACKAGE} does not have the SHA-256 {SHA256}");
    fs::rename(&found, &program).context("cannot put deno into target/tools")?;
    fs::remove_dir_all(&unpacked).context("cannot clear away what npm fetched")
}

fn is_right(program: &Path) -> bool {
    fs::read(program).is_ok_and(|bytes| sha256(&bytes) == SHA256)
}
