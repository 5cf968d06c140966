//! The names of everything that can happen, and the shape an event has for readers.
//!
//! The log stores a header and, apart from it, a payload; [`Event`] is the two put together again, as SSE, JSON pages,
//! webhooks and the CLI show it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Timestamp;
use crate::id::RunId;
use crate::run::RunStatus;

macro_rules! event_types {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// Every stored event of a run. The text is the SSE `event:` name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum EventType { $($(#[$doc])* $name,)* }

        impl EventType {
            /// All of them, in the order of `api.md`.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The stable name.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }

        impl FromStr for EventType {
            type Err = UnknownEventType;

            fn from_str(text: &str) -> Result<Self, UnknownEventType> {
                match text { $($text => Ok(Self::$name),)* _ => Err(UnknownEventType) }
            }
        }
    };
}

/// A name that no event has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no event has this name")]
pub struct UnknownEventType;

event_types! {
    /// Accepted and waiting for a worker. Always sequence 1.
    RunQueued = "run.queued";
    /// A worker took the run for the first time.
    RunStarted = "run.started";
    /// Nothing to do until a person or a clock answers.
    RunWaiting = "run.waiting";
    /// What was waited for came.
    RunResumed = "run.resumed";
    /// Another worker, or another life of this one, took the run over.
    RunRecovered = "run.recovered";
    /// The run goes on from the middle of another, whose events stand before this one.
    RunForked = "run.forked";
    /// Finished with an output.
    RunSucceeded = "run.succeeded";
    /// Finished with an error code.
    RunFailed = "run.failed";
    /// Stopped on request.
    RunCancelled = "run.cancelled";
    /// Ran longer than its limit.
    RunTimedOut = "run.timed_out";
    /// A model call is about to be made.
    ModelRequested = "model.requested";
    /// The model answered: the whole message.
    ModelResponded = "model.responded";
    /// A model call failed and will be tried again.
    ModelRetried = "model.retried";
    /// The model asked for a tool; the call was checked.
    ToolRequested = "tool.requested";
    /// The tool is about to run: the intent.
    ToolStarted = "tool.started";
    /// A call that was held goes on: from here on nobody repeats it.
    ToolResumed = "tool.resumed";
    /// The tool's result, or why there is none.
    ToolFinished = "tool.finished";
    /// A tool was interrupted and may or may not have done its work.
    ToolOutcomeUnknown = "tool.outcome_unknown";
    /// A person is asked.
    ApprovalRequested = "approval.requested";
    /// A person decided.
    ApprovalDecided = "approval.decided";
    /// A request is about to leave through the broker.
    EgressRequested = "egress.requested";
    /// It was answered.
    EgressFinished = "egress.finished";
    /// It was not allowed to leave.
    EgressDenied = "egress.denied";
    /// A secret was taken out of an answer.
    EgressRedacted = "egress.redacted";
    /// A memory was written.
    MemorySaved = "memory.saved";
    /// State was written.
    StateSaved = "state.saved";
    /// A file the run left behind was kept.
    ArtifactCreated = "artifact.created";
    /// The history was shortened for the model.
    ContextCompacted = "context.compacted";
    /// The run's sandbox stands.
    SandboxStarted = "sandbox.started";
    /// The run's sandbox is gone before its time.
    SandboxLost = "sandbox.lost";
    /// A person opened a shell in the run's sandbox.
    ShellOpened = "shell.opened";
    /// It is closed.
    ShellClosed = "shell.closed";
    /// The run works in the workspace that its agent has for its end user, and what it began with.
    WorkspaceOpened = "workspace.opened";
    /// What the run left in it was saved.
    WorkspaceSaved = "workspace.saved";
    /// What the run left in it was not saved, and why; the state before it stays.
    WorkspaceUnsaved = "workspace.unsaved";
    /// A budget is nearly used up.
    BudgetWarning = "budget.warning";
    /// A line for the reader of the log.
    LogWritten = "log.written";
}

impl EventType {
    /// The status this event ends a run with, when it is a terminal one.
    pub const fn terminal_status(self) -> Option<RunStatus> {
        match self {
            Self::RunSucceeded => Some(RunStatus::Succeeded),
            Self::RunFailed => Some(RunStatus::Failed),
            Self::RunCancelled => Some(RunStatus::Cancelled),
            Self::RunTimedOut => Some(RunStatus::TimedOut),
            _ => None,
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for EventType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for EventType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One event as readers see it: `{seq, run_id, type, at, actor, digest, data}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Position in the run's stream, from 1, without gaps. The SSE `id:`.
    pub seq: u64,
    /// The run.
    pub run_id: RunId,
    /// What happened.
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// When the log took it.
    pub at: Timestamp,
    /// Who did it: `key_…`, `usr_…`, `worker`, `system`.
    #[serde(default)]
    pub actor: String,
    /// SHA-256 of the canonical JSON of `data`, hex. It stays when the data was deleted, and is what a receipt covers.
    #[serde(default)]
    pub digest: String,
    /// What is particular to the type; null once it was deleted.
    pub data: Value,
    /// Present and true when the content was deleted, as the operator's retention says.
    #[serde(default, skip_serializing_if = "is_false")]
    pub deleted: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "how serde asks")]
fn is_false(truth: &bool) -> bool {
    !*truth
}
