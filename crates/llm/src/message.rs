//! The transcript in our own words. Every provider's format is a projection of it, so a run can change its model half way.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who speaks. The system prompt is apart, in [`crate::request::ModelRequest::system`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The person, or the harness on behalf of one; tool results travel here too.
    User,
    /// The model.
    Assistant,
}

/// One turn of the conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub parts: Vec<Part>,
}

impl Message {
    /// A user message of one text.
    pub fn user(text: impl Into<String>) -> Self {
        Self { role: Role::User, parts: vec![Part::Text { text: text.into() }] }
    }
}

/// One piece of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    /// Plain text.
    Text {
        /// The text.
        text: String,
    },
    /// An image the model may look at.
    Image {
        /// `image/png`, `image/jpeg`, `image/gif` or `image/webp`.
        media_type: String,
        /// Standard base64.
        data: String,
    },
    /// The model asks for a tool.
    ToolCall(ToolCall),
    /// What the tool answered. Always in a user message, after the assistant message with the call.
    ToolResult(ToolResult),
    /// The model's reasoning, bound to the provider and model that made it.
    Thinking(Thinking),
    /// The model declines.
    Refusal {
        /// Its words, possibly empty.
        text: String,
    },
    /// A block of a provider that only the provider understands (server tools, citations, compaction): replayed verbatim
    /// to the same provider and model, dropped for every other.
    Opaque {
        /// The codec's name: `anthropic`, `openai`.
        provider: String,
        /// The model.
        model: String,
        /// The block as received.
        block: Value,
    },
}

/// A request of the model to run a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Our own id, unique in the run; providers' ids are mapped to and from it.
    pub id: String,
    /// The tool's name as the model wrote it; it may not exist.
    pub name: String,
    /// The arguments.
    pub arguments: Arguments,
}

/// Arguments as the model wrote them: an object, or text that could not be read as one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
pub enum Arguments {
    /// A JSON object (empty text counts as `{}`; one level of double encoding is unwrapped).
    Object(serde_json::Map<String, Value>),
    /// Not a JSON object, or cut off by the output limit: never executed, answered to the model.
    Unusable {
        /// What the model wrote.
        text: String,
        /// Why it cannot be used.
        reason: String,
    },
}

/// A tool's answer to one call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolResult {
    /// The [`ToolCall::id`] it answers.
    pub call_id: String,
    /// The tool's name (some providers want it again).
    pub name: String,
    /// Text and image parts only.
    pub parts: Vec<Part>,
    /// Whether the tool failed.
    pub is_error: bool,
}

/// Reasoning that goes back verbatim to the model that made it, and to no other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Thinking {
    /// Readable reasoning; empty when the provider keeps it to itself.
    pub text: String,
    /// The provider's proof that the block is its own. Without one (an aborted turn) the block is not replayed where
    /// the provider demands a signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// Encrypted reasoning (`redacted_thinking`), verbatim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redacted: Option<String>,
    /// The codec's name.
    pub provider: String,
    /// The model.
    pub model: String,
}
