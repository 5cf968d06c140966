//! What a caller says about a trigger. Closed: an unknown field is an error that names it.

use std::collections::BTreeMap;
use std::fmt;

use livery_core::agent::SandboxOverride;
use livery_core::id::{ConnectionId, EndUserId, FileId, WebhookId};
use livery_core::inbound::Filter;
use livery_core::run::Limits;
use livery_core::{Error, Result, Timestamp};
use livery_store::{Json, TriggerRow};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Verification;
use crate::runs::RunTemplate;
use crate::schedules::present;

/// `POST /v1/triggers`.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTrigger {
    /// A label for people.
    pub name: String,
    /// `"name"` or `"name@version-or-tag"` of a stored agent.
    pub agent: String,
    /// How its sender proves who it is.
    pub verification: Verification,
    /// The secret, where the sender makes it; otherwise one is made.
    #[serde(default)]
    pub secret: Option<String>,
    /// Which messages start a run: for a path of the message, the values allowed there.
    #[serde(default)]
    pub filter: Filter,
    /// The run's input, with `{{body.field}}`, `{{headers.name}}` and `{{query.name}}` in its texts. Without it, the body.
    #[serde(default)]
    pub input: Option<Value>,
    /// The end user the runs act for; the same as the header field.
    #[serde(default)]
    pub on_behalf_of: Option<EndUserId>,
    /// Created without starting anything.
    #[serde(default)]
    pub paused: bool,
    /// As in a run.
    #[serde(default)]
    pub model: Option<String>,
    /// As in a run.
    #[serde(default)]
    pub sandbox: SandboxOverride,
    /// As in a run.
    #[serde(default)]
    pub limits: Limits,
    /// As in a run.
    #[serde(default)]
    pub connections: BTreeMap<String, ConnectionId>,
    /// As in a run.
    #[serde(default)]
    pub files: Vec<FileId>,
    /// As in a run.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// The endpoint that is told how a run ended.
    #[serde(default)]
    pub webhook: Option<WebhookId>,
}

impl fmt::Debug for NewTrigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewTrigger").field("name", &self.name).field("agent", &self.agent).finish_non_exhaustive()
    }
}

/// `PATCH /v1/triggers/{id}`: what is absent stays. Null clears `input`, `model` and `webhook`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TriggerPatch {
    /// Another label.
    pub name: Option<String>,
    /// Another agent.
    pub agent: Option<String>,
    /// Other settings of the same kind.
    pub verification: Option<Verification>,
    /// Other conditions.
    pub filter: Option<Filter>,
    /// Another template.
    #[serde(deserialize_with = "present")]
    pub input: Option<Option<Value>>,
    /// Stops or resumes it.
    pub paused: Option<bool>,
    /// Another model.
    #[serde(deserialize_with = "present")]
    pub model: Option<Option<String>>,
    /// Other sandbox settings.
    pub sandbox: Option<SandboxOverride>,
    /// Other limits.
    pub limits: Option<Limits>,
    /// Other connections.
    pub connections: Option<BTreeMap<String, ConnectionId>>,
    /// Other files.
    pub files: Option<Vec<FileId>>,
    /// Other labels.
    pub metadata: Option<Map<String, Value>>,
    /// Another endpoint.
    #[serde(deserialize_with = "present")]
    pub webhook: Option<Option<WebhookId>>,
}

/// `POST /v1/triggers/{id}/rotate`.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RotateTrigger {
    /// The new secret, where the sender makes it; otherwise one is made.
    pub secret: Option<String>,
    /// How long the old one holds (24).
    pub overlap_hours: Option<u32>,
}

/// The row with what the owner changed.
pub(super) fn patched(before: &TriggerRow, patch: TriggerPatch, now: Timestamp) -> Result<TriggerRow> {
    let mut row = before.clone();
    let mut template: RunTemplate = before.request.parse()?;
    if let Some(verification) = patch.verification {
        let known: Verification = before.verification.parse()?;
        if std::mem::discriminant(&known) != std::mem::discriminant(&verification) {
            let detail = "another kind needs another secret: create another trigger";
            return Err(Error::invalid_field("/verification/kind", detail));
        }
        row.verification = Json::of(&verification)?;
    }
    if let Some(filter) = patch.filter {
        row.filter = Json::of(&filter)?;
    }
    if let Some(input) = patch.input {
        row.template = input.as_ref().map(Json::of).transpose()?;
    }
    row.name = patch.name.unwrap_or(row.name);
    template.agent = patch.agent.unwrap_or(template.agent);
    template.model = patch.model.unwrap_or(template.model);
    template.sandbox = patch.sandbox.unwrap_or(template.sandbox);
    template.limits = patch.limits.unwrap_or(template.limits);
    template.connections = patch.connections.unwrap_or(template.connections);
    template.files = patch.files.unwrap_or(template.files);
    template.metadata = patch.metadata.unwrap_or(template.metadata);
    template.webhook = patch.webhook.unwrap_or(template.webhook);
    row.request = Json::of(&template)?;
    match patch.paused {
        Some(true) => row.paused_at = row.paused_at.or(Some(now)),
        Some(false) => row.paused_at = None,
        None => {}
    }
    row.updated_at = now;
    Ok(row)
}
