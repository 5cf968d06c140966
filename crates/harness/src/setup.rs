//! What does not change during a run: [`Setup`] as the log keeps it, [`Loop`] as it is used.
//!
//! A [`Setup`] is small and complete: it is part of `run.queued`, so every worker of every life of a run builds the same
//! [`Loop`] from it. Read next: [`crate::decide`].

use std::collections::BTreeMap;
use std::sync::Arc;

use livery_core::agent::{Agent, ModelRef};
use livery_core::connector::tool_of;
use livery_core::run::Limits;
use livery_core::schema::Schema;
use livery_core::{ErrorCode, RunError};
use livery_llm::message::Message;
use livery_llm::request::MAX_OUTPUT_TOKENS_DEFAULT;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::tools::Toolbox;
use crate::{prompt, request_digest};

/// Everything the loop needs to know about a run before it starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// The agent, of the version the run began with.
    pub agent: Agent,
    /// The run's input, already checked against the agent's schema.
    pub input: Value,
    /// The agent's limits, tightened by the run's.
    #[serde(default)]
    pub limits: Limits,
    /// The model and its fallbacks, in order: the run's wish or the agent's list; at least one.
    pub models: Vec<ModelRef>,
    /// Whether a sandbox with a shell and files can be had.
    pub can_sandbox: bool,
    /// The slots that have a connection, each with its connector: what `call_api`, `query_sql` and `send_email` reach.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub connections: BTreeMap<String, String>,
    /// Most tokens of one answer.
    #[serde(default = "max_output_tokens_default")]
    pub max_output_tokens: u32,
}

impl Setup {
    /// A run of `agent` as it stands: its own models and limits, a sandbox, the usual length of answers.
    pub fn new(agent: Agent, input: Value) -> Self {
        Self {
            limits: agent.limits,
            models: agent.model.clone(),
            can_sandbox: true,
            connections: BTreeMap::new(),
            max_output_tokens: MAX_OUTPUT_TOKENS_DEFAULT,
            agent,
            input,
        }
    }
}

impl Setup {
    /// The slots whose connections this tool goes through.
    pub(crate) fn connections_of(&self, tool: &str) -> BTreeMap<String, String> {
        let own = self.connections.iter().filter(|(_, connector)| tool_of(connector) == tool);
        own.map(|(slot, connector)| (slot.clone(), connector.clone())).collect()
    }
}

const fn max_output_tokens_default() -> u32 {
    MAX_OUTPUT_TOKENS_DEFAULT
}

/// A [`Setup`] with its schemas compiled and its prompt written: build it once per run, use it for every step.
#[derive(Debug)]
pub struct Loop {
    pub(crate) models: Vec<ModelRef>,
    pub(crate) limits: Limits,
    pub(crate) max_output_tokens: u32,
    pub(crate) system: Arc<str>,
    pub(crate) first: Arc<Message>,
    pub(crate) toolbox: Toolbox,
    /// Digest of what every request begins with: the system prompt, the tools, the first message.
    pub(crate) opening: String,
}

impl Loop {
    /// Compiles a setup.
    ///
    /// # Errors
    /// `agent_error` when a schema does not compile, a tool is unknown or named like a built-in, or no model is given.
    pub fn new(setup: Setup) -> Result<Self, RunError> {
        if setup.models.is_empty() {
            return Err(RunError::fatal(ErrorCode::AgentError, "the agent names no model"));
        }
        let toolbox = Toolbox::new(&setup).map_err(|cause| RunError::fatal(ErrorCode::AgentError, cause))?;
        let system = prompt::system(&setup, &toolbox);
        let first = prompt::first_message(&setup.input);
        Ok(Self {
            opening: request_digest::opening(&system, &toolbox.specs, &first),
            system: system.into(),
            first: Arc::new(first),
            models: setup.models,
            limits: setup.limits,
            max_output_tokens: setup.max_output_tokens.max(1),
            toolbox,
        })
    }

    /// The system prompt, as the model gets it.
    pub fn system(&self) -> &str {
        &self.system
    }

    /// The tools, as the model gets them.
    pub fn tools(&self) -> &[livery_llm::request::ToolSpec] {
        &self.toolbox.specs
    }

    /// The model after `current` in the agent's order; `None` when it was the last.
    pub(crate) fn fallback_after(&self, current: &ModelRef) -> Option<&ModelRef> {
        let position = self.models.iter().position(|model| model == current)?;
        self.models.get(position + 1)
    }
}

/// Compiles a schema that belongs to `what`.
pub(crate) fn compile(what: &str, schema: &Value) -> Result<Schema, String> {
    Schema::compile(schema).map_err(|cause| format!("{what}: {cause}"))
}
