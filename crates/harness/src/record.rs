//! What the log stores about a run's loop: one [`Record`] per event, with the event's data as its fields.
//!
//! A record says what was decided, so that applying it decides nothing again. Fields are only ever added, each with a
//! default, and unknown ones are ignored: a newer version reads the log of an older one. Read next: [`crate::state`].

use std::sync::Arc;

use livery_core::agent::ModelRef;
use livery_core::{EventType, RunError, RunStatus, Usd, canonical};
use livery_llm::message::{Message, Part};
use livery_llm::stream::{StopReason, TokenUsage};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::effect::Terminal;
use crate::tools::Refused;

/// `model.requested`: the intent of a model call. The request itself follows from the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRequested {
    /// Model turns of the run, from 1.
    pub step: u32,
    /// Tries of this step, from 1.
    pub attempt: u32,
    /// Provider and model.
    pub model: ModelRef,
    /// The output limit, clamped to the token budget that was left.
    pub max_output_tokens: u32,
    /// What the harness told the model before this call: a reminder, a wish to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Note>,
    /// SHA-256 over what is asked, hex, chained to the request before it: see [`crate::request_digest`]. Absent in logs of
    /// before there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_digest: Option<String>,
}

/// Words of the harness to the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Why.
    pub kind: NoteKind,
    /// What.
    pub text: String,
}

/// Why the harness speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoteKind {
    /// Plain text where `finish` is due.
    CallFinish,
    /// A text was cut off.
    Continue,
    /// A kind of a newer version.
    #[serde(other)]
    Other,
}

/// `model.responded`: the whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelResponded {
    /// The step that was answered.
    pub step: u32,
    /// Provider and model that were asked.
    pub model: ModelRef,
    /// The answer, cleaned: no empty text, no doubled call ids.
    pub message: Arc<Message>,
    /// Why it ended.
    pub stop_reason: StopReason,
    /// What the provider counted.
    pub usage: TokenUsage,
    /// Tokens counted by estimate because the provider counted none; they weigh on the token limit only.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub estimated_tokens: u64,
    /// What it cost; absent without a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Usd>,
    /// Milliseconds from request to the answer's end.
    pub latency_ms: u64,
}

/// `model.retried`: a call failed, or was declined, and another follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRetried {
    /// The step.
    pub step: u32,
    /// The attempt that failed.
    pub attempt: u32,
    /// A [`livery_llm::stream::ModelErrorClass`] in snake case, or `refusal`.
    pub class: String,
    /// The provider's words.
    pub message: String,
    /// How long to wait.
    pub delay_ms: u64,
    /// The model of the next try.
    pub model: ModelRef,
    /// The failure as it came, for a replay; absent when the model declined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<ModelFailure>,
}

/// A failed model call, as far as the rules look at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFailure {
    /// A [`livery_llm::stream::ModelErrorClass`] in snake case.
    pub class: String,
    /// The provider's words, shortened.
    pub message: String,
    /// When the provider said to come back, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The HTTP status, when there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The provider's explicit word on whether to try again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub should_retry: Option<bool>,
    /// The randomness the delay was made with.
    #[serde(default)]
    pub jitter_per_mille: u16,
}

/// `tool.requested`: the model asked for a tool and the call was looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolRequested {
    /// The call.
    pub call_id: String,
    /// The tool's name as the model wrote it.
    pub tool: String,
    /// The arguments: an object, or the text that is none.
    pub arguments: Value,
}

/// `tool.started`: the intent to run it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolStarted {
    /// The call.
    pub call_id: String,
    /// The tool.
    pub tool: String,
}

/// `tool.finished`: what the model is told about the call. Without a `tool.started` before it, nothing was run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolFinished {
    /// The call.
    pub call_id: String,
    /// The tool.
    pub tool: String,
    /// Whether it did what was asked.
    pub ok: bool,
    /// Milliseconds it ran.
    pub duration_ms: u64,
    /// The text the model reads, already shortened.
    pub result: String,
    /// Why the harness answered the call itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// What the model gets beside the text: images.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Part>,
}

/// `tool.outcome_unknown`: the tool was started, and whether it did its work is not known. Closes the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolOutcomeUnknown {
    /// The call.
    pub call_id: String,
    /// The tool.
    pub tool: String,
    /// What the model is told.
    pub result: String,
}

/// `run.recovered`: what was in flight is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecovered {
    /// What became of the run's sandbox.
    #[serde(default)]
    pub sandbox: SandboxFate,
    /// What the model is told about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
    /// Who goes on, and from where.
    #[serde(flatten)]
    pub recovery: Recovery,
    /// What was begun and not ended, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<String>,
}

/// One recovery, as the worker that goes on knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Recovery {
    /// How often the run was recovered by now; a node that let go in order does not count.
    #[serde(default)]
    pub number: u32,
    /// The node that goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The node that had the run before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// With [`SandboxFate::Restored`]: the event up to which the workspace is as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_seq: Option<u64>,
    /// With [`SandboxFate::Restored`]: tool calls that ended after that, whose files may be missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacking: Vec<String>,
    /// Calls that were started and then held for a person, before anything of them was done: they are run, safe or not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<String>,
}

