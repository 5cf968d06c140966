//! Evidence for the table of checks: what a test saw of a check at a wall, written down for `cargo xtask escape`.
//!
//! The checks have the numbers of the list in `docs/escape.md`. A test says that a check held only after it saw it; who
//! panics before says nothing, and an empty cell counts as a failure there.

use std::fs::OpenOptions;
use std::io::Write as _;

use crate::house::Wall;

/// Names the file that evidence is added to; without it none is written.
const VARIABLE: &str = "LIVERY_CHECKS";

/// These checks held at this wall.
pub(crate) fn held(wall: impl Into<Wall>, checks: &[u8]) {
    let wall = wall.into();
    for check in checks {
        write(&format!("{check} {wall} held"));
    }
}

/// The same attempts had success where there is no wall, or where the limit is wider: they can fail.
pub(crate) fn control(checks: &[u8]) {
    for check in checks {
        write(&format!("{check} control open"));
    }
}

fn write(line: &str) {
    let Some(path) = std::env::var_os(VARIABLE) else { return };
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    // In one write, because tests of several threads and programs add to it.
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}
