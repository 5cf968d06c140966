//! Sending what the outbox holds: at least once, through the broker's guard, never in a run's way.

use std::time::Duration;

use livery_broker::{Outbound, Target};
use livery_core::{Result, Timestamp};
use livery_store::{ClaimedDelivery, DeliveryAttempt};
use tokio::task::JoinSet;

use super::{SECRET_FIELD, retry, sign};
use crate::Platform;
use crate::effects::{EffectKind, Phase};
use crate::runs::WEBHOOK_SECRET_FIELD;

/// Deliveries under way at a time on one node.
const PARALLEL_MAX: usize = 64;
/// Longest sleep without a ring.
const POLL: Duration = Duration::from_secs(30);
/// The pause between two looks while deliveries are under way.
const UNDER_WAY_PAUSE: Duration = Duration::from_millis(500);
/// How much longer than its attempt a claim lasts.
const CLAIM_MARGIN_MS: i64 = 30_000;
/// Most bytes of a receiver's answer that are read.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// The receiver is gone for good: its endpoint is switched off.
const GONE: u16 = 410;

/// Delivers until the node stops.
pub(crate) async fn deliver(platform: Platform) {
    let mut bell = platform.store.delivery_doorbell();
    let mut under_way: JoinSet<()> = JoinSet::new();
    while !platform.stop.is_cancelled() {
        let room = PARALLEL_MAX - under_way.len();
        match claim(&platform, room).await {
            Ok(claimed) => {
                let full = claimed.len() == room;
                for delivery in claimed {
                    under_way.spawn(attempt(platform.clone(), delivery));
                }
                if full && room > 0 {
                    continue;
                }
            }
            Err(error) => tracing::warn!(%error, "deliveries cannot be claimed"),
        }
        // A delivery under way still counts as due; its end wakes this loop by itself.
        let least = if under_way.is_empty() { Duration::ZERO } else { UNDER_WAY_PAUSE };
        let sleep = until_next(&platform).await.max(least);
        tokio::select! {
            () = platform.stop.cancelled() => {}
            () = bell.rung() => {}
            Some(_) = under_way.join_next() => {}
            () = tokio::time::sleep(sleep) => {}
        }
    }
    // What is under way may end; what is not settled is claimed again by the next life.
    while under_way.join_next().await.is_some() {}
}

async fn claim(platform: &Platform, room: usize) -> Result<Vec<ClaimedDelivery>> {
    let max = u32::try_from(room).unwrap_or(u32::MAX);
    if max == 0 {
        return Ok(Vec::new());
    }
    let (owner, now) = (platform.identity.owner.clone(), platform.clock.now());
    let timeout_ms = i64::try_from(platform.config.webhook_timeout.as_millis()).unwrap_or(i64::MAX);
    let until = now.plus_millis(timeout_ms.saturating_add(CLAIM_MARGIN_MS));
    Ok(platform
        .store
        .write(move |tx| Box::pin(async move { tx.system_claim_deliveries(&owner, now, until, max).await }))
        .await?)
}

async fn until_next(platform: &Platform) -> Duration {
    let Ok(Some(due)) = platform.store.system_next_delivery_at().await else { return POLL };
    // A little late rather than a little early, which would be a turn for nothing.
    Duration::from_millis(due.millis_since(platform.clock.now()).saturating_add(5)).min(POLL)
}

