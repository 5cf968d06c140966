//! `search_files`: regular expressions over the workspace's text files, with an engine whose time grows with the text alone.

use livery_harness::ToolOutcome;
use livery_harness::outcome::{ENTRIES_MAX, Match};
use livery_harness::tools::SearchFiles;
use livery_sandbox::{Entry, FileKind, Sandbox};
use regex::Regex;

use super::files::{FILE_BYTES_MAX, get, matcher, walk};
use super::{Trouble, absolute};
use crate::worker::hands::WORKSPACE;

/// Most bytes read for one search.
const SEARCH_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Largest compiled pattern.
const PATTERN_BYTES_MAX: usize = 1024 * 1024;

pub(super) async fn search(sandbox: &Sandbox, call: &SearchFiles) -> Result<ToolOutcome, Trouble> {
    let pattern = regex::RegexBuilder::new(&call.pattern)
        .size_limit(PATTERN_BYTES_MAX)
        .build()
        .map_err(|error| Trouble::Answer(format!("the pattern cannot be read: {error}")))?;
    let root = call.path.as_deref().map_or_else(|| WORKSPACE.to_owned(), absolute);
    let glob = call.glob.as_deref().map(matcher).transpose()?;
    let Ok((entries, mut more)) = walk(sandbox, &root, true).await else {
        // Not a folder: a single file, or an answer that says what it is.
        return one_file(sandbox, &pattern, &root).await;
    };
    let mut matches = Vec::new();
    let mut budget = SEARCH_BYTES_MAX;
    for entry in entries {
        if !wanted(&entry, glob.as_ref()) {
            continue;
        }
        if entry.size > budget || matches.len() >= ENTRIES_MAX {
            more = true;
            break;
        }
        budget -= entry.size;
        // A file that went away or cannot be read in between has no lines to show.
        if let Ok(bytes) = get(sandbox, &format!("{root}/{}", entry.path)).await {
            more |= scan(&pattern, &entry.path, &bytes, &mut matches);
        }
    }
    Ok(ToolOutcome::Matches { matches, more })
}

async fn one_file(sandbox: &Sandbox, pattern: &Regex, path: &str) -> Result<ToolOutcome, Trouble> {
    let bytes = get(sandbox, path).await?;
    let mut matches = Vec::new();
    let more = scan(pattern, path, &bytes, &mut matches);
    Ok(ToolOutcome::Matches { matches, more })
}

fn wanted(entry: &Entry, glob: Option<&globset::GlobMatcher>) -> bool {
    entry.kind == FileKind::File
        && entry.size <= u64::from(FILE_BYTES_MAX)
        && glob.is_none_or(|glob| glob.is_match(&entry.path))
}

/// Adds the lines that match; `true` when there are more than may be shown. Binary files have no lines.
fn scan(pattern: &Regex, path: &str, bytes: &[u8], matches: &mut Vec<Match>) -> bool {
    if bytes.iter().take(8192).any(|byte| *byte == 0) {
        return false;
    }
    for (line, text) in (1..).zip(String::from_utf8_lossy(bytes).lines()) {
        if pattern.is_match(text) {
            if matches.len() >= ENTRIES_MAX {
                return true;
            }
            matches.push(Match { path: path.to_owned(), line, text: text.to_owned() });
        }
    }
    false
}
