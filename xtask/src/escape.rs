//! `cargo xtask escape`: the attempts to get out of a sandbox, alone and counted.

/// Runs the sandbox's integration tests and ends with `N passed, N failed, N skipped`.
pub fn run() -> anyhow::Result<()> {
    crate::setup::before_tests()?;
    crate::outcome::run(&["--package", "livery-sandbox", "--test", "*"])
}
