//! `livery backup` and `livery restore`: a data directory as one file, and back.

use std::os::unix::fs::lchown;
use std::path::Path;
use std::process::ExitCode;

use livery_platform::Clock;
use livery_platform::backup::{BackUp, Manifest, back_up};

use super::{print_json, say};
use crate::cli;
use crate::host::{self, User};

/// Copies a data directory.
pub(super) fn backup(args: cli::Backup) -> anyhow::Result<ExitCode> {
    let (out, include_root_key) = (args.out.clone(), args.include_root_key);
    let order = BackUp { data_dir: args.data, out: args.out, include_root_key, now: Clock::system().now() };
    let manifest = back_up(&order)?;
    if args.json {
        print_json(&serde_json::to_value(&manifest)?)?;
    }
    say(&format!("{} holds {}", out.display(), describe(&manifest)));
    if include_root_key {
        say("the root key is in it: whoever has the file has every secret in it");
    } else {
        say("the root key is not in it; keep it apart: without it the sealed keys cannot be opened by anybody");
    }
    if manifest.files_elsewhere > 0 {
        say(&format!("{} files are not in this data directory and not in the backup", manifest.files_elsewhere));
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes a data directory.
pub(super) fn restore(args: cli::Restore) -> anyhow::Result<ExitCode> {
    let user = host::ordinary_user(args.user.as_deref())?;
    let own = |dir: &Path| user.as_ref().map_or(Ok(()), |user| give(dir, user));
    let restored = livery_platform::backup::restore(&args.file, &args.data, own)?;
    if args.json {
        print_json(&serde_json::to_value(&restored.manifest)?)?;
    }
    say(&format!("{} holds {}", args.data.display(), describe(&restored.manifest)));
    if !restored.manifest.root_key {
        say("put root.key into it (mode 0600), or set LIVERY_ROOT_KEY, before you start the server");
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(manifest: &Manifest) -> String {
    let Manifest { organizations, runs, events, files, created_at, .. } = manifest;
    format!("{organizations} organizations, {runs} runs, {events} events and {files} files as of {created_at}")
}

/// Everything below `dir` becomes the user's. There are only directories and files: the restore made them.
fn give(dir: &Path, user: &User) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            give(&entry.path(), user)?;
        } else {
            lchown(entry.path(), Some(user.uid), Some(user.gid))?;
        }
    }
    lchown(dir, Some(user.uid), Some(user.gid))
}
