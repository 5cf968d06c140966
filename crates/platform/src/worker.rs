//! What happens to a run after it was accepted: claimed, driven step by step, ended; and what a node does around that.
//!
//! Walk on: `drive` is one run from claim to end, `model` and `tools` perform its effects, `hands` is its sandbox.

mod artifacts;
mod ask;
mod drive;
mod egress;
mod hands;
mod leases;
mod model;
mod pack;
mod patience;
mod resume;
mod running;
mod setdown;
mod setup;
mod snapshot;
mod spill;
mod standing;
mod step;
mod tools;
mod waiting;
mod workspace;

use std::time::Duration;

use livery_core::Result;
use livery_store::ClaimedRun;
use tokio::task::JoinSet;

pub(crate) use self::running::Running;
pub(crate) use self::setup::{models_of, setup_of};
pub(crate) use self::spill::spilled_file;
pub(crate) use self::standing::{Place, RunLog};
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
    let heartbeat = platform.tasks.spawn(leases::keep(platform.clone()));
    let mut watch = leases::Watch::start(&platform);
    let mut bell = platform.store.queue_doorbell();
    let mut runs: JoinSet<()> = JoinSet::new();
    go_on(&platform, &mut runs).await;
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
            () = watch.due() => {}
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
        while leases::renew(platform).await.is_err() {
            tokio::time::sleep(POLL).await;
        }
        tokio::time::sleep(AFTER_OUTAGE).await;
    };
    tokio::select! {
        () = platform.stop.cancelled() => {}
        () = back => {}
    }
}

/// Takes what earlier lives of this node worked on, before anything else: their workspaces are here.
async fn go_on(platform: &Platform, runs: &mut JoinSet<()>) {
    while !platform.stop.is_cancelled() && runs.len() < platform.config.concurrent_runs_max {
        let (owner, until) = (platform.identity.owner.clone(), leases::until(platform));
        let room = platform.config.concurrent_runs_max - runs.len();
        let max = u32::try_from(room).unwrap_or(u32::MAX);
        let taken = platform
            .store
            .write(move |tx| Box::pin(async move { tx.system_claim_own_runs(&owner, until, max).await }))
            .await;
        match taken {
            Ok(taken) if taken.is_empty() => return,
            Ok(taken) => {
                tracing::info!(runs = taken.len(), "runs of an earlier life go on");
                taken.into_iter().for_each(|run| drop(runs.spawn(drive::drive(platform.clone(), run))));
            }
            Err(error) => {
                tracing::warn!(%error, "runs of an earlier life cannot be taken now");
                tokio::time::sleep(POLL).await;
            }
        }
    }
}

async fn claim(platform: &Platform, room: usize) -> Result<Vec<ClaimedRun>> {
    let max = u32::try_from(room).unwrap_or(u32::MAX);
    if max == 0 {
        return Ok(Vec::new());
    }
    let (owner, now) = (platform.identity.owner.clone(), platform.clock.now());
    let until = leases::until(platform);
    // After a pause of the machine or a disk that stood still, the heartbeat may be late: what this node holds is renewed
    // before anything is claimed, so that it never takes its own runs from itself.
    let late = platform.running.renewed_before(now.plus_millis(-leases::lease_ms(platform) / 2));
    let held = if late { platform.running.leases() } else { Vec::new() };
    let renewed = held.clone();
    let (heartbeat, claimed) = platform
        .store
        .write_work(move |tx| {
            Box::pin(async move {
                let heartbeat = tx.heartbeat(&held, until).await?;
                Ok((heartbeat, tx.system_claim_runs(&owner, now, until, max).await?))
            })
        })
        .await?;
    if !claimed.is_empty() {
        platform.reached(EffectKind::QueueClaim, Phase::Committed);
    }
    if late {
        leases::learn(platform, renewed, heartbeat, now);
    }
    Ok(claimed)
}

#[cfg(test)]
mod tests;
