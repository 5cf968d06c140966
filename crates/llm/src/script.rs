//! A model that plays a file: `model: scripted/NAME` reads `scripts/NAME.yaml` in the agent's folder.

use crate::request::ModelRequest;
use crate::stream::{ModelError, ModelErrorClass, ModelResponse};

/// A parsed script.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {}

/// Why a script cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column} {message}")]
pub struct ScriptError {
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Script {
    /// Parses the YAML text of `scripts/NAME.yaml`.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line and column.
    pub fn parse(yaml: &str) -> Result<Self, ScriptError> {
        Err(ScriptError { line: 1, column: 1, message: format!("not readable yet ({} bytes)", yaml.len()) })
    }

    /// Plays turn `turn_index` (0 is the first model call of the run): the answer and how long to wait before giving it,
    /// in milliseconds. Tool-call ids are `{call_id_prefix}_1`, `_2`, ….
    ///
    /// # Errors
    /// The script has run out, or what the request holds is not what the turn expects.
    pub fn play(
        &self,
        turn_index: usize,
        request: &ModelRequest,
        call_id_prefix: &str,
    ) -> Result<(ModelResponse, u64), ModelError> {
        let message = format!("no turn {turn_index} for {} ({call_id_prefix})", request.model);
        Err(ModelError {
            class: ModelErrorClass::InvalidRequest,
            message,
            retry_after_ms: None,
            status: None,
            should_retry: Some(false),
        })
    }
}
