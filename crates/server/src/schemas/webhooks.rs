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
    /// When it was switched off: it answered 410, or failed too often.
    #[schema(required)]
    disabled_at: Option<Time>,
    created_at: Time,
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

/// One message to one endpoint.
#[derive(ToSchema)]
pub(crate) struct Delivery {
    id: DeliveryId,
    event_id: WebhookEventId,
    /// The event's name.
    #[schema(rename = "type")]
    event_type: String,
    run_id: RunId,
    /// `pending`, `delivered` or `failed`.
    status: String,
    attempts: u32,
    /// The receiver's last HTTP status.
    #[schema(required)]
    last_status: Option<u16>,
    /// Why the last attempt failed.
    #[schema(required)]
    last_error: Option<String>,
    #[schema(required)]
    next_attempt_at: Option<Time>,
    #[schema(required)]
    delivered_at: Option<Time>,
    created_at: Time,
}

page!(DeliveryPage of Delivery);
