//! A launch step that failed: its name and what the kernel said. Read next: `child.rs`, which reports them.

use std::io;

/// Which step, and why.
#[derive(Debug)]
pub(crate) struct Error {
    pub(crate) step: &'static str,
    pub(crate) detail: String,
}

/// Names the step of a result.
pub(crate) fn of<T>(step: &'static str, result: io::Result<T>) -> Result<T, Error> {
    result.map_err(|error| Error { step, detail: error.to_string() })
}

/// Names the step and the thing it was about.
pub(crate) fn with<T>(step: &'static str, what: impl FnOnce() -> String, result: io::Result<T>) -> Result<T, Error> {
    result.map_err(|error| Error { step, detail: format!("{}: {error}", what()) })
}
