//! Small chores that keep a long-lived node tidy: answers past their day go, and so do bytes whose row never came.

use std::path::{Path, PathBuf};
use std::time::Duration;

use livery_core::EventType;
use livery_core::id::{FileId, OrgId, RunId};

use crate::retention::{self, SteadyClock};
use crate::{Platform, node};

/// How often the chores are done.
const EVERY: Duration = Duration::from_secs(300);
/// Bytes are written before their row; after this long the row is not coming any more.
const ORPHAN_AGE: Duration = Duration::from_secs(3600);
/// Files looked at in one round.
const FILES_PER_ROUND_MAX: usize = 10_000;

/// Does the chores until the node stops.
pub(crate) async fn keep_house(platform: Platform) {
    let clock = SteadyClock::start(platform.clock.now());
    while !platform.stop.is_cancelled() {
        sweep_workspaces(&platform).await;
        match platform.duty("housekeeping", EVERY).await {
            Ok(true) => {
                purge_answers(&platform).await;
                sweep_orphans(&platform).await;
                sweep_nodes(&platform).await;
                retention::let_go(&platform, &clock).await;
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "chores cannot be taken"),
        }
        tokio::select! {
            () = platform.stop.cancelled() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn purge_answers(platform: &Platform) {
    loop {
        let now = platform.clock.now();
        match platform.store.write(move |tx| Box::pin(async move { tx.system_purge_idempotency(now).await })).await {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "old idempotency answers cannot be purged");
                return;
            }
        }
    }
}

/// Removes the rows of nodes that are long gone.
async fn sweep_nodes(platform: &Platform) {
    let before = platform.clock.now().plus_millis(-node::KEPT_MS);
    let swept = platform.store.write(move |tx| Box::pin(async move { tx.system_sweep_nodes(before).await })).await;
    if let Err(error) = swept {
        tracing::warn!(%error, "nodes that are gone cannot be swept");
    }
}

/// Removes the workspaces of runs that ended while nobody was there to do it: a crash between a run's end and its clean-up, or
/// another node that took the run over and ended it.
async fn sweep_workspaces(platform: &Platform) {
    let Some(sandboxes) = &platform.sandboxes else { return };
    let workspaces = sandboxes.workspaces().await.unwrap_or_default();
    for name in workspaces {
        let Ok(run) = name.parse::<RunId>() else { continue };
        if platform.running.has(run) || !is_over(platform, run).await {
            continue;
        }
        if let Err(error) = sandboxes.remove_workspace(&name).await {
            tracing::warn!(%run, %error, "the workspace of a run that is over cannot be removed");
        }
    }
}

/// Whether the run's log says so. A run without a log never was; one whose log cannot be read now is left alone.
async fn is_over(platform: &Platform, run: RunId) -> bool {
    match platform.store.system_events_of(run).await {
        Ok(events) => events.last().is_none_or(|event| {
            event.event_type.parse::<EventType>().is_ok_and(|event_type| event_type.terminal_status().is_some())
        }),
        Err(_) => false,
    }
}

/// Removes stored bytes that no row names: an upload or artifact that was cut off between the two.
async fn sweep_orphans(platform: &Platform) {
    let root = platform.config.files_dir.join("files");
    let Ok(found) = tokio::task::spawn_blocking(move || old_files(&root)).await else { return };
    for path in found {
        match owner_of(&path) {
            Some((org, file)) => match platform.store.get_file(org, file).await {
                Ok(None) => {}
                // It has its row, or nobody can say now.
                Ok(Some(_)) | Err(_) => continue,
            },
            // A `.part` of a write that was cut off.
            None if path.extension().is_some_and(|end| end == "part") => {}
            None => continue,
        }
        if let Err(error) = tokio::fs::remove_file(&path).await {
            tracing::warn!(%error, path = %path.display(), "bytes without a row cannot be removed");
        }
    }
}

/// Files below `files/ORG/XX/`, older than [`ORPHAN_AGE`].
fn old_files(root: &Path) -> Vec<PathBuf> {
    let entries = |dir: &Path| {
        std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let is_old = |path: &PathBuf| {
        let age = std::fs::metadata(path).ok().and_then(|found| found.modified().ok()?.elapsed().ok());
        age.is_some_and(|age| age > ORPHAN_AGE)
    };
    let folders = entries(root).into_iter().flat_map(|org| entries(&org));
    folders.flat_map(|folder| entries(&folder)).filter(is_old).take(FILES_PER_ROUND_MAX).collect()
}

fn owner_of(path: &Path) -> Option<(OrgId, FileId)> {
    let file = path.file_name()?.to_str()?.parse().ok()?;
    let org = path.parent()?.parent()?.file_name()?.to_str()?.parse().ok()?;
    Some((org, file))
}

#[cfg(test)]
mod tests {
    use super::owner_of;

    #[test]
    fn a_path_says_whose_bytes_it_holds() {
        let (org, file) = (livery_core::id::OrgId::from_bits(7), livery_core::id::FileId::from_bits(9));
        let path = std::path::PathBuf::from(format!("/data/files/{org}/09/{file}"));
        assert_eq!(owner_of(&path), Some((org, file)));
        assert_eq!(owner_of(std::path::Path::new("/data/files/x/y/z.part")), None);
    }
}
