//! The table is usable: every probe can answer, every row says why it is there.

use super::{NEEDS, Probe, is_there, on_path};

#[test]
fn every_row_names_a_package_and_a_reason() {
    for need in NEEDS {
        assert!(need.why.len() > 10, "{} has no reason", need.thing);
        assert!(
            need.package.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c)),
            "{} is no package name",
            need.package
        );
    }
}

#[test]
fn probes_tell_present_from_absent() {
    assert!(on_path("sh"));
    assert!(!on_path("no-such-program-in-any-folder"));
    assert!(is_there(Probe::File("/proc/self/status")));
    assert!(!is_there(Probe::File("/proc/self/no-such-entry")));
}
