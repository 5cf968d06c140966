//! What does not change during a run: [`Setup`] as the log keeps it, [`Loop`] as it is used.
//!
//! A [`Setup`] is small and complete: it is part of `run.queued`, so every worker of every life of a run builds the same
//! [`Loop`] from it. Read next: [`crate::decide`].

use std::sync::Arc;

use livery_core::run::Limits;
use livery_core::schema::Schema;
use livery_core::{ErrorCode, RunError};
use livery_llm::message::Message;
use livery_llm::request::MAX_OUTPUT_TOKENS_DEFAULT;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::prompt;
use crate::tools::Toolbox;

/// Everything the loop needs to know about a run before it starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// The agent's name.
    pub agent: String,
    /// What it is for, in a sentence; may be empty.
    #[serde(default)]
    pub description: String,
    /// The agent's prompt with its placeholders filled.
    pub prompt: String,
    /// The run's input, already checked against the agent's schema.
    pub input: Value,
    /// JSON Schema of the output; `None` is `{text: string}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// Tools by name; `None` is all there are. `finish` is always there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<String>>,
    /// The agent's own tools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own_tools: Vec<OwnTool>,
    /// The model and its fallbacks, in order; at least one.
    pub models: Vec<ModelRef>,
    /// The agent's limits, tightened by the run's.
    #[serde(default)]
    pub limits: Limits,
    /// Whether a sandbox with a shell and files can be had.
    pub can_sandbox: bool,
    /// Most tokens of one answer.
    #[serde(default = "max_output_tokens_default")]
    pub max_output_tokens: u32,
}

const fn max_output_tokens_default() -> u32 {
    MAX_OUTPUT_TOKENS_DEFAULT
}

/// A tool of the agent's own, as far as the loop is concerned. How it is run, only the sandbox knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OwnTool {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: String,
    /// JSON Schema of its arguments.
    pub input: Value,
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
        Ok(Self {
            system: prompt::system(&setup, &toolbox).into(),
            first: Arc::new(prompt::first_message(&setup.input)),
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

/// Provider and model: `anthropic/claude-sonnet-4-6`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelRef {
    /// Name of the provider.
    pub provider: String,
    /// What the provider calls the model.
    pub model: String,
}

impl ModelRef {
    /// Whether a script plays this model.
    pub fn is_scripted(&self) -> bool {
        self.provider == "scripted"
    }
}

impl std::fmt::Display for ModelRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

impl From<ModelRef> for String {
    fn from(model: ModelRef) -> Self {
        model.to_string()
    }
}

impl std::str::FromStr for ModelRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.to_owned().try_into()
    }
}

impl TryFrom<String> for ModelRef {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (provider, model) = text.split_once('/').ok_or("a model is written PROVIDER/MODEL")?;
        Ok(Self { provider: provider.to_owned(), model: model.to_owned() })
    }
}
