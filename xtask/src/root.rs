//! Where the repository is, and how a chore starts cargo in it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository's root folder, known since this crate was compiled in it.
pub fn folder() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// The cargo that started this chore, in the root folder.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(folder());
    command
}

/// One line to standard error.
pub fn complain(line: &str) {
    eprintln!("{line}");
}
