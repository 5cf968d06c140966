//! One attempt: sign, send through the broker, and write down what it means for the delivery, the destination and the
//! endpoint, in one transaction.

use livery_broker::{Outbound, Target};
use livery_core::Timestamp;
use livery_core::id::{OrgId, RunId, WebhookId};
use livery_store::{CircuitFailure, ClaimedDelivery, DeliveryAttempt, Json, Tx, WebhookRow};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::sign::Keys;
use super::{circuit, retry};
use crate::Platform;
use crate::audit::note;
use crate::effects::{EffectKind, Phase};

/// Most bytes of a receiver's answer that are read.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// The receiver is gone for good: its endpoint is switched off.
const GONE: u16 = 410;
/// Attempts a delivery remembers: the last ones.
const LOG_MAX: usize = 10;
/// Longest error in that log, in characters.
const LOG_ERROR_CHARS_MAX: usize = 200;

/// One attempt of a delivery, as its log shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttemptView {
    /// Counted from 1.
    pub number: u32,
    /// When it began.
    pub at: Timestamp,
    /// How long the receiver took, in milliseconds.
    pub duration_ms: u64,
    /// The receiver's HTTP status; none when there was no answer.
    pub status: Option<u16>,
    /// Why it was not taken.
    pub error: Option<String>,
    /// Whether it probed an open circuit.
    pub probe: bool,
}

/// What a receiver answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) retry_after_s: Option<u64>,
}

impl Answered {
    pub(super) fn is_success(self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// What one attempt met.
enum Met {
    /// An answer.
    Answer(Answered),
    /// None, and why.
    Nothing(String),
    /// It was not sent: there is nobody to send it to any more.
    Cancelled(String),
}

/// What is written down about an attempt.
struct Finding {
    delivery: ClaimedDelivery,
    begun: Timestamp,
    now: Timestamp,
    met: Met,
    jitter_per_mille: u16,
}

/// Makes one attempt and settles it.
pub(super) async fn attempt(platform: Platform, delivery: ClaimedDelivery) {
    let begun = platform.clock.now();
    platform.reached(EffectKind::WebhookDelivery, Phase::Before);
    let met = platform.during(EffectKind::WebhookDelivery, meet(&platform, &delivery, begun)).await;
    platform.reached(EffectKind::WebhookDelivery, Phase::After);
    let (id, org, run, webhook) = (delivery.row.id, delivery.row.org, delivery.row.run, delivery.row.webhook);
    let jitter_per_mille = u16::try_from(platform.mint() % 1000).unwrap_or(0);
    let finding = Finding { delivery, begun, now: platform.clock.now(), met, jitter_per_mille };
    let settled = platform.store.write(move |tx| Box::pin(async move { finding.settle(tx).await })).await;
    platform.reached(EffectKind::WebhookDelivery, Phase::Committed);
    match settled {
        Ok(outcome) => {
            platform.metrics.delivery_attempted(outcome);
            if let (Some(webhook), false) = (webhook, platform.store.is_embedded()) {
                call_next(&platform, org, webhook, run).await;
            }
        }
        Err(error) => {
            tracing::warn!(%error, delivery = %id, "the result of a delivery could not be written; it is sent again");
        }
    }
}

/// Another node may have put the run's next delivery off behind this one while this one's end was not committed, and so not
/// seen. On an embedded database, where one writes at a time, that cannot be.
async fn call_next(platform: &Platform, org: OrgId, webhook: WebhookId, run: RunId) {
    let now = platform.clock.now();
    let called = platform.store.write(move |tx| Box::pin(tx.call_next_delivery(org, webhook, run, now))).await;
    if let Err(error) = called {
        tracing::warn!(%error, %run, "the next delivery could not be called; it comes by itself within a minute");
    }
}

/// The outcome as the metrics call it.
const fn word_of(result: &DeliveryAttempt) -> &'static str {
    match result {
        DeliveryAttempt::Delivered(..) => "delivered",
        DeliveryAttempt::Retry { .. } => "retried",
        DeliveryAttempt::Failed(..) => "failed",
        DeliveryAttempt::Cancelled(..) => "cancelled",
    }
}

async fn meet(platform: &Platform, delivery: &ClaimedDelivery, now: Timestamp) -> Met {
    let row = &delivery.row;
    let (keys, url) = match (&delivery.webhook, row.webhook) {
        (Some(WebhookRow { disabled_at: Some(_), disabled_reason, .. }), _) => {
            let reason = disabled_reason.as_deref().unwrap_or("no reason is known");
            return Met::Cancelled(format!("the webhook is disabled: {reason}"));
        }
        (None, Some(_)) => return Met::Cancelled("the webhook was deleted".into()),
        (Some(webhook), _) => (Keys::of_endpoint(platform, webhook, now).await, &webhook.url),
        (None, None) => {
            let sealed = delivery.sealed_secret.as_deref();
            (Keys::of_run(platform, row.org, row.run, sealed, now).await, &row.url)
        }
    };
    let keys = match keys {
        Ok(keys) => keys,
        Err(error) => return Met::Nothing(error),
    };
    let id = row.event_id.to_string();
    match send(platform, row.org, url, &keys, &id, now, delivery.body.clone()).await {
        Ok(answered) => Met::Answer(answered),
        Err(error) => Met::Nothing(error),
    }
}

/// Posts one signed message. A redirect is an answer like any other and is never followed.
pub(super) async fn send(
    platform: &Platform,
    org: OrgId,
    url: &str,
    keys: &Keys,
    id: &str,
    now: Timestamp,
    body: String,
) -> Result<Answered, String> {
    let target = Target::full_url(url).map_err(|refused| refused.to_string())?;
    let seconds = now.as_seconds();
    let signature = keys.signatures(id, seconds, body.as_bytes());
    let mut call = Outbound::post(org, target, body);
    call.headers = [
        ("content-type", "application/json".to_owned()),
        ("user-agent", concat!("livery/", env!("CARGO_PKG_VERSION")).to_owned()),
        ("webhook-id", id.to_owned()),
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
    Ok(Answered { status, retry_after_s })
}

impl Finding {
    async fn settle(self, tx: &mut Tx) -> livery_store::Result<&'static str> {
        let (org, destination) = (self.delivery.row.org, self.delivery.row.destination.clone());
        match &self.met {
            Met::Answer(answered) if answered.is_success() => {
                let outcome = self.write(tx, &DeliveryAttempt::Delivered(self.now, answered.status), None).await?;
                if tx.close_circuit(org, &destination).await? {
                    tx.catch_up_deliveries(org, &destination, self.now).await?;
                }
                Ok(outcome)
            }
            Met::Answer(Answered { status: GONE, .. }) => {
                let result = DeliveryAttempt::Failed(Some(GONE), "410: the receiver is gone for good".into());
                let outcome = self.write(tx, &result, Some(GONE)).await?;
                if self.delivery.row.webhook.is_some() {
                    self.give_up(tx, "its receiver answered 410").await?;
                }
                Ok(outcome)
            }
            Met::Answer(answered) => {
                let error = format!("the receiver answered {}", answered.status);
                self.failed(tx, Some(*answered), error).await
            }
            Met::Nothing(error) => self.failed(tx, None, error.clone()).await,
            Met::Cancelled(reason) => self.write(tx, &DeliveryAttempt::Cancelled(reason.clone()), None).await,
        }
    }

    /// A failure counts against the destination; when everything has failed for days, it is given up.
    async fn failed(
        &self,
        tx: &mut Tx,
        answered: Option<Answered>,
        error: String,
    ) -> livery_store::Result<&'static str> {
        let row = &self.delivery.row;
        let failure = CircuitFailure {
            at: self.now,
            probe: self.delivery.probe,
            pause_until: answered.and_then(|answered| circuit::pause_until(self.now, answered)),
            threshold: circuit::OPENING_FAILURES,
            probe_wait_ms: circuit::first_probe_wait_ms(self.jitter_per_mille),
            probe_wait_max_ms: circuit::PROBE_WAIT_MAX_MS,
        };
        let state = tx.fail_circuit(row.org, &row.destination, failure).await?;
        let status = answered.map(|answered| answered.status);
        let retry_after_s = answered.and_then(|answered| answered.retry_after_s);
        let counted = row.attempt.saturating_sub(row.probes);
        let result = match (self.delivery.probe, state.next_probe_at) {
            (true, Some(at)) => DeliveryAttempt::Retry { at, status, error, probe: true },
            _ => match retry::next_attempt(self.now, counted, retry_after_s, self.jitter_per_mille) {
                Some(at) => DeliveryAttempt::Retry { at, status, error, probe: false },
                None => DeliveryAttempt::Failed(status, error),
            },
        };
        let outcome = self.write(tx, &result, status).await?;
        if circuit::is_hopeless(self.now, &state) {
            self.give_up(tx, circuit::HOPELESS).await?;
        }
        Ok(outcome)
    }

