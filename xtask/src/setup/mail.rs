//! A mail server of other people's making, which a test of the broker sends a message through.
//!
//! It lies below `target/tools`.

use std::path::Path;

use super::verifiers;

/// The server on PyPI.
const PACKAGES: &[&str] = &["aiosmtpd==1.4.6"];

/// Installs what is missing. Without Python it is left out, and its test says so.
///
/// # Errors
/// The registry cannot be reached, the disk is full.
pub(super) fn install() -> anyhow::Result<()> {
    if !super::on_path("python3") {
        println!(" missing  python3, so {} is left out", PACKAGES.join(" and "));
        return Ok(());
    }
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/smtp");
    verifiers::python("python3", &home, PACKAGES)
}
