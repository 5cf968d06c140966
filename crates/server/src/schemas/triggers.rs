//! Triggers, what is sent to them, and what came of it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::runs::{Limits, SandboxOverride};
use super::{AppId, ConnectionId, EndUserId, FileId, KeyId, OrgId, RequestId, RunId, Time, TriggerId, WebhookId, page};

/// What to run when a message comes, and whom to believe.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Issues", "agent": "support-triage", "verification": {"kind": "github"}, "filter": {"headers.x-github-event": ["issues"], "body.action": ["opened"]}, "input": {"ticket": "{{body.issue.title}}: {{body.issue.body}}"}}))]
pub(crate) struct NewTrigger {
    /// A label for people.
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// `name` or `name@version-or-tag` of a stored agent; without a version, the latest at the time.
    agent: String,
    #[schema(inline)]
    verification: Verification,
    /// Needed for `stripe` and `slack`, whose senders make it; otherwise one is made when it is absent.
    #[schema(min_length = 16, max_length = 512)]
    secret: Option<String>,
    /// By path of the message, such as `body.action` or `headers.x-github-event`, the values allowed there. All have to be
    /// met; otherwise the message is ignored.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, Vec<Value>>)]
    filter: Option<BTreeMap<String, Vec<Value>>>,
    /// The run's input. Texts may hold `{{body.field.0}}`, `{{headers.name}}` and `{{query.name}}`, with a default after a
    /// bar. A text that is nothing else becomes the value itself. Without a template, the body is the input.
    #[schema(value_type = Value)]
    input: Option<Value>,
    /// The end user the runs act for; needs the scope `end_users:act`.
    #[schema(value_type = Option<EndUserId>)]
    on_behalf_of: Option<String>,
    /// Created without starting anything.
    #[serde(default)]
    #[schema(value_type = bool)]
    paused: Option<bool>,
    /// As in a run.
    model: Option<String>,
    /// As in a run.
    #[serde(default)]
    #[schema(inline, value_type = SandboxOverride)]
    sandbox: Option<SandboxOverride>,
    /// As in a run.
    #[serde(default)]
    #[schema(inline, value_type = Limits)]
    limits: Option<Limits>,
    /// As in a run.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, ConnectionId>)]
    connections: Option<BTreeMap<String, String>>,
    /// As in a run.
    #[serde(default)]
    #[schema(value_type = Vec<FileId>, max_items = 100)]
    files: Option<Vec<String>>,
    /// As in a run.
    #[serde(default)]
    #[schema(value_type = Object)]
    metadata: Option<Map<String, Value>>,
    /// The endpoint that is told how a run ended.
    #[schema(value_type = Option<WebhookId>)]
    webhook: Option<String>,
}

/// How a sender proves who it is.
#[derive(ToSchema, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Verification {
    /// `webhook-id`, `webhook-timestamp` and `webhook-signature` of Standard Webhooks.
    StandardWebhooks {},
    /// `X-Hub-Signature-256`.
    Github {},
    /// `Stripe-Signature`.
    Stripe {},
    /// `X-Slack-Signature`.
    Slack {},
    /// HMAC-SHA256 in another way.
    Hmac {
        /// The header field with the signature.
        header: String,
        #[schema(inline)]
        encoding: Option<Encoding>,
        /// What stands before it, such as `sha256=`.
        prefix: Option<String>,
        /// The header field with the Unix time in seconds.
        timestamp_header: Option<String>,
        /// What is signed: `{body}`, and `{timestamp}` where there is one.
        signed: Option<String>,
        /// Where in the body the id of a message stands, such as `body.id`.
        id_path: Option<String>,
    },
    /// `Authorization: Bearer` with the secret.
    Bearer {
        /// The header field with the id of a message.
        id_header: Option<String>,
    },
}

#[derive(ToSchema, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Encoding {
    Hex,
    Base64,
}

/// What should change. What is absent stays.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"paused": true}))]
pub(crate) struct TriggerPatch {
    #[schema(min_length = 1, max_length = 200)]
    name: Option<String>,
    agent: Option<String>,
    /// Of the same kind.
    #[schema(inline)]
    verification: Option<Verification>,
    #[schema(value_type = Option<BTreeMap<String, Vec<Value>>>)]
    filter: Option<BTreeMap<String, Vec<Value>>>,
    /// Null: the body.
    #[schema(value_type = Value)]
    input: Option<Value>,
    paused: Option<bool>,
    /// Null: the agent's own.
    model: Option<String>,
    #[schema(inline)]
    sandbox: Option<SandboxOverride>,
    #[schema(inline)]
    limits: Option<Limits>,
    #[schema(value_type = Option<BTreeMap<String, ConnectionId>>)]
    connections: Option<BTreeMap<String, String>>,
    #[schema(value_type = Option<Vec<FileId>>, max_items = 100)]
    files: Option<Vec<String>>,
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
    /// Null: none.
    #[schema(value_type = Option<WebhookId>)]
    webhook: Option<String>,
}

/// A new secret.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateTrigger {
    /// Where the sender makes it; otherwise one is made.
    #[schema(min_length = 16, max_length = 512)]
    secret: Option<String>,
    /// How long the old one holds (24).
    #[schema(maximum = 168)]
    overlap_hours: Option<u32>,
}

/// A trigger without its secret.
#[derive(ToSchema)]
pub(crate) struct Trigger {
    id: TriggerId,
    name: String,
    /// Where its sender posts to, below the server's own address.
    path: String,
    #[schema(value_type = Object)]
    verification: Map<String, Value>,
    #[schema(value_type = BTreeMap<String, Vec<Value>>)]
    filter: BTreeMap<String, Vec<Value>>,
    /// The template; null: the body is the input.
    #[schema(value_type = Value)]
    input: Option<Value>,
    agent: String,
    #[schema(required)]
    model: Option<String>,
    #[schema(inline)]
    sandbox: SandboxOverride,
    #[schema(inline)]
    limits: Limits,
    connections: BTreeMap<String, ConnectionId>,
    files: Vec<FileId>,
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
    #[schema(required)]
    webhook: Option<WebhookId>,
    paused: bool,
    /// Until when the secret before the last rotation holds.
    #[schema(required)]
    previous_secret_until: Option<Time>,
    #[schema(required)]
    on_behalf_of: Option<EndUserId>,
    organization: OrgId,
    #[schema(required)]
    application: Option<AppId>,
    /// The key that created it. The trigger goes on without it.
    created_by: KeyId,
    created_at: Time,
    updated_at: Time,
}

page!(TriggerPage of Trigger);

/// A trigger with its secret.
#[derive(ToSchema)]
pub(crate) struct TriggerWithSecret {
    #[schema(inline)]
    #[serde(flatten)]
    trigger: Trigger,
    /// What its sender signs with; shown this once.
    secret: String,
}

/// One message to a trigger.
#[derive(ToSchema)]
pub(crate) struct TriggerDelivery {
    /// The request that brought it.
    id: RequestId,
    /// What its sender calls it.
    #[schema(required)]
    delivery_id: Option<String>,
    /// `started`, `ignored` or `rejected`.
    outcome: String,
    #[schema(required)]
    run: Option<RunId>,
    /// Why it started none.
    #[schema(required)]
    reason: Option<String>,
    received_at: Time,
}

page!(TriggerDeliveryPage of TriggerDelivery);

/// What became of a message.
#[derive(ToSchema)]
pub(crate) struct TriggerReceipt {
    /// `accepted`, `replayed` or `ignored`.
    status: String,
    /// The run it started, now or the first time.
    #[schema(required)]
    run: Option<RunId>,
}
