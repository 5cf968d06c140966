//! The delivering loop: looks at what is due, claims within fair shares, sends, and sleeps until the next is due.

use std::collections::HashMap;
use std::time::Duration;

use livery_core::{Result, Timestamp};
use livery_store::ClaimedDelivery;
use tokio::task::{Id, JoinError, JoinSet};

use super::attempt::attempt;
use super::shares::{self, Load, Place, Plan};
use crate::Platform;

/// Longest sleep without a ring.
const POLL: Duration = Duration::from_secs(10);
/// Shortest time from one look to the next; what is rung meanwhile is seen together.
const LOOK_PAUSE: Duration = Duration::from_millis(10);
/// The sleep after a look that the database refused.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);
/// How much longer than its attempt a claim lasts.
const CLAIM_MARGIN_MS: i64 = 30_000;
/// Time between two looks for rotated keys to delete.
const FORGET_EVERY_MS: u64 = 60_000;

/// Delivers until the node stops.
pub(crate) async fn deliver(platform: Platform) {
    let mut bell = platform.store.delivery_doorbell();
    let mut under_way = UnderWay::default();
    let mut forgot_at: Option<Timestamp> = None;
    while !platform.stop.is_cancelled() {
        under_way.reap();
        let now = platform.clock.now();
        if forgot_at.is_none_or(|at| now.millis_since(at) >= FORGET_EVERY_MS) {
            forgot_at = Some(now);
            forget_rotated(&platform, now).await;
        }
        let sleep = match look(&platform, &mut under_way, now).await {
            Ok(sleep) => sleep,
            Err(error) => {
                tracing::warn!(%error, "deliveries cannot be claimed");
                REFUSED_PAUSE
            }
        };
        tokio::time::sleep(LOOK_PAUSE).await;
        tokio::select! {
            () = platform.stop.cancelled() => {}
            () = bell.rung() => {}
            () = under_way.one_ended() => {}
            () = tokio::time::sleep(sleep) => {}
        }
    }
    // What is under way may end; what is not settled is claimed again by the next life.
    under_way.all_ended().await;
}

/// Claims and begins what is due; how long to sleep when nobody rings.
async fn look(platform: &Platform, under_way: &mut UnderWay, now: Timestamp) -> Result<Duration> {
    let destinations = platform.store.system_delivery_destinations().await?;
    let Plan { claims, next_at } = shares::plan(now, destinations, &under_way.load);
    let sleep = next_at.map_or(POLL, |at| Duration::from_millis(at.millis_since(now).saturating_add(5)).min(POLL));
    if claims.is_empty() {
        return Ok(sleep);
    }
    let owner = platform.identity.owner.clone();
    let timeout_ms = i64::try_from(platform.config.webhook_timeout.as_millis()).unwrap_or(i64::MAX);
    let until = now.plus_millis(timeout_ms.saturating_add(CLAIM_MARGIN_MS));
    let claimed = platform
        .store
        .write(move |tx| {
            Box::pin(async move {
                let mut claimed: Vec<ClaimedDelivery> = Vec::new();
                for claim in &claims {
                    claimed.extend(tx.system_claim_deliveries(&owner, claim, now, until).await?);
                }
                Ok(claimed)
            })
        })
        .await?;
    for delivery in claimed {
        under_way.begin(platform, delivery);
    }
    // There may be more of the same: a claim sees a part of a long queue, and another node may have been faster.
    Ok(Duration::ZERO)
}

async fn forget_rotated(platform: &Platform, now: Timestamp) {
    let forgotten =
        platform.store.write(move |tx| Box::pin(async move { tx.system_forget_rotated_webhook_keys(now).await })).await;
    if let Err(error) = forgotten {
        tracing::warn!(%error, "rotated webhook keys are not deleted yet; they sign nothing any more");
    }
}

/// The attempts of this node, and whose slots they have.
#[derive(Default)]
struct UnderWay {
    tasks: JoinSet<()>,
    places: HashMap<Id, Place>,
    load: Load,
}

impl UnderWay {
    fn begin(&mut self, platform: &Platform, delivery: ClaimedDelivery) {
        let place = (delivery.row.org, delivery.row.destination.clone());
        self.load.add(&place);
        let task = self.tasks.spawn(attempt(platform.clone(), delivery));
        self.places.insert(task.id(), place);
    }

    fn reap(&mut self) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.ended(ended);
        }
    }

    /// Waits for the end of one; for ever when there is none.
    async fn one_ended(&mut self) {
        match self.tasks.join_next_with_id().await {
            Some(ended) => self.ended(ended),
            None => std::future::pending().await,
        }
    }

    async fn all_ended(&mut self) {
        while let Some(ended) = self.tasks.join_next_with_id().await {
            self.ended(ended);
        }
    }

    /// An attempt that panicked gives its slot back as well; its claim runs out.
    fn ended(&mut self, ended: std::result::Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => error.id(),
        };
        if let Some(place) = self.places.remove(&id) {
            self.load.remove(&place);
        }
    }
}
