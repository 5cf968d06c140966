//! `cargo xtask test`: everything the README promises under "the tests pass".

use std::io::IsTerminal as _;

use anyhow::Context as _;

/// Sets up what is missing, builds, runs the tests, and prints what was passed, failed and skipped.
pub fn run(cargo_arguments: &[String]) -> anyhow::Result<()> {
    crate::setup::before_tests()?;
    let selection: Vec<&str> = if cargo_arguments.is_empty() {
        vec!["--workspace"]
    } else {
        cargo_arguments.iter().map(String::as_str).collect()
    };
    if !std::io::stdout().is_terminal() {
        build_quietly(&selection)?;
    }
    crate::outcome::run(&selection)
}

/// In a pipe nobody watches progress: hundreds of `Compiling` lines would only hide the results.
fn build_quietly(selection: &[&str]) -> anyhow::Result<()> {
    println!("building the tests (quietly: this is no terminal) …");
    let until_dashes = selection.iter().take_while(|argument| **argument != "--");
    let status = crate::root::cargo()
        .args(["test", "--no-run", "--quiet"])
        .args(until_dashes)
        .status()
        .context("cannot start cargo; is it on the PATH?")?;
    anyhow::ensure!(status.success(), "the tests do not build");
    Ok(())
}
