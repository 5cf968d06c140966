//! What a caller says to start a run. Closed: an unknown field is an error that names it.

use std::collections::BTreeMap;
use std::fmt;

use livery_core::agent::{SandboxOverride, WorkspaceOverride};
use livery_core::id::{AgentId, AppId, ConnectionId, EndUserId, FileId, ScheduleId, TriggerId, WebhookId};
use livery_core::run::Limits;
use livery_core::{Error, Result, RunStatus, Timestamp};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::agents::InlineAgent;

/// Most keys of `metadata`.
pub const METADATA_KEYS_MAX: usize = 50;
/// Most bytes of `metadata` as JSON.
pub const METADATA_BYTES_MAX: usize = 16 * 1024;
/// How far ahead a run may be accepted: a year.
pub const START_AHEAD_S_MAX: u64 = 366 * 24 * 3600;
/// Most input files of a run.
pub const INPUT_FILES_MAX: usize = 100;

/// `POST /v1/runs`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartRun {
    /// Which agent.
    pub agent: AgentSource,
    /// Its input; an empty object when absent.
    #[serde(default = "empty_object")]
    pub input: Value,
    /// Instead of the agent's own model: `PROVIDER/MODEL`.
    #[serde(default)]
    pub model: Option<String>,
    /// Instead of the agent's own sandbox settings, field by field.
    #[serde(default)]
    pub sandbox: SandboxOverride,
    /// Instead of what the agent says of its workspace.
    #[serde(default)]
    pub workspace: WorkspaceOverride,
    /// Tighter limits than the agent's own.
    #[serde(default)]
    pub limits: Limits,
    /// Which connection fills which slot.
    #[serde(default)]
    pub connections: BTreeMap<String, ConnectionId>,
    /// Files laid into `/workspace` under their names.
    #[serde(default)]
    pub files: Vec<FileId>,
    /// The caller's own labels.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// Who is told how it ended, besides the endpoints that listen anyway.
    #[serde(default)]
    pub webhook: Option<RunWebhook>,
    /// Not to be started before this moment, at most [`START_AHEAD_S_MAX`] ahead; one that has passed is now.
    #[serde(default)]
    pub start_at: Option<Timestamp>,
    /// The same as seconds from now; only one of the two.
    #[serde(default)]
    pub delay_s: Option<u64>,
}

fn empty_object() -> Value {
    Value::Object(Map::new())
}

/// `"name"`, `"name@version-or-tag"`, or the agent itself.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentSource {
    /// A stored agent.
    Named(String),
    /// The agent itself.
    Inline(InlineAgent),
    /// The agent of a run that exists; no request can say it.
    OfRun(AgentId),
}

/// `"whk_…"`, or `{url, secret}` for this run alone.
#[derive(Debug, Clone, PartialEq)]
pub enum RunWebhook {
    /// A stored endpoint, whatever events it filters.
    Endpoint(WebhookId),
    /// An address for this run alone.
    Inline(InlineWebhook),
}

/// An address for one run.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InlineWebhook {
    /// Where to.
    pub url: String,
    /// `whsec_…`: what the deliveries are signed with.
    pub secret: String,
}

impl fmt::Debug for InlineWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InlineWebhook").field("url", &self.url).finish_non_exhaustive()
    }
}

/// What a list of runs is narrowed to.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct RunFilter {
    /// In this state.
    pub status: Option<RunStatus>,
    /// Of this agent.
    pub agent: Option<String>,
    /// Of this application.
    pub application: Option<AppId>,
    /// For this end user.
    pub end_user: Option<EndUserId>,
    /// Not before.
    pub created_after: Option<Timestamp>,
    /// Before.
    pub created_before: Option<Timestamp>,
    /// Started by this schedule.
    pub schedule: Option<ScheduleId>,
    /// Started by this trigger.
    pub trigger: Option<TriggerId>,
    /// With all these labels.
    pub metadata: BTreeMap<String, String>,
}

/// Text or an object: told apart by what stands there, so that an error names the field inside the object.
macro_rules! text_or_object {
    ($target:ident, $expecting:literal, $text:expr, $object:ident as $inner:ty) => {
        impl<'de> Deserialize<'de> for $target {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct TextOrObject;

                impl<'de> Visitor<'de> for TextOrObject {
                    type Value = $target;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$target, E> {
                        let parse: fn(&str) -> Result<$target, String> = $text;
                        parse(text).map_err(E::custom)
                    }

                    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<$target, A::Error> {
                        <$inner>::deserialize(MapAccessDeserializer::new(map)).map($target::$object)
                    }
                }

                deserializer.deserialize_any(TextOrObject)
            }
        }
    };
}

text_or_object!(
    AgentSource,
    "an agent's name, or an object {agent_md, files?}",
    |text| Ok(AgentSource::Named(text.to_owned())),
    Inline as InlineAgent
);
text_or_object!(
    RunWebhook,
    "the id of a webhook endpoint, or an object {url, secret}",
    |text| text.parse().map(RunWebhook::Endpoint).map_err(|error| format!("{error}")),
    Inline as InlineWebhook
);

/// When a run may start, when not at once.
pub(super) fn start_of(request: &StartRun, now: Timestamp) -> Result<Option<Timestamp>> {
    let too_far = |pointer: &str| {
        let days = START_AHEAD_S_MAX / 86_400;
        Err(Error::invalid_field(pointer, format!("at most {days} days ahead")))
    };
    let ahead = |seconds: u64| now.plus_millis(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000));
    match (request.start_at, request.delay_s) {
        (Some(_), Some(_)) => Err(Error::invalid_field("/delay_s", "give `start_at` or `delay_s`, not both")),
        (Some(at), None) if at > ahead(START_AHEAD_S_MAX) => too_far("/start_at"),
        (None, Some(seconds)) if seconds > START_AHEAD_S_MAX => too_far("/delay_s"),
        (Some(at), None) => Ok(Some(at)),
        (None, Some(seconds)) => Ok(Some(ahead(seconds))),
        (None, None) => Ok(None),
    }
}
