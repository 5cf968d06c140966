//! What happens to a run after it was accepted: claimed, driven step by step, ended; and what a node does around that.
//!
//! Walk on: `drive` is one run from claim to end, `model` and `tools` perform its effects, `hands` is its sandbox.

mod artifacts;
mod drive;
mod hands;
mod model;
mod patience;
mod running;
mod setup;
mod spill;
mod step;
mod tools;

use std::time::Duration;

use livery_core::Result;
use livery_store::ClaimedRun;
use tokio::task::JoinSet;

pub(crate) use self::running::Running;
pub(crate) use self::setup::{models_of, setup_of};
use crate::Platform;
use crate::effects::{EffectKind, Phase};

/// Longest sleep of an idle worker without a ring.
const POLL: Duration = Duration::from_secs(1);
/// Runs taken in one claim.
const CLAIM_MAX: usize = 64;
/// How long a node that could not reach the database leaves expired leases alone once it is back.
const AFTER_OUTAGE: Duration = Duration::from_secs(2);

/// Works on runs until the node stops, then lets them come to a safe point.
pub(crate) async fn work(platform: Platform) {
    let heartbeat = platform.tasks.spawn(keep_leases(platform.clone()));
    let mut bell = platform.store.queue_doorbell();
    let mut runs: JoinSet<()> = JoinSet::new();
    while !platform.stop.is_cancelled() {
        let room = platform.config.concurrent_runs_max.saturating_sub(runs.len()).min(CLAIM_MAX);
        match claim(&platform, room).await {
            Ok(claimed) => {
                let full = !claimed.is_empty() && claimed.len() == room;
                for run in claimed {
                    runs.spawn(drive::drive(platform.clone(), run));
                }
                if full {
                    continue;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "runs cannot be claimed");
                outlast(&platform).await;
            }
        }
        tokio::select! {
            () = platform.stop.cancelled() => {}
            () = bell.rung() => platform.reached(EffectKind::QueueClaim, Phase::Before),
            () = platform.runs_due.notified() => platform.reached(EffectKind::QueueClaim, Phase::Before),
            // A finished run makes room here, and in its organization's limit.
            Some(_) = runs.join_next() => while runs.try_join_next().is_some() {},
            () = tokio::time::sleep(POLL) => {}
        }
    }
    while runs.join_next().await.is_some() {}
    heartbeat.abort();
}

/// Waits until the database is back, and a little longer: leases ran out meanwhile on every node, and each is to renew its
/// own before anybody takes another's for dead.
async fn outlast(platform: &Platform) {
    let back = async {
        while renew(platform).await.is_err() {
            tokio::time::sleep(POLL).await;
        }
        tokio::time::sleep(AFTER_OUTAGE).await;
    };
    tokio::select! {
        () = platform.stop.cancelled() => {}
        () = back => {}
    }
}

async fn claim(platform: &Platform, room: usize) -> Result<Vec<ClaimedRun>> {
    let max = u32::try_from(room).unwrap_or(u32::MAX);
    if max == 0 {
        return Ok(Vec::new());
    }
    let (owner, now) = (platform.config.node.clone(), platform.clock.now());
    let until = now.plus_millis(lease_ms(platform));
    // After a pause of the machine or a disk that stood still, the heartbeat may be late: what this node holds is renewed
    // before anything is claimed, so that it never takes its own runs from itself.
    let late = platform.running.renewed_before(now.plus_millis(-lease_ms(platform) / 2));
    let held = if late { platform.running.leases() } else { Vec::new() };
    let claimed = platform
        .store
        .write(move |tx| {
            Box::pin(async move {
                tx.heartbeat(&held, until).await?;
                tx.system_claim_runs(&owner, now, until, max).await
            })
        })
        .await?;
    if !claimed.is_empty() {
        platform.reached(EffectKind::QueueClaim, Phase::Committed);
    }
    if late {
        platform.running.note_renewal(now);
    }
    Ok(claimed)
}

/// Renews the leases of this node's runs; a renewal that fails is tried again at once.
async fn keep_leases(platform: Platform) {
    let mut pause = platform.config.heartbeat;
    loop {
        tokio::time::sleep(pause).await;
        pause = match renew(&platform).await {
            Ok(()) => platform.config.heartbeat,
            Err(error) => {
                tracing::warn!(%error, "leases cannot be renewed");
                POLL.min(platform.config.heartbeat)
            }
        };
    }
}

/// One renewal; a run whose lease is lost, or that somebody asked to stop, is told.
async fn renew(platform: &Platform) -> Result<()> {
    let held = platform.running.leases();
    let now = platform.clock.now();
    let until = now.plus_millis(lease_ms(platform));
    let leases = held.clone();
    platform.reached(EffectKind::LeaseRenewal, Phase::Before);
    let heartbeat = platform.store.write(move |tx| Box::pin(async move { tx.heartbeat(&leases, until).await })).await?;
    platform.reached(EffectKind::LeaseRenewal, Phase::Committed);
    platform.running.note_renewal(now);
    for lease in held.into_iter().filter(|lease| heartbeat.lost.contains(&lease.run)) {
        platform.running.lose(lease);
    }
    for run in heartbeat.cancel_requested {
        platform.running.cancel(run);
    }
    Ok(())
}

fn lease_ms(platform: &Platform) -> i64 {
    i64::try_from(platform.config.lease.as_millis()).unwrap_or(i64::MAX)
}
