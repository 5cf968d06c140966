//! `cargo xtask chaos`: builds the binaries that are killed, and hands over to the program that kills them.

use std::path::PathBuf;

use anyhow::Context as _;

/// Builds and runs `livery-chaos`, with these arguments passed on to it.
///
/// # Errors
/// A build fails, or the suite does; it has printed why.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    if !crate::setup::missing().is_empty() {
        crate::setup::run()?;
    }
    crate::root::complain("building …");
    build(&["--package", "livery", "--package", "livery-chaos"])?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| crate::root::folder().join("target"), PathBuf::from);
    let mut command = std::process::Command::new(target.join("debug/livery-chaos"));
    command.current_dir(crate::root::folder()).arg("--binary").arg(target.join("debug/livery"));
    let release = target.join("release/livery");
    if release.is_file() {
        // Of an old one nothing would be learnt.
        build(&["--package", "livery", "--package", "livery-chaos", "--release"])?;
        command.arg("--release-binary").arg(release);
    }
    let status = command.args(arguments).status().context("cannot start livery-chaos")?;
    anyhow::ensure!(status.success(), "something was lost, doubled, stuck or left behind; see above");
    Ok(())
}

fn build(what: &[&str]) -> anyhow::Result<()> {
    let status = crate::root::cargo().args(["build", "--quiet"]).args(what).status().context("cannot start cargo")?;
    anyhow::ensure!(status.success(), "the build failed");
    Ok(())
}
