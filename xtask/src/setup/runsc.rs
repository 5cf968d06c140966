//! gVisor's `runsc`, which the sandbox's tests carry runs with: from a later Debian release than this machine may have, since
//! only that one knows the platform `systrap`. It is one static program.
//!
//! Its digest is checked before it counts as there. Read next: `apt.rs`.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use super::apt::Package;
use crate::dist::archive::sha256;

/// The release that has it.
const RELEASE: &str = "trixie";
/// The package and its version.
const PACKAGE: &str = "runsc=0.0~20240729.0-4+b7";
/// Of the program in it.
const SHA256: &str = "ce52e04038baa76d6069afae5fc1bee60c153bbf0276f2c3c25506553526f38f";

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
    let Some(package) = Package::fetch(&home, RELEASE, PACKAGE)? else { return Ok(()) };
    let found = package.unpacked.join("usr/bin/runsc");
    anyhow::ensure!(is_right(&found), "the runsc of {PACKAGE} does not have the SHA-256 {SHA256}");
    fs::rename(&found, &program).context("cannot put runsc into target/tools")?;
    package.clear_away()
}

fn is_right(program: &Path) -> bool {
    fs::read(program).is_ok_and(|bytes| sha256(&bytes) == SHA256)
}
