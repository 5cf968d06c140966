//! Reading, writing, editing and listing files through the guest. The host's own file system is never touched.

use livery_harness::ToolOutcome;
use livery_harness::outcome::{ENTRIES_MAX, FileEntry};
use livery_harness::text::apply_edit;
use livery_harness::tools::{EditFile, ListFiles, ReadFile, WriteFile};
use livery_sandbox::{Entry, FileKind, Sandbox};

use super::{Trouble, absolute, trouble};
use crate::worker::hands::WORKSPACE;

/// Largest file that is read or edited as a whole.
pub(super) const FILE_BYTES_MAX: u32 = 8 * 1024 * 1024;
/// Most entries walked through for one listing or search.
pub(super) const WALK_MAX: u32 = 10_000;
/// How deep a listing goes.
const DEPTH_MAX: u32 = 16;

pub(super) async fn read(sandbox: &Sandbox, call: &ReadFile) -> Result<ToolOutcome, Trouble> {
    let bytes = get(sandbox, &call.path).await?;
    Ok(ToolOutcome::file(&bytes, call))
}

pub(super) async fn write(sandbox: &Sandbox, call: WriteFile) -> Result<ToolOutcome, Trouble> {
    let bytes = call.content.len();
    put(sandbox, &call.path, call.content.into_bytes()).await?;
    Ok(ToolOutcome::text(format!("Wrote {bytes} bytes to {}.", call.path)))
}

pub(super) async fn edit(sandbox: &Sandbox, call: &EditFile) -> Result<ToolOutcome, Trouble> {
    let bytes = get(sandbox, &call.path).await?;
    let content = String::from_utf8(bytes).map_err(|_| Trouble::Answer(format!("{} is no text file.", call.path)))?;
    let edited = apply_edit(&content, &call.old, &call.new, call.replace_all)
        .map_err(|error| Trouble::Answer(error.to_string()))?;
    let (times, content) = (edited.replacements, edited.content);
    put(sandbox, &call.path, content.into_bytes()).await?;
    Ok(ToolOutcome::text(format!("Replaced {times} in {}.", call.path)))
}

pub(super) async fn list(sandbox: &Sandbox, call: &ListFiles) -> Result<ToolOutcome, Trouble> {
    let root = call.path.as_deref().map_or_else(|| WORKSPACE.to_owned(), absolute);
    let glob = call.glob.as_deref().map(matcher).transpose()?;
    let (entries, mut more) = walk(sandbox, &root, glob.is_some()).await?;
    let mut shown = Vec::new();
    for entry in entries {
        if glob.as_ref().is_some_and(|glob| entry.kind == FileKind::Directory || !glob.is_match(&entry.path)) {
            continue;
        }
        if shown.len() == ENTRIES_MAX {
            more = true;
            break;
        }
        shown.push(shown_entry(entry));
    }
    Ok(ToolOutcome::Files { entries: shown, more })
}

fn shown_entry(entry: Entry) -> FileEntry {
    match entry.kind {
        FileKind::Directory => FileEntry { path: format!("{}/", entry.path), bytes: None },
        _ => FileEntry { path: entry.path, bytes: Some(entry.size) },
    }
}

/// Entries below `root`, by path; `true` when there are more than were walked.
pub(super) async fn walk(sandbox: &Sandbox, root: &str, deep: bool) -> Result<(Vec<Entry>, bool), Trouble> {
    let listing = sandbox
        .list(root, if deep { DEPTH_MAX } else { 1 }, WALK_MAX)
        .await
        .map_err(|error| not_found(&error, root))?;
    let mut entries = listing.entries;
    // What the agent did not put there itself is not its business.
    entries.retain(|entry| !(root == WORKSPACE && (entry.path == ".livery" || entry.path.starts_with(".livery/"))));
    entries.sort_by(|left, right| left.path.cmp(&right.path));
    Ok((entries, listing.truncated))
}

pub(super) fn matcher(glob: &str) -> Result<globset::GlobMatcher, Trouble> {
    let built = globset::GlobBuilder::new(glob).literal_separator(true).build();
    built
        .map(|glob| glob.compile_matcher())
        .map_err(|error| Trouble::Answer(format!("the glob cannot be read: {}", error.kind())))
}

pub(super) async fn get(sandbox: &Sandbox, path: &str) -> Result<Vec<u8>, Trouble> {
    let part = sandbox.get(&absolute(path), 0, FILE_BYTES_MAX).await.map_err(|error| not_found(&error, path))?;
    if part.size > FILE_BYTES_MAX.into() {
        return Err(Trouble::Answer(format!(
            "{path} has {} bytes; at most {FILE_BYTES_MAX} can be read. Use shell for parts of it.",
            part.size
        )));
    }
    Ok(part.bytes)
}

async fn put(sandbox: &Sandbox, path: &str, bytes: Vec<u8>) -> Result<(), Trouble> {
    sandbox.put(&absolute(path), &bytes, 0o644).await.map_err(|error| not_found(&error, path))
}

fn not_found(error: &livery_sandbox::Error, path: &str) -> Trouble {
    if error.is_not_found() {
        return Trouble::Answer(format!("{path} does not exist."));
    }
    trouble(error, path)
}
