//! Webhook endpoints and their deliveries.

use livery_core::Timestamp;
use livery_core::id::{AppId, DeliveryId, OrgId, RunId, WebhookEventId, WebhookId};
use serde::{Deserialize, Serialize};

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
    /// When it was switched off (410, or too many failures).
    pub disabled_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
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
    /// `pending`, `delivered` or `failed`.
    pub status: String,
    /// Attempts so far.
    pub attempts: u32,
    /// The receiver's last HTTP status.
    pub last_status: Option<u16>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// When the next attempt is due.
    pub next_attempt_at: Option<Timestamp>,
    /// When it was delivered.
    pub delivered_at: Option<Timestamp>,
    /// When it was written down.
    pub created_at: Timestamp,
}
