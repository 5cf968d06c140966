//! What a sandbox of each tier costs, without the platform: the sandbox crate's own example measures, this reads what it says.

use std::path::Path;

use anyhow::Context as _;

use super::example::{line, milliseconds, said_by, time};
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

/// The line with the time of many that were asked for at once.
const AT_ONCE: &str = "asked for at once, ";
/// The line with the times of sandboxes that waited for whoever comes.
const WARM: &str = "create to first output of one that waited: ";

/// Where a figure is in what the example says.
type Read = fn(&str) -> anyhow::Result<f64>;

/// What is read of each tier.
const READ: [Read; 7] = [
    |text| time(line(text, TIMES)?, "min "),
    |text| time(line(text, TIMES)?, "median "),
    |text| time(line(text, TIMES)?, "p99 "),
    |text| time(line(text, NEXT)?, "median "),
    lives,
    memory,
    at_once,
];
/// And of those that wait, where they do.
const READ_WARM: [Read; 3] = [
    |text| time(line(text, WARM)?, "min "),
    |text| time(line(text, WARM)?, "median "),
    |text| time(line(text, WARM)?, "p99 "),
];

/// A tier and the names of its figures, in the order of what is read.
struct Tier {
    name: &'static str,
    keys: [&'static str; 7],
    warm: Option<[&'static str; 3]>,
}

const TIERS: [Tier; 4] = [
    Tier {
        name: "container",
        keys: [
            "sandbox_min_ms",
            "sandbox_median_ms",
            "sandbox_p99_ms",
            "sandbox_next_ms",
            "sandbox_per_s",
            "sandbox_memory_mib",
            "sandbox_at_once_ms",
        ],
        warm: None,
    },
    Tier {
        name: "gvisor",
        keys: [
            "gvisor_min_ms",
            "gvisor_median_ms",
            "gvisor_p99_ms",
            "gvisor_next_ms",
            "gvisor_per_s",
            "gvisor_memory_mib",
            "gvisor_at_once_ms",
        ],
        warm: Some(["gvisor_warm_min_ms", "gvisor_warm_ms", "gvisor_warm_p99_ms"]),
    },
    Tier {
        name: "isolate",
        keys: [
            "isolate_min_ms",
            "isolate_median_ms",
            "isolate_p99_ms",
            "isolate_next_ms",
            "isolate_per_s",
            "isolate_memory_mib",
            "isolate_at_once_ms",
        ],
        warm: Some(["isolate_warm_min_ms", "isolate_warm_ms", "isolate_warm_p99_ms"]),
    },
    Tier {
        name: "microvm",
        keys: [
            "microvm_min_ms",
            "microvm_median_ms",
            "microvm_p99_ms",
            "microvm_next_ms",
            "microvm_per_s",
            "microvm_memory_mib",
            "microvm_at_once_ms",
        ],
        warm: Some(["microvm_warm_min_ms", "microvm_warm_ms", "microvm_warm_p99_ms"]),
    },
];

/// Adds the figures of each tier; what a host cannot is said in a note.
pub fn tiers(binary: &Path, figures: &mut Figures) {
    for Tier { name, keys, warm } in TIERS {
        progress(&format!("sandboxes of the tier {name}"));
        let said = said_by(binary, EXAMPLE, &[name]).map_err(|error| format!("{error:#}"));
        let warm = warm.into_iter().flat_map(|keys| keys.into_iter().zip(READ_WARM));
        for (key, read) in keys.into_iter().zip(READ).chain(warm) {
            let value = said.as_ref().map_err(Clone::clone);
            match value.and_then(|text| read(text).map_err(|error| format!("{error:#}"))) {
                Ok(value) => figures.add(key, value),
                Err(why) => figures.absent(key, why),
            }
        }
    }
}

fn lives(text: &str) -> anyhow::Result<f64> {
    let lives = line(text, LIVES)?.rsplit_once(": ").and_then(|(_, rate)| rate.strip_suffix(" /s")?.parse().ok());
    lives.context("no lives")
}

fn memory(text: &str) -> anyhow::Result<f64> {
    let kib = line(text, MEMORY)?.split_once(" KiB").and_then(|(kib, _)| kib.parse::<f64>().ok());
    Ok(kib.context("no memory")? / 1024.0)
}

fn at_once(text: &str) -> anyhow::Result<f64> {
    let time = line(text, AT_ONCE)?.rsplit_once(": ").and_then(|(_, time)| milliseconds(time));
    time.context("no time of many at once")
}

#[cfg(test)]
mod tests;
