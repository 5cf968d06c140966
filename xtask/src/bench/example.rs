//! Examples of the crates that measure something alone: run beside the measured binary, and read.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

/// What an example says on its standard output.
///
/// # Errors
/// It is not there, or it failed: with the last line of its words.
pub(super) fn said_by(binary: &Path, name: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let example = binary.with_file_name("examples").join(name);
    let output = Command::new(&example)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot start {}", example.display()))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{}", errors.lines().last().unwrap_or("the example failed"));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The rest of the line that begins like this.
pub(super) fn line<'a>(text: &'a str, start: &str) -> anyhow::Result<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(start)).context("the example said something else")
}

/// The time behind `name` in `p50 3.2ms, p99 980µs`, in milliseconds.
pub(super) fn time(times: &str, name: &str) -> anyhow::Result<f64> {
    let part = times.split(", ").find_map(|part| part.strip_prefix(name));
    part.and_then(|part| milliseconds(part.trim())).with_context(|| format!("no {name} in {times:?}"))
}

/// `3.2ms`, `980µs`, `1.5s` → milliseconds.
pub(super) fn milliseconds(text: &str) -> Option<f64> {
    let units = [("ms", 1.0), ("µs", 1e-3), ("ns", 1e-6), ("s", 1e3)];
    units.iter().find_map(|(unit, factor)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor))
}
