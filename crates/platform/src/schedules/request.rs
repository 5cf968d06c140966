//! What a caller says about a schedule. Closed: an unknown field is an error that names it.

use std::collections::BTreeMap;

use livery_core::Timestamp;
use livery_core::agent::SandboxOverride;
use livery_core::id::{ConnectionId, EndUserId, FileId, WebhookId};
use livery_core::run::Limits;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// What a fire does while a run of the schedule is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// Nothing; the fire is noted as skipped.
    #[default]
    Skip,
    /// Starts a run that waits until the one before it is over.
    Queue,
    /// Cancels the run under way and starts another.
    Replace,
}

/// What becomes of slots nobody was there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// They are skipped, and noted.
    #[default]
    None,
    /// One run for the newest of them.
    Last,
}

/// `POST /v1/schedules`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewSchedule {
    /// A label for people.
    pub name: String,
    /// `"name"` or `"name@version-or-tag"` of a stored agent.
    pub agent: String,
    /// Every run's input; an empty object when absent.
    #[serde(default = "empty_object")]
    pub input: Value,
    /// Five fields, or `@daily` and its like.
    pub cron: String,
    /// The IANA time zone the expression is meant in.
    pub time_zone: String,
    /// What a fire does while a run is under way.
    #[serde(default)]
    pub overlap: Overlap,
    /// Spreads fires over this many seconds after their slot, at most [`JITTER_S_MAX`].
    #[serde(default)]
    pub jitter_s: u32,
    /// What becomes of slots nobody was there for.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// The end user the runs act for; the same as the header field.
    #[serde(default)]
    pub on_behalf_of: Option<EndUserId>,
    /// Created without firing.
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

/// `PATCH /v1/schedules/{id}`: what is absent stays. Null clears `model` and `webhook`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SchedulePatch {
    /// Another label.
    pub name: Option<String>,
    /// Another agent.
    pub agent: Option<String>,
    /// Another input.
    pub input: Option<Value>,
    /// Another expression.
    pub cron: Option<String>,
    /// Another zone.
    pub time_zone: Option<String>,
    /// Another rule for overlap.
    pub overlap: Option<Overlap>,
    /// Another spread.
    pub jitter_s: Option<u32>,
    /// Another rule for what was missed.
    pub catch_up: Option<CatchUp>,
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

/// A field that was sent, null or not.
pub(crate) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

fn empty_object() -> Value {
    Value::Object(Map::new())
}

/// What is asked of a preview.
#[derive(Debug, Clone)]
pub struct PreviewRequest {
    /// The expression.
    pub cron: String,
    /// The zone.
    pub time_zone: String,
    /// How many fires, at most [`PREVIEW_MAX`].
    pub count: u32,
    /// After which moment; now when absent.
    pub after: Option<Timestamp>,
}
