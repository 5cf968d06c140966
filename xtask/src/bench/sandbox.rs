//! What a sandbox of each tier costs, without the platform: the sandbox crate's own example measures, this reads what it says.

use std::path::Path;

use anyhow::Context as _;

use super::example::{line, said_by, time};
use super::{Figures, progress};

/// The example, beside the binary that is measured.
const EXAMPLE: &str = "start_latency";
/// The line with the times of sandboxes that were started one after the other.
const TIMES: &str = "create to first output: ";
/// The line with the times of what a sandbox is asked next.
const NEXT: &str = "second command: ";
/// The line with the lives that several sandboxes at a time have per second.
const LIVES: &str = "whole lives, ";
/// The line with the memory of one of many that live at once.
const MEMORY: &str = "host memory each: ";

/// A tier, and the names of its figures: min, median and p99 of the first command, median of the next, lives, memory.
type Tier = (&'static str, [&'static str; 6]);

const TIERS: [Tier; 4] = [
    (
        "container",
        [
            "sandbox_min_ms",
            "sandbox_median_ms",
            "sandbox_p99_ms",
            "sandbox_next_ms",
            "sandbox_per_s",
            "sandbox_memory_mib",
        ],
    ),
    (
        "gvisor",
        ["gvisor_min_ms", "gvisor_median_ms", "gvisor_p99_ms", "gvisor_next_ms", "gvisor_per_s", "gvisor_memory_mib"],
    ),
    (
        "isolate",
        [
            "isolate_min_ms",
            "isolate_median_ms",
            "isolate_p99_ms",
            "isolate_next_ms",
            "isolate_per_s",
            "isolate_memory_mib",
        ],
    ),
    (
        "microvm",
        [
            "microvm_min_ms",
            "microvm_median_ms",
            "microvm_p99_ms",
            "microvm_next_ms",
            "microvm_per_s",
            "microvm_memory_mib",
        ],
    ),
];

/// Adds six figures of each tier; what a host cannot is said in a note.
pub fn tiers(binary: &Path, figures: &mut Figures) {
    for (tier, keys) in TIERS {
        progress(&format!("sandboxes of the tier {tier}"));
        match said_by(binary, EXAMPLE, &[tier]).and_then(|text| read(&text)) {
            Ok(values) => keys.iter().zip(values).for_each(|(key, value)| figures.add(key, value)),
            Err(error) => keys.iter().for_each(|key| figures.absent(key, format!("{error:#}"))),
        }
    }
}

/// In the order of a tier's figures.
fn read(text: &str) -> anyhow::Result<[f64; 6]> {
    let times = line(text, TIMES)?;
    let lives = line(text, LIVES)?.rsplit_once(": ").and_then(|(_, rate)| rate.strip_suffix(" /s")?.parse().ok());
    let memory =
        line(text, MEMORY)?.split_once(" KiB").and_then(|(kib, _)| kib.parse::<f64>().ok()).context("no memory")?;
    Ok([
        time(times, "min ")?,
        time(times, "median ")?,
        time(times, "p99 ")?,
        time(line(text, NEXT)?, "median ")?,
        lives.context("no lives")?,
        memory / 1024.0,
    ])
}

#[cfg(test)]
mod tests;
