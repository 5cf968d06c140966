//! An agent folder on this machine's disk as a value.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use livery_core::agent::folder::Builder;
use livery_core::agent::{Finding, Folder};

/// Deepest folder that is walked into.
const DEPTH_MAX: usize = 16;
/// Names that are never part of an agent.
const LEFT_OUT: [&str; 3] = [".git", ".DS_Store", "target"];

/// Reads the folder at `path`. The outer error is the disk's, the inner one the folder's.
pub(crate) fn read(path: &Path) -> anyhow::Result<Result<Folder, Vec<Finding>>> {
    let mut builder = Builder::new();
    walk(path, "", 0, &mut builder).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(builder.finish())
}

fn walk(dir: &Path, prefix: &str, depth: usize, builder: &mut Builder) -> anyhow::Result<()> {
    let mut entries = fs::read_dir(dir)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            builder.refuse(&format!("{prefix}{}", name.to_string_lossy()), "the name is no UTF-8", "rename it");
            continue;
        };
        if LEFT_OUT.contains(&name) {
            continue;
        }
        let path = format!("{prefix}{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() && depth < DEPTH_MAX {
            walk(&entry.path(), &format!("{path}/"), depth + 1, builder)?;
        } else if kind.is_file() {
            add(&entry, &path, builder)?;
        } else {
            builder.refuse(&path, "neither a file nor a folder, or too deep", "put the file itself into the folder");
        }
    }
    Ok(())
}

fn add(entry: &fs::DirEntry, path: &str, builder: &mut Builder) -> anyhow::Result<()> {
    let metadata = entry.metadata()?;
    if metadata.len() > builder.room() as u64 {
        builder.refuse_size(path);
        return Ok(());
    }
    let executable = metadata.permissions().mode() & 0o111 != 0;
    builder.add(path, fs::read(entry.path())?, executable);
    Ok(())
}
