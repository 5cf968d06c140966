//! What a hostile sandbox costs its quiet neighbours: the sandbox crate's own example measures, this reads what it says.

use std::path::Path;

use anyhow::Context as _;

use super::example::said_by;
use super::{Figures, progress};

/// The example, beside the binary that is measured.
const EXAMPLE: &str = "neighbours";
/// What follows the multiple.
const UNIT: &str = " times the p99";

/// Of what the hostile one takes without end, and the figure's name.
const CLASSES: [(&str, &str); 6] = [
    ("processor: ", "beside_processor"),
    ("memory: ", "beside_memory"),
    ("processes: ", "beside_processes"),
    ("disk: ", "beside_disk"),
    ("files: ", "beside_files"),
    ("output: ", "beside_output"),
];

/// Adds a figure of each class.
pub(super) fn beside(binary: &Path, figures: &mut Figures) {
    progress("quiet sandboxes beside a hostile one");
    let said = said_by(binary, EXAMPLE, &[]).map_err(|error| format!("{error:#}"));
    for (start, key) in CLASSES {
        let value = said.as_ref().map_err(Clone::clone);
        match value.and_then(|text| read(text, start).map_err(|error| format!("{error:#}"))) {
            Ok(value) => figures.add(key, value),
            Err(why) => figures.absent(key, why),
        }
    }
}

fn read(text: &str, start: &str) -> anyhow::Result<f64> {
    // The line with the lives begins like it, and ends otherwise.
    let found = text.lines().find_map(|line| line.strip_prefix(start)?.strip_suffix(UNIT));
    let found = found.with_context(|| format!("nothing behind {start:?}"))?;
    Ok(found.parse()?)
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn what_the_example_says() {
        let text = "disk: 2 lives of it, and of the last None\nalone: min 1ms\ndisk: 1.25 times the p99\n";
        assert_eq!(read(text, "disk: ").unwrap(), 1.25);
        assert!(read(text, "files: ").is_err() && read("disk: many times the p99", "disk: ").is_err());
    }
}
