//! `cargo xtask lint`: formatting, clippy, the house rules and, where it is installed, cargo-deny. All are run, then judged.

use anyhow::Context as _;

/// Runs every check and fails when one did.
pub fn run() -> anyhow::Result<()> {
    let mut failed = Vec::new();
    let mut check = |name: &'static str, done: anyhow::Result<()>| {
        if let Err(error) = done {
            println!("{name}: {error:#}");
            failed.push(name);
        }
    };
    check("fmt", cargo(&["fmt", "--all", "--check"]));
    check("clippy", cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]));
    check("tidy", crate::tidy::run());
    if crate::setup::on_path("cargo-deny") {
        check("deny", cargo(&["deny", "check"]));
    } else {
        println!("deny: not run, cargo-deny is not installed (cargo install cargo-deny); deny.toml was not checked");
    }
    anyhow::ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    println!("lint: nothing to complain about");
    Ok(())
}

fn cargo(arguments: &[&str]) -> anyhow::Result<()> {
    let status = crate::root::cargo().args(arguments).status().context("cannot start cargo; is it on the PATH?")?;
    anyhow::ensure!(status.success(), "cargo {} ended with {status}", arguments.join(" "));
    Ok(())
}
