//! What goes into a decision and what comes out of it: [`Input`], [`Effect`], [`Decision`].
//!
//! The driver commits a decision's records in one commit, applies them, then performs its effects; what an effect leads to
//! is the next input. Read next: [`crate::record`].

use std::sync::Arc;

use livery_core::agent::ModelRef;
use livery_core::{RunError, RunStatus, Usd};
use livery_llm::message::Message;
use livery_llm::request::{ModelRequest, ToolChoice, ToolSpec};
use livery_llm::stream::{ModelError, ModelResponse};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::outcome::ToolOutcome;
use crate::record::{Note, Record, Recovery, SandboxFate};
use crate::tools::Invocation;

/// Something that happened. An input that no longer fits (an answer to an earlier attempt, anything after the end) is
/// answered with an empty decision, so late and doubled deliveries are harmless.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Input {
    /// A worker took the run for the first time.
    Start,
    /// A model call was answered.
    ModelDone {
        /// The step of [`Effect::CallModel`].
        step: u32,
        /// The attempt of [`Effect::CallModel`].
        attempt: u32,
        /// The whole answer.
        response: ModelResponse,
        /// What it cost, when the model has a price.
        cost: Option<Usd>,
        /// Milliseconds from request to the answer's end.
        latency_ms: u64,
    },
    /// A model call failed.
    ModelFailed {
        /// The step of [`Effect::CallModel`].
        step: u32,
        /// The attempt of [`Effect::CallModel`].
        attempt: u32,
        /// Why.
        error: ModelError,
        /// Randomness for the backoff, 0..=1000: how much of the jitter is taken off.
        jitter_per_mille: u16,
    },
    /// The delay of [`Effect::RetryAfter`] is over.
    RetryDue {
        /// The step of [`Effect::RetryAfter`].
        step: u32,
    },
    /// A tool ended.
    ToolDone {
        /// The call of [`Effect::RunTool`].
        call_id: String,
        /// How.
        outcome: ToolOutcome,
        /// Milliseconds it ran.
        duration_ms: u64,
    },
    /// Somebody stopped the run.
    Cancel {
        /// Their reason, when they gave one.
        reason: Option<String>,
    },
    /// The time limit was reached.
    TimedOut,
    /// Something outside the loop makes going on impossible: the sandbox is lost, a quota is used up.
    Fatal {
        /// How the run ends.
        error: RunError,
    },
    /// The state was just folded from another run's records, up to a point at which a model was asked: the run begins there.
    Forked {
        /// What the run has of the other one's sandbox; the model is told.
        sandbox: SandboxFate,
        /// Another model from here on.
        model: Option<ModelRef>,
        /// What the harness said to the model there.
        note: Option<Note>,
    },
    /// The state was just folded from the log after a crash or a change of worker: what was in flight is gone.
    Recovered {
        /// What became of the run's sandbox; the model is told.
        sandbox: SandboxFate,
        /// Who goes on, and from where.
        recovery: Recovery,
    },
}

/// Something to do, after the decision's records are committed.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Ask a model. Leads to [`Input::ModelDone`] or [`Input::ModelFailed`].
    CallModel {
        /// Model turns of the run, from 1. A scripted model plays its turn `step - 1`.
        step: u32,
        /// Tries of this step, from 1.
        attempt: u32,
        /// Provider and model.
        model: ModelRef,
        /// What to ask; cheap to clone.
        request: Request,
        /// Names the step and the model: the part of [`crate::idempotency::key`] that does not come from the bytes. Stable over
        /// recoveries and attempts.
        idempotency: String,
        /// Prefix for the ids of the tool calls in the answer, unique within the run.
        call_id_prefix: String,
    },
    /// Wait. Leads to [`Input::RetryDue`].
    RetryAfter {
        /// The step that is tried again.
        step: u32,
        /// How long.
        delay_ms: u64,
    },
    /// Run a tool. Leads to [`Input::ToolDone`]. At most [`crate::tools::TOOLS_CONCURRENT_MAX`] are in flight.
    RunTool {
        /// The call.
        call_id: String,
        /// What to do, validated.
        invocation: Invocation,
        /// Whether doing it twice does no harm.
        safe: bool,
    },
    /// The run is over; no effect follows.
    Finish(Terminal),
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Terminal {
    /// `succeeded`, `failed`, `cancelled` or `timed_out`.
    pub status: RunStatus,
    /// With `succeeded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// With every other status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RunError>,
}

/// What a model is asked, shared rather than copied: a long conversation costs a step one pointer per message.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The provider's own name of the model.
    pub model: String,
    /// The system prompt.
    pub system: Arc<str>,
    /// The conversation.
    pub messages: Vec<Arc<Message>>,
    /// The tools, sorted by name.
    pub tools: Arc<[ToolSpec]>,
    /// Most tokens it may generate.
    pub max_output_tokens: u32,
}

impl Request {
    /// The request as `llm` encodes it. Copies the whole conversation: call it where it is encoded, not before.
    pub fn to_model_request(&self) -> ModelRequest {
        ModelRequest {
            model: self.model.clone(),
            system: self.system.to_string(),
            messages: self.messages.iter().map(|message| Message::clone(message)).collect(),
            tools: self.tools.to_vec(),
            // Forcing a tool is refused by some providers while the model reasons, and no rule of the loop needs it.
            tool_choice: ToolChoice::Auto,
            max_output_tokens: self.max_output_tokens,
        }
    }
}

/// What follows from an input.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Decision {
    /// To be committed together and applied, before any effect.
    pub records: Vec<Record>,
    /// To be performed afterwards.
    pub effects: Vec<Effect>,
}

impl Decision {
    /// Whether nothing follows.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.effects.is_empty()
    }
}
