//! Cold starts of a sandbox, without the platform: the sandbox crate's own example measures, this reads what it says.

use std::path::Path;

use anyhow::Context as _;

use super::example::{line, said_by, time};
use super::{Figures, progress};

/// The example, beside the binary that is measured.
const EXAMPLE: &str = "start_latency";
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
    match said_by(binary, EXAMPLE).and_then(|text| read(&text)) {
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

/// The first line of times, and the line of memory.
fn read(text: &str) -> anyhow::Result<Said> {
    let times = line(text, TIMES)?;
    let memory =
        line(text, MEMORY)?.split_once(" KiB").and_then(|(kib, _)| kib.parse::<f64>().ok()).context("no memory")?;
    Ok(Said {
        min_ms: time(times, "min ")?,
        median_ms: time(times, "median ")?,
        p99_ms: time(times, "p99 ")?,
        memory_mib: memory / 1024.0,
    })
}

#[cfg(test)]
mod tests;