    /// Switches the endpoint off and tells its owner through the organization's stream.
    async fn give_up(&self, tx: &mut Tx, reason: &str) -> livery_store::Result<()> {
        let row = &self.delivery.row;
        let Some(webhook) = row.webhook else {
            return tx.cancel_deliveries(row.org, &row.destination, reason).await.map(drop);
        };
        if tx.disable_webhook(row.org, webhook, self.now, reason).await? {
            tracing::warn!(%webhook, reason, "a webhook is disabled");
            let data = json!({"webhook": webhook, "reason": reason, "delivery": row.id});
            note(tx, row.org, "webhook.disabled", self.now, "system", data).await?;
        }
        Ok(())
    }

    async fn write(
        &self,
        tx: &mut Tx,
        result: &DeliveryAttempt,
        status: Option<u16>,
    ) -> livery_store::Result<&'static str> {
        let row = &self.delivery.row;
        let (status, error) = match result {
            DeliveryAttempt::Delivered(_, status) => (Some(*status), None),
            DeliveryAttempt::Retry { error, .. } | DeliveryAttempt::Failed(_, error) => (status, Some(error)),
            DeliveryAttempt::Cancelled(reason) => (None, Some(reason)),
        };
        let attempt = AttemptView {
            number: row.attempt,
            at: self.begun,
            duration_ms: self.now.millis_since(self.begun),
            status,
            error: error.map(|error| error.chars().take(LOG_ERROR_CHARS_MAX).collect()),
            probe: self.delivery.probe,
        };
        let log = Json::of(&log_with(row.attempt_log.as_ref(), attempt))?;
        tx.settle_delivery(row.org, row.id, row.attempt, log, self.now, result).await?;
        Ok(word_of(result))
    }
}

/// The log of a row; one that cannot be read is begun anew.
pub(super) fn log_of(stored: Option<&Json>) -> Vec<AttemptView> {
    stored.and_then(|log| log.parse().ok()).unwrap_or_default()
}

fn log_with(stored: Option<&Json>, attempt: AttemptView) -> Vec<AttemptView> {
    let mut log = log_of(stored);
    log.push(attempt);
    let surplus = log.len().saturating_sub(LOG_MAX);
    log.drain(..surplus);
    log
}
