//! Leases: kept while this node works, watched for those that ran out elsewhere.

use std::time::Duration;

use livery_core::{Result, Timestamp};
use livery_store::{Heartbeat, Holder, Lease};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::Platform;
use crate::effects::{EffectKind, Phase};

/// How often a node that is not alone looks for leases that ran out and for its runs that somebody asked to stop: both are
/// one look into a small index.
const LOOK: Duration = Duration::from_millis(400);

/// The pause before a renewal that failed is tried again.
const RENEW_AGAIN: Duration = Duration::from_secs(1);

/// How long a lease taken now lasts.
pub(super) fn until(platform: &Platform) -> Timestamp {
    platform.clock.now().plus_millis(lease_ms(platform))
}

pub(super) fn lease_ms(platform: &Platform) -> i64 {
    i64::try_from(platform.config.lease.as_millis()).unwrap_or(i64::MAX)
}

/// Renews the leases of this node's runs; a renewal that fails is tried again at once.
pub(super) async fn keep(platform: Platform) {
    let mut pause = platform.config.heartbeat;
    loop {
        tokio::time::sleep(pause).await;
        pause = match renew(&platform).await {
            Ok(()) => platform.config.heartbeat,
            Err(error) => {
                tracing::warn!(%error, "leases cannot be renewed");
                RENEW_AGAIN.min(platform.config.heartbeat)
            }
        };
    }
}

/// One renewal; a run whose lease is lost, or that somebody asked to stop, is told.
pub(super) async fn renew(platform: &Platform) -> Result<()> {
    let held = platform.running.leases();
    let now = platform.clock.now();
    let (leases, until) = (held.clone(), until(platform));
    platform.reached(EffectKind::LeaseRenewal, Phase::Before);
    let heartbeat = platform.store.write(move |tx| Box::pin(async move { tx.heartbeat(&leases, until).await })).await?;
    platform.reached(EffectKind::LeaseRenewal, Phase::Committed);
    learn(platform, held, heartbeat, now);
    Ok(())
}

/// Tells each run what a renewal at `now` of these leases learned about it.
pub(super) fn learn(platform: &Platform, held: Vec<Lease>, heartbeat: Heartbeat, now: Timestamp) {
    platform.running.note_renewal(now);
    for lease in held.into_iter().filter(|lease| heartbeat.lost.contains(&lease.run)) {
        platform.running.lose(lease);
    }
    for run in heartbeat.cancel_requested {
        platform.running.cancel(run);
    }
}

impl Platform {
    /// Whether another node has the run of a lease that was lost, or nobody will have it any more. What cannot be found out
    /// now is not so.
    pub(crate) async fn is_elsewhere(&self, lease: Lease) -> bool {
        let own = self.identity.id.to_string();
        match self.store.run_holder(lease.org, lease.run).await {
            Ok(Holder::Node(owner)) => owner.split_once('/').is_none_or(|(node, _)| node != own),
            Ok(Holder::Nobody) | Err(_) => false,
            Ok(Holder::Over) => true,
        }
    }
}

/// Rings when a lease ran out, whoever held it.
pub(super) struct Watch {
    due: watch::Receiver<()>,
    _task: Option<AbortOnDropHandle<()>>,
}

impl Watch {
    /// Starts to look, where there are other nodes: alone, nobody else holds a lease, and a cancel is told directly.
    pub(super) fn start(platform: &Platform) -> Self {
        let (ring, due) = watch::channel(());
        let task = (!platform.store.is_embedded()).then(|| platform.tasks.spawn(look(platform.clone(), ring)));
        Self { due, _task: task.map(AbortOnDropHandle::new) }
    }

    /// Waits for the next ring.
    pub(super) async fn due(&mut self) {
        if self.due.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn look(platform: Platform, ring: watch::Sender<()>) {
    loop {
        tokio::time::sleep(LOOK).await;
        match platform.store.system_has_expired_lease(platform.clock.now()).await {
            Ok(true) => drop(ring.send(())),
            Ok(false) => {}
            Err(error) => tracing::debug!(%error, "leases cannot be looked at"),
        }
        if platform.running.is_empty() {
            continue;
        }
        match platform.store.system_cancel_requests(&platform.identity.owner).await {
            Ok(runs) => runs.into_iter().for_each(|run| platform.running.cancel(run)),
            Err(error) => tracing::debug!(%error, "requests to stop cannot be looked at"),
        }
    }
}
