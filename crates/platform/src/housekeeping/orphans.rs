//! Bytes that no row names: an upload, an artifact or a copy that was cut off between the two. Every object comes by in time:
//! a round looks at so many, and the next one, on whatever node, goes on where it stopped.

use std::time::Duration;

use livery_core::id::{FileId, OrgId, RunId};
use livery_core::{Error, Result};

use crate::Platform;
use crate::objects::{Listed, PART};

/// Bytes are written before their row; after this long the row is not coming any more.
const AGE_MS: i64 = 3_600_000;
/// Objects looked at in one round.
const ROUND_MAX: usize = 20_000;
/// Objects looked at a time.
const PAGE_MAX: usize = 1_000;
/// Before what seems to have no row is removed, it is looked for again: a run that waited for its database writes the row
/// within this time of its return.
const LAST_LOOK: Duration = Duration::from_secs(10);
/// What is looked through, in this order.
const FOLDERS: [&str; 2] = ["files", "snapshots"];
/// Where the next round goes on, in the table of the installation's own values.
const CURSOR: &str = "orphan_sweep_after";

/// One round. What fails now is tried by the next one.
pub(super) async fn sweep(platform: &Platform) {
    match round(platform, ROUND_MAX, LAST_LOOK).await {
        Ok(0) => {}
        Ok(removed) => tracing::info!(removed, "removed stored bytes that nothing names"),
        Err(error) => tracing::warn!(%error, "stored bytes without a row cannot be swept now"),
    }
}

async fn round(platform: &Platform, most: usize, last_look: Duration) -> Result<usize> {
    let cursor = platform.store.system_get_meta(CURSOR).await?.filter(|cursor| !cursor.is_empty());
    let (mut folder, mut after) = position(cursor);
    let (mut looked, mut removed) = (0, 0);
    while looked < most && !platform.stop.is_cancelled() {
        let page = platform.objects.list(FOLDERS[folder], after.take(), PAGE_MAX.min(most - looked)).await?;
        looked += page.len().max(1);
        after = page.last().map(|last| last.key.clone());
        removed += sweep_page(platform, page, last_look).await?;
        if after.is_none() {
            folder += 1;
        }
        if folder == FOLDERS.len() {
            remember(platform, "").await?;
            break;
        }
        let reached = after.clone().unwrap_or_else(|| FOLDERS[folder].to_owned());
        remember(platform, &reached).await?;
    }
    Ok(removed)
}

/// The folder and the key that a cursor stands for.
fn position(cursor: Option<String>) -> (usize, Option<String>) {
    let Some(cursor) = cursor else { return (0, None) };
    let (name, is_key) = cursor.split_once('/').map_or((cursor.as_str(), false), |(name, _)| (name, true));
    let folder = FOLDERS.iter().position(|folder| *folder == name).unwrap_or(0);
    (folder, Some(cursor).filter(|_| is_key))
}

async fn remember(platform: &Platform, cursor: &str) -> Result<()> {
    let cursor = cursor.to_owned();
    let write = platform.store.write(move |tx| Box::pin(async move { tx.system_set_meta(CURSOR, &cursor).await }));
    Ok(write.await?)
}

async fn sweep_page(platform: &Platform, page: Vec<Listed>, last_look: Duration) -> Result<usize> {
    let before = platform.clock.now().plus_millis(-AGE_MS);
    let mut orphans = Vec::new();
    for Listed { key, modified } in page {
        if modified < before && is_orphan(platform, &key).await? {
            orphans.push(key);
        }
    }
    if orphans.is_empty() {
        return Ok(0);
    }
    tokio::time::sleep(last_look).await;
    let mut removed = 0;
    for key in orphans {
        if is_orphan(platform, &key).await? {
            platform.objects.delete(&key).await.map_err(Error::from)?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// What an object is by its key.
#[derive(Debug, PartialEq, Eq)]
enum Owner {
    File(OrgId, FileId),
    Copy(OrgId, RunId),
    /// What a write that was cut off left beside its place.
    Part,
    /// Nothing that Livery writes: not Livery's to remove.
    Unknown,
}

fn owner_of(key: &str) -> Owner {
    if key.strip_suffix(PART).is_some_and(|name| name.ends_with('.')) {
        return Owner::Part;
    }
    let parts: Vec<&str> = key.split('/').collect();
    let owner = match parts.as_slice() {
        ["files", org, folder, file] if file.ends_with(folder) => {
            org.parse().ok().zip(file.parse().ok()).map(|(org, file)| Owner::File(org, file))
        }
        ["snapshots", org, run, name] if name.ends_with(".tgz") => {
            org.parse().ok().zip(run.parse().ok()).map(|(org, run)| Owner::Copy(org, run))
        }
        _ => None,
    };
    owner.unwrap_or(Owner::Unknown)
}

async fn is_orphan(platform: &Platform, key: &str) -> Result<bool> {
    Ok(match owner_of(key) {
        Owner::File(org, file) => platform.store.get_file(org, file).await?.is_none(),
        Owner::Copy(org, run) => !platform.store.has_snapshot(org, run, key).await?,
        Owner::Part => true,
        Owner::Unknown => false,
    })
}

#[cfg(test)]
mod tests;
