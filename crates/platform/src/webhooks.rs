//! Webhook endpoints and their deliveries.
//!
//! A run writes what it has to tell into the outbox, in its own transaction (`outbox`); a loop of each node sends it
//! (`deliver`, `attempt`), within fair shares (`shares`), signed (`sign`), again when it failed (`retry`), and not at all while
//! an endpoint's circuit is open (`circuit`). What callers see and do is in `endpoints` and `deliveries`.

mod attempt;
mod circuit;
mod deliver;
mod deliveries;
mod endpoints;
mod outbox;
mod retry;
mod shares;
pub(crate) mod sign;

use livery_core::Timestamp;
use livery_core::id::{AppId, DeliveryId, OrgId, RunId, WebhookEventId, WebhookId};
pub use livery_store::{DeliveryFilter, DeliveryStatus};
use serde::{Deserialize, Deserializer, Serialize};

pub use self::attempt::AttemptView;
pub(crate) use self::deliver::deliver;
pub(crate) use self::outbox::Outbox;
pub(crate) use self::shares::ready_at;

/// Most endpoints of one application.
pub const WEBHOOKS_PER_APPLICATION_MAX: u32 = 20;
/// Longest address.
pub const URL_BYTES_MAX: usize = 2048;

/// `POST /v1/webhooks`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewWebhook {
    /// Where deliveries go: `https://…`, or an address the operator allows.
    pub url: String,
    /// `run.*` or exact names.
    pub events: Vec<String>,
    /// For people.
    #[serde(default)]
    pub description: Option<String>,
    /// `["v1"]`, or `["v1", "v1a"]`.
    #[serde(default)]
    pub signatures: Option<Vec<String>>,
}

/// `PATCH /v1/webhooks/{id}`: what is absent stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeWebhook {
    /// Where deliveries go from now on, pending ones included.
    #[serde(default)]
    pub url: Option<String>,
    /// What it listens to from now on.
    #[serde(default)]
    pub events: Option<Vec<String>>,
    /// For people; null removes it.
    #[serde(default, deserialize_with = "given")]
    pub description: Option<Option<String>>,
    /// `false` cancels what is pending; `true` lets new deliveries through.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// `["v1"]`, or `["v1", "v1a"]`.
    #[serde(default)]
    pub signatures: Option<Vec<String>>,
}

/// `POST /v1/webhooks/{id}/rotate`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateWebhook {
    /// How long the old keys sign along, in seconds; a day when absent, at most a week.
    #[serde(default)]
    pub overlap_s: Option<u64>,
}

/// Tells a null from an absent field.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// An endpoint without its secret.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WebhookView {
    /// Its id.
    pub id: WebhookId,
    /// Where deliveries go.
    pub url: String,
    /// What it listens to.
    pub events: Vec<String>,
    /// For people.
    pub description: Option<String>,
    /// The tenant.
    pub organization: OrgId,
    /// The application.
    pub application: Option<AppId>,
    /// The kinds of signatures it gets.
    pub signatures: Vec<String>,
    /// `whpk_…`: what its `v1a` signatures are verified with.
    pub public_key: Option<String>,
    /// Until when the keys before the last rotation sign along.
    pub old_keys_until: Option<Timestamp>,
    /// When it was switched off.
    pub disabled_at: Option<Timestamp>,
    /// Why.
    pub disabled_reason: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// An endpoint and how its receiver does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WebhookDetail {
    /// The endpoint.
    #[serde(flatten)]
    pub view: WebhookView,
    /// Its circuit.
    pub circuit: CircuitView,
}

/// Whether a receiver is sent everything, or asked now and then whether it is back.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CircuitView {
    /// `closed`, or `open`: only probes are sent.
    pub state: &'static str,
    /// Failures since the last success.
    pub failures: u32,
    /// Since when nothing succeeded.
    pub failing_since: Option<Timestamp>,
    /// Since when it is open.
    pub opened_at: Option<Timestamp>,
    /// When the next probe is due.
    pub next_probe_at: Option<Timestamp>,
    /// The receiver asked for time until then.
    pub paused_until: Option<Timestamp>,
}

/// A new endpoint: the only answer that ever carries the secret.
#[derive(Clone, PartialEq, Serialize)]
pub struct WebhookCreated {
    /// The endpoint.
    #[serde(flatten)]
    pub view: WebhookView,
    /// `whsec_…`: deliveries are signed with it (Standard Webhooks, `v1`).
    pub secret: String,
}

/// What became of `POST /v1/webhooks/{id}/test`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WebhookTested {
    /// The `webhook-id` header of the message.
    pub event_id: WebhookEventId,
    /// Whether the receiver took it: a 2xx.
    pub delivered: bool,
    /// The receiver's HTTP status; none when there was no answer.
    pub status: Option<u16>,
    /// Why it was not taken.
    pub error: Option<String>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// One message to one endpoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeliveryView {
    /// Its id.
    pub id: DeliveryId,
    /// The `webhook-id` header, the same at every attempt.
    pub event_id: WebhookEventId,
    /// The event's name.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The run it tells of.
    pub run_id: RunId,
    /// `pending`, `delivered`, `failed` or `cancelled`.
    pub status: String,
    /// The delivery this one repeats.
    pub redelivery_of: Option<DeliveryId>,
    /// Attempts so far.
    pub attempts: u32,
    /// The last ten of them, the oldest first.
    pub attempt_log: Vec<AttemptView>,
    /// The receiver's last HTTP status.
    pub last_status: Option<u16>,
    /// Why the last attempt failed, or why it was cancelled.
    pub last_error: Option<String>,
    /// When the next attempt is due.
    pub next_attempt_at: Option<Timestamp>,
    /// When it was delivered.
    pub delivered_at: Option<Timestamp>,
    /// When it was written down.
    pub created_at: Timestamp,
}

/// What an endpoint's secret is sealed as.
pub(crate) const SECRET_FIELD: &str = "signing_secret";
/// What the seed of its Ed25519 key is sealed as.
pub(crate) const KEY_FIELD: &str = "signing_key";
