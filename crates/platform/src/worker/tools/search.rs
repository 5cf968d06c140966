//! `search_files`: regular expressions over the workspace's text files, with an engine whose time grows with the text alone.

use std::time::{Duration, Instant};

use livery_harness::ToolOutcome;
use livery_harness::outcome::{ENTRIES_MAX, Match};
use livery_harness::tools::SearchFiles;
use livery_sandbox::{Entry, FileKind, Sandbox};
use regex::Regex;
use tokio::sync::Semaphore;

use super::files::{FILE_BYTES_MAX, get, matcher, walk};
use super::{Trouble, absolute};
use crate::worker::hands::WORKSPACE;

/// Most bytes read for one search.
const SEARCH_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Largest compiled pattern, and the most its cache may take: what a pattern costs per byte of text grows with both.
const PATTERN_BYTES_MAX: usize = 64 * 1024;
/// How much of a line is looked at.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// Longest search of one file.
const FILE_TIME_MAX: Duration = Duration::from_secs(2);
/// Longest search of all files.
const SEARCH_TIME_MAX: Duration = Duration::from_secs(20);
/// Files of this node that are searched at a time: searching is work for a processor, and others want to be served.
static SEARCHERS: Semaphore = Semaphore::const_new(2);

pub(super) async fn search(sandbox: &Sandbox, call: &SearchFiles) -> Result<ToolOutcome, Trouble> {
    let pattern = regex::RegexBuilder::new(&call.pattern)
        .size_limit(PATTERN_BYTES_MAX)
        .dfa_size_limit(PATTERN_BYTES_MAX)
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
    let end = Instant::now() + SEARCH_TIME_MAX;
    for entry in entries {
        if !wanted(&entry, glob.as_ref()) {
            continue;
        }
        if entry.size > budget || matches.len() >= ENTRIES_MAX || Instant::now() >= end {
            more = true;
            break;
        }
        budget -= entry.size;
        // A file that went away or cannot be read in between has no lines to show.
        if let Ok(bytes) = get(sandbox, &format!("{root}/{}", entry.path)).await {
            let found = scan_aside(&pattern, &entry.path, bytes, ENTRIES_MAX - matches.len()).await?;
            more |= found.more;
            matches.extend(found.matches);
        }
    }
    Ok(ToolOutcome::Matches { matches, more })
}

async fn one_file(sandbox: &Sandbox, pattern: &Regex, path: &str) -> Result<ToolOutcome, Trouble> {
    let bytes = get(sandbox, path).await?;
    let found = scan_aside(pattern, path, bytes, ENTRIES_MAX).await?;
    Ok(ToolOutcome::Matches { matches: found.matches, more: found.more })
}

/// What one file had.
struct Found {
    matches: Vec<Match>,
    more: bool,
}

/// Scans on a thread of its own: a hostile pattern on a hostile file must not stand in anybody's way.
async fn scan_aside(pattern: &Regex, path: &str, bytes: Vec<u8>, room: usize) -> Result<Found, Trouble> {
    let lost = || Trouble::Answer("the search was interrupted".to_owned());
    let turn = SEARCHERS.acquire().await.map_err(|_| lost())?;
    let (pattern, path) = (pattern.clone(), path.to_owned());
    let found = tokio::task::spawn_blocking(move || {
        // Held until the scan is over, also when nobody waits for it any more.
        let _turn = turn;
        scan(&pattern, &path, &bytes, room)
    });
    found.await.map_err(|_| lost())
}

fn wanted(entry: &Entry, glob: Option<&globset::GlobMatcher>) -> bool {
    entry.kind == FileKind::File
        && entry.size <= u64::from(FILE_BYTES_MAX)
        && glob.is_none_or(|glob| glob.is_match(&entry.path))
}

/// The lines that match, at most `room`; `more` when there are others or the time was up. Binary files have no lines.
fn scan(pattern: &Regex, path: &str, bytes: &[u8], room: usize) -> Found {
    let mut found = Found { matches: Vec::new(), more: false };
    if bytes.iter().take(8192).any(|byte| *byte == 0) {
        return found;
    }
    let end = Instant::now() + FILE_TIME_MAX;
    for (line, text) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        if Instant::now() >= end {
            found.more = true;
            break;
        }
        let text = String::from_utf8_lossy(&text[..text.len().min(LINE_BYTES_MAX)]);
        if pattern.is_match(&text) {
            if found.matches.len() >= room {
                found.more = true;
                break;
            }
            found.matches.push(Match { path: path.to_owned(), line, text: text.into_owned() });
        }
    }
    found
}