async fn attempt(platform: Platform, delivery: ClaimedDelivery) {
    let now = platform.clock.now();
    platform.reached(EffectKind::WebhookDelivery, Phase::Before);
    let sent = platform.during(EffectKind::WebhookDelivery, send(&platform, &delivery, now)).await;
    platform.reached(EffectKind::WebhookDelivery, Phase::After);
    let result = judge(&platform, &delivery, sent);
    platform.metrics.delivery_attempted(word_of(&result));
    let (org, id, number, webhook) = (delivery.row.org, delivery.row.id, delivery.row.attempt, delivery.row.webhook);
    let gone = matches!(result, DeliveryAttempt::Failed(Some(GONE), _));
    let settled = platform
        .store
        .write(move |tx| {
            Box::pin(async move {
                if let (true, Some(webhook)) = (gone, webhook) {
                    tx.set_webhook_disabled(org, webhook, Some(now)).await?;
                }
                tx.settle_delivery(org, id, number, &result).await
            })
        })
        .await;
    platform.reached(EffectKind::WebhookDelivery, Phase::Committed);
    if let Err(error) = settled {
        tracing::warn!(%error, delivery = %id, "the result of a delivery could not be written; it is sent again");
    }
}

/// What one attempt met: the receiver's status and `Retry-After`, or why there is none.
struct Sent {
    status: u16,
    retry_after_s: Option<u64>,
}

async fn send(platform: &Platform, delivery: &ClaimedDelivery, now: Timestamp) -> Result<Sent, String> {
    let target = Target::full_url(&delivery.url).map_err(|refused| refused.to_string())?;
    let Some(sealed) = &delivery.sealed_secret else { return Err("the webhook was deleted".into()) };
    let org = delivery.row.org;
    let (owner, field) = match delivery.row.webhook {
        Some(webhook) => (webhook.to_string(), SECRET_FIELD),
        None => (delivery.row.run.to_string(), WEBHOOK_SECRET_FIELD),
    };
    let secret = platform.vault.unseal(&platform.store, org, &owner, field, sealed, now).await;
    let secret = secret.map_err(|_| "its signing secret cannot be opened".to_owned())?;
    let key = sign::key_of(&secret)?;
    let (id, seconds) = (delivery.row.event_id.to_string(), now.as_seconds());
    let signature = sign::signature(&key, &id, seconds, delivery.body.as_bytes());
    let mut call = Outbound::post(org, target, delivery.body.clone());
    call.headers = [
        ("content-type", "application/json".to_owned()),
        ("user-agent", concat!("livery/", env!("CARGO_PKG_VERSION")).to_owned()),
        ("webhook-id", id),
        ("webhook-timestamp", seconds.to_string()),
        ("webhook-signature", signature),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    call.timeouts.first_byte = platform.config.webhook_timeout;
    call.timeouts.idle = platform.config.webhook_timeout;
    call.timeouts.total = platform.config.webhook_timeout;
    call.response_bytes_max = ANSWER_BYTES_MAX;
    let answer = platform.broker.send(call).await.map_err(|error| error.to_string())?;
    let status = answer.status.as_u16();
    let retry_after_s = answer.headers.get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    answer.body.finish().await;
    Ok(Sent { status, retry_after_s })
}

/// The outcome as the metrics call it.
const fn word_of(result: &DeliveryAttempt) -> &'static str {
    match result {
        DeliveryAttempt::Delivered(..) => "delivered",
        DeliveryAttempt::Retry(..) => "retried",
        DeliveryAttempt::Failed(..) => "failed",
    }
}

fn judge(platform: &Platform, delivery: &ClaimedDelivery, sent: Result<Sent, String>) -> DeliveryAttempt {
    let now = platform.clock.now();
    let (status, retry_after_s, error) = match sent {
        Ok(Sent { status, .. }) if (200..300).contains(&status) => return DeliveryAttempt::Delivered(now, status),
        Ok(Sent { status: GONE, .. }) => {
            return DeliveryAttempt::Failed(Some(GONE), "410: the endpoint is switched off".into());
        }
        Ok(Sent { status, retry_after_s }) => (Some(status), retry_after_s, format!("the receiver answered {status}")),
        Err(error) => (None, None, error),
    };
    let jitter = u16::try_from(platform.mint() % 1000).unwrap_or(0);
    match retry::next_attempt(now, delivery.row.attempt, retry_after_s, jitter) {
        Some(at) => DeliveryAttempt::Retry(at, status, error),
        None => DeliveryAttempt::Failed(status, error),
    }
}
