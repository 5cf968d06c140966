//! Cold starts of a sandbox, without the platform: the sandbox crate's own example measures, this reads what it says.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use super::{Figures, progress};

/// The example, beside the binary that is measured.
const EXAMPLE: &str = "examples/start_latency";
/// The line with the times of sandboxes that were started one after the other.
const TIMES: &str = "create to first output: ";
/// The line with the memory of one of many that live at once.
const MEMORY: &str = "host memory each: ";

/// What the example said.
#[derive(Debug, PartialEq)]
struct Said {
    min_ms: f64,
    median_ms: f64,
    p99_ms: f64,
    memory_mib: f64,
}

/// Adds min, median, p99 and memory; a host that cannot is said in a note.
pub fn cold_starts(binary: &Path, figures: &mut Figures) {
    progress("cold starts of a sandbox");
    match measure(&binary.with_file_name(EXAMPLE)) {
        Ok(said) => {
            figures.add("sandbox_min_ms", said.min_ms);
            figures.add("sandbox_median_ms", said.median_ms);
            figures.add("sandbox_p99_ms", said.p99_ms);
            figures.add("sandbox_memory_mib", said.memory_mib);
        }
        Err(error) => {
            for key in ["sandbox_min_ms", "sandbox_median_ms", "sandbox_p99_ms", "sandbox_memory_mib"] {
                figures.absent(key, format!("{error:#}"));
            }
        }
    }
}

fn measure(example: &Path) -> anyhow::Result<Said> {
    let output = Command::new(example).output().with_context(|| format!("cannot start {}", example.display()))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{}", errors.lines().last().unwrap_or("the example failed"));
    read(&String::from_utf8_lossy(&output.stdout))
}

/// The first line of times, and the line of memory.
fn read(text: &str) -> anyhow::Result<Said> {
    let line =
        |start: &str| text.lines().find_map(|line| line.strip_prefix(start)).context("the example said something else");
    let times = line(TIMES)?;
    let time = |name: &str| {
        let part = times.split(", ").find_map(|part| part.strip_prefix(name));
        part.and_then(|part| milliseconds(part.trim())).with_context(|| format!("no {name} in {times:?}"))
    };
    let memory = line(MEMORY)?.split_once(" KiB").and_then(|(kib, _)| kib.parse::<f64>().ok()).context("no memory")?;
    Ok(Said { min_ms: time("min ")?, median_ms: time("median ")?, p99_ms: time("p99 ")?, memory_mib: memory / 1024.0 })
}

/// `3.2ms`, `980µs`, `1.5s` → milliseconds.
pub(super) fn milliseconds(text: &str) -> Option<f64> {
    let units = [("ms", 1.0), ("µs", 1e-3), ("ns", 1e-6), ("s", 1e3)];
    units.iter().find_map(|(unit, factor)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor))
}

#[cfg(test)]
mod tests;
