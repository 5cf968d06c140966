//! Small chores that keep a long-lived node tidy: answers past their day go, and so do bytes whose row never came.

mod orphans;

use std::time::Duration;

use livery_core::EventType;
use livery_core::id::RunId;

use crate::retention::{self, SteadyClock};
use crate::{Platform, images, node, vault};

/// How often the chores are done.
const EVERY: Duration = Duration::from_secs(300);
/// In how many rounds images are looked after once.
const IMAGES_EVERY: u32 = 12;

/// Does the chores until the node stops.
pub(crate) async fn keep_house(platform: Platform) {
    let clock = SteadyClock::start(platform.clock.now());
    let mut rounds = 0;
    while !platform.stop.is_cancelled() {
        sweep_workspaces(&platform).await;
        // Every node has its own; the first round clears what a death left half done.
        if rounds % IMAGES_EVERY == 0 && platform.config.roles.worker {
            images::collect(&platform).await;
        }
        rounds += 1;
        match platform.duty("housekeeping", EVERY).await {
            Ok(true) => {
                purge_answers(&platform).await;
                orphans::sweep(&platform).await;
                sweep_nodes(&platform).await;
                retention::let_go(&platform, &clock).await;
                vault::keep_up(&platform).await;
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