/// `run.forked`: the records before this one are another run's; from here on the run is its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunForked {
    /// What the run has of the other one's sandbox.
    #[serde(default)]
    pub sandbox: SandboxFate,
    /// What the model is told about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
    /// The model from here on, when it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelRef>,
    /// What the harness said to the model at this point in the other run; it says it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Note>,
}

/// What a crash left of a run's sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SandboxFate {
    /// The run had none yet, or it goes on as if nothing had happened.
    #[default]
    Untouched,
    /// Its files are there, its processes are not.
    Restarted,
    /// On another node: a new one takes its place, filled with the last snapshot of the files.
    Restored,
    /// A new one takes its place.
    Lost,
}

/// `run.succeeded`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSucceeded {
    /// Fits the agent's output schema.
    pub output: Value,
}

/// `run.failed`, `run.cancelled` and `run.timed_out`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStopped {
    /// Why.
    pub error: RunError,
    /// What led to it, when it was not a rule of the loop alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<StopCause>,
}

/// What made a run end, for a replay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StopCause {
    /// Something outside the loop, which gave the error as it stands.
    Outside,
    /// A model call that failed.
    ModelFailed(ModelFailure),
    /// A cause of a newer version.
    #[serde(other)]
    Other,
}

macro_rules! records {
    ($($(#[$doc:meta])* $name:ident($data:ident) = $text:literal as $event:ident;)*) => {
        /// One event of the loop. JSON: `{"type": "tool.started", "data": {…}}`.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "type", content = "data")]
        pub enum Record { $($(#[$doc])* #[serde(rename = $text)] $name($data),)* }

        impl Record {
            /// The event's name.
            pub const fn event_type(&self) -> EventType {
                match self { $(Self::$name(_) => EventType::$event,)* }
            }

            /// The event's data.
            pub fn data(&self) -> Value {
                match self { $(Self::$name(data) => to_value(data),)* }
            }

            /// The event's data as canonical JSON text: what the log stores and its digest is made of.
            pub fn data_json(&self) -> String {
                match self { $(Self::$name(data) => canonical::text(data),)* }
            }

            /// Whether records are kept as events of this type.
            pub const fn is_kept_as(event_type: EventType) -> bool {
                matches!(event_type, $(EventType::$event)|*)
            }

            /// The record of a stored event; `None` for events that are not the loop's (`run.queued`, `sandbox.started`, …).
            ///
            /// # Errors
            /// The data does not have the shape of its type.
            pub fn from_event(event_type: EventType, data: &Value) -> Result<Option<Self>, serde_json::Error> {
                Ok(Some(match event_type {
                    $(EventType::$event => Self::$name($data::deserialize(data)?),)*
                    _ => return Ok(None),
                }))
            }
        }
    };
}

records! {
    /// A model call is about to be made.
    ModelRequested(ModelRequested) = "model.requested" as ModelRequested;
    /// The model answered.
    ModelResponded(ModelResponded) = "model.responded" as ModelResponded;
    /// A model call failed and another follows.
    ModelRetried(ModelRetried) = "model.retried" as ModelRetried;
    /// The model asked for a tool.
    ToolRequested(ToolRequested) = "tool.requested" as ToolRequested;
    /// The tool is about to run.
    ToolStarted(ToolStarted) = "tool.started" as ToolStarted;
    /// What the model is told about a call.
    ToolFinished(ToolFinished) = "tool.finished" as ToolFinished;
    /// A started tool was interrupted.
    ToolOutcomeUnknown(ToolOutcomeUnknown) = "tool.outcome_unknown" as ToolOutcomeUnknown;
    /// The run goes on after a crash.
    RunRecovered(RunRecovered) = "run.recovered" as RunRecovered;
    /// The run goes on from the middle of another.
    RunForked(RunForked) = "run.forked" as RunForked;
    /// The end, with an output.
    RunSucceeded(RunSucceeded) = "run.succeeded" as RunSucceeded;
    /// The end, with an error.
    RunFailed(RunStopped) = "run.failed" as RunFailed;
    /// The end, on request.
    RunCancelled(RunStopped) = "run.cancelled" as RunCancelled;
    /// The end, at the time limit.
    RunTimedOut(RunStopped) = "run.timed_out" as RunTimedOut;
}

impl Record {
    /// How the run ended, when this record ends it.
    pub fn terminal(&self) -> Option<Terminal> {
        let stopped = |status, data: &RunStopped| Terminal { status, output: None, error: Some(data.error.clone()) };
        Some(match self {
            Self::RunSucceeded(data) => {
                Terminal { status: RunStatus::Succeeded, output: Some(data.output.clone()), error: None }
            }
            Self::RunFailed(data) => stopped(RunStatus::Failed, data),
            Self::RunCancelled(data) => stopped(RunStatus::Cancelled, data),
            Self::RunTimedOut(data) => stopped(RunStatus::TimedOut, data),
            _ => return None,
        })
    }
}

/// The arguments of a call as JSON: an object, or the unusable text.
pub(crate) fn arguments_value(arguments: &livery_llm::message::Arguments) -> Value {
    match arguments {
        livery_llm::message::Arguments::Object(fields) => Value::Object(Map::clone(fields)),
        livery_llm::message::Arguments::Unusable { text, .. } => Value::String(text.clone()),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

// A record is made of strings, numbers and maps with string keys, for which serialisation cannot fail.
fn to_value(data: &impl Serialize) -> Value {
    serde_json::to_value(data).unwrap_or(Value::Null)
}
