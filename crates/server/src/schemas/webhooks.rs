//! Webhook endpoints and their deliveries.

use serde::Deserialize;
use utoipa::ToSchema;

use super::{AppId, DeliveryId, OrgId, RunId, Time, WebhookEventId, WebhookId, page};

/// A new webhook endpoint.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"url": "https://example.com/hook", "events": ["run.*"]}))]
pub(crate) struct NewWebhook {
    /// `https://…`, or an address the operator allows.
    #[schema(max_length = 2048)]
    url: String,
    /// `run.*` or exact names of events.
    #[schema(min_items = 1, max_items = 32)]
    events: Vec<String>,
    /// For people.
    description: Option<String>,
    /// `["v1"]` (the default), or `["v1", "v1a"]` for Ed25519 signatures beside the symmetric ones.
    #[schema(min_items = 1, max_items = 2)]
    signatures: Option<Vec<String>>,
}

/// Changes of a webhook endpoint; what is absent stays as it is.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"events": ["run.succeeded", "run.failed"]}))]
pub(crate) struct ChangeWebhook {
    /// `https://…`, or an address the operator allows. Pending deliveries go there as well.
    #[schema(max_length = 2048)]
    url: Option<String>,
    /// `run.*` or exact names of events.
    #[schema(min_items = 1, max_items = 32)]
    events: Option<Vec<String>>,
    /// For people; null removes it.
    description: Option<String>,
    /// `false` switches it off and cancels what is pending; `true` lets new deliveries through.
    enabled: Option<bool>,
    /// `["v1"]`, or `["v1", "v1a"]`.
    #[schema(min_items = 1, max_items = 2)]
    signatures: Option<Vec<String>>,
}

/// How an endpoint's keys are rotated.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"overlap_s": 86400}))]
pub(crate) struct RotateWebhook {
    /// How long the old keys sign along, in seconds: a day when absent, at most a week.
    #[schema(maximum = 604_800)]
    overlap_s: Option<u64>,
}

/// A webhook endpoint without its secret.
#[derive(ToSchema)]
pub(crate) struct Webhook {
    id: WebhookId,
    url: String,
    events: Vec<String>,
    #[schema(required)]
    description: Option<String>,
    organization: OrgId,
    #[schema(required)]
    application: Option<AppId>,
    /// The kinds of signatures it gets: `v1`, `v1a`.
    signatures: Vec<String>,
    /// `whpk_…`: what its `v1a` signatures are verified with.
    #[schema(required)]
    public_key: Option<String>,
    /// Until when the keys before the last rotation sign along.
    #[schema(required)]
    old_keys_until: Option<Time>,
    /// When it was switched off: by its owner, because it answered 410, or after three days without a success.
    #[schema(required)]
    disabled_at: Option<Time>,
    /// Why.
    #[schema(required)]
    disabled_reason: Option<String>,
    created_at: Time,
}

/// A webhook endpoint and how its receiver does.
#[derive(ToSchema)]
pub(crate) struct WebhookDetail {
    #[schema(inline)]
    #[serde(flatten)]
    view: Webhook,
    circuit: Circuit,
}

/// Whether a receiver is sent everything, or asked now and then whether it is back.
#[derive(ToSchema)]
pub(crate) struct Circuit {
    /// `closed`, or `open`: only probes are sent.
    state: String,
    /// Failures since the last success.
    failures: u32,
    /// Since when nothing succeeded.
    #[schema(required)]
    failing_since: Option<Time>,
    #[schema(required)]
    opened_at: Option<Time>,
    #[schema(required)]
    next_probe_at: Option<Time>,
    /// The receiver asked for time until then.
    #[schema(required)]
    paused_until: Option<Time>,
}

/// What became of a test message.
#[derive(ToSchema)]
pub(crate) struct WebhookTested {
    event_id: WebhookEventId,
    /// Whether the receiver took it: a 2xx.
    delivered: bool,
    /// The receiver's HTTP status.
    #[schema(required)]
    status: Option<u16>,
    /// Why it was not taken.
    #[schema(required)]
    error: Option<String>,
    duration_ms: u64,
}

page!(WebhookPage of Webhook);

/// A new webhook endpoint with its secret.
#[derive(ToSchema)]
pub(crate) struct WebhookCreated {
    #[schema(inline)]
    #[serde(flatten)]
    view: Webhook,
    /// `whsec_…`, shown this once: deliveries are signed with it (Standard Webhooks, `v1`).
    secret: String,
}

/// Where a delivery stands.
#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "the document's shape alone")]
pub(crate) enum DeliveryStatus {
    Pending,
    Delivered,
    Failed,
    Cancelled,
}

/// One attempt of a delivery.
#[derive(ToSchema)]
pub(crate) struct Attempt {
    /// Counted from 1.
    number: u32,
    at: Time,
    duration_ms: u64,
    /// The receiver's HTTP status.
    #[schema(required)]
    status: Option<u16>,
    /// Why it was not taken.
    #[schema(required)]
    error: Option<String>,
    /// Whether it probed an open circuit.
    probe: bool,
}

/// One message to one endpoint.
#[derive(ToSchema)]
pub(crate) struct Delivery {
    id: DeliveryId,
    event_id: WebhookEventId,
    /// The event's name.
    #[schema(rename = "type")]
    event_type: String,
    run_id: RunId,
    status: DeliveryStatus,
    /// The delivery this one repeats.
    #[schema(required)]
    redelivery_of: Option<DeliveryId>,
    attempts: u32,
    /// The last ten attempts, the oldest first.
    attempt_log: Vec<Attempt>,
    /// The receiver's last HTTP status.
    #[schema(required)]
    last_status: Option<u16>,
    /// Why the last attempt failed, or why the delivery was cancelled.
    #[schema(required)]
    last_error: Option<String>,
    #[schema(required)]
    next_attempt_at: Option<Time>,
    #[schema(required)]
    delivered_at: Option<Time>,
    created_at: Time,
}

page!(DeliveryPage of Delivery);
