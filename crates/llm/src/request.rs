//! What is asked of a model, before any provider's wire format.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::message::Message;

/// Output tokens asked for when neither agent nor operator says otherwise.
pub const MAX_OUTPUT_TOKENS_DEFAULT: u32 = 16_384;

/// One call of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelRequest {
    /// The provider's own name of the model (`claude-sonnet-4-6`), without our provider prefix.
    pub model: String,
    /// The system prompt.
    pub system: String,
    /// The conversation; the last message is the user's.
    pub messages: Vec<Message>,
    /// Tools the model may call, sorted by name (a stable prefix is a cached prefix).
    pub tools: Vec<ToolSpec>,
    /// Whether it may or must call one.
    pub tool_choice: ToolChoice,
    /// Most tokens it may generate.
    pub max_output_tokens: u32,
}

/// A tool as the model sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// `[a-zA-Z0-9_-]{1,64}`.
    pub name: String,
    /// What it does and when to use it.
    pub description: String,
    /// JSON Schema 2020-12 of its arguments, an object.
    pub input_schema: Value,
}

/// Whether the model may, must or must not call tools.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    /// It decides.
    #[default]
    Auto,
    /// It must call at least one.
    Required,
    /// It must call this one.
    Tool(String),
    /// It must not.
    None,
}
