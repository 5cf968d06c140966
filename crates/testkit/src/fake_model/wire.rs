//! The formats as the server speaks them: a body becomes a [`ModelRequest`], an answer becomes events or one body.
//!
//! Strict where providers are: a conversation that a provider would refuse is refused here, with its words.

mod anthropic;
mod chat;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use livery_llm::message::{Arguments, Message, Part};
use livery_llm::request::ModelRequest;
use livery_llm::stream::ModelResponse;
use serde_json::{Value, json};

/// A format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    Anthropic,
    Chat,
}

/// What was asked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked {
    pub(super) request: ModelRequest,
    pub(super) stream: bool,
    /// Whether a chunk of usage was asked for.
    pub(super) usage: bool,
}

impl Wire {
    /// The format of a path; a version before it is optional, clients disagree on who adds it.
    pub(super) fn of(path: &str) -> Option<Self> {
        let path = path.split('?').next().unwrap_or_default();
        if path.ends_with("/messages") {
            Some(Self::Anthropic)
        } else if path.ends_with("/chat/completions") {
            Some(Self::Chat)
        } else {
            None
        }
    }

    pub(super) fn parse(self, body: &[u8]) -> Result<Asked, String> {
        let body: Value = serde_json::from_slice(body).map_err(|error| format!("the body is not JSON: {error}"))?;
        match self {
            Self::Anthropic => anthropic::parse(&body),
            Self::Chat => chat::parse(&body),
        }
    }

    /// One piece of bytes for each event.
    pub(super) fn events(self, answer: &ModelResponse, asked: &Asked, piece: usize) -> Vec<Bytes> {
        match self {
            Self::Anthropic => anthropic::events(answer, piece),
            Self::Chat => chat::events(answer, asked.usage, piece),
        }
    }

    pub(super) fn body(self, answer: &ModelResponse) -> Bytes {
        match self {
            Self::Anthropic => anthropic::body(answer),
            Self::Chat => chat::body(answer),
        }
        .to_string()
        .into()
    }

    pub(super) fn error(self, status: u16, message: &str) -> Bytes {
        match self {
            Self::Anthropic => anthropic::error(status, message),
            Self::Chat => chat::error(status, message),
        }
        .to_string()
        .into()
    }

    pub(super) fn quota(self) -> Bytes {
        match self {
            Self::Anthropic => json!({"type": "error", "error": {
                "type": "rate_limit_error", "message": "The workspace has reached its limit.",
                "details": {"error_code": "enforced_spend_limit_reached"}}}),
            Self::Chat => json!({"error": {
                "type": "insufficient_quota", "code": "insufficient_quota", "param": null,
                "message": "You have used up what was paid for."}}),
        }
        .to_string()
        .into()
    }

    pub(super) fn overflow(self) -> Bytes {
        match self {
            Self::Anthropic => anthropic::error(400, "prompt is too long: 250000 tokens > 200000 maximum"),
            Self::Chat => json!({"error": {"type": "invalid_request_error", "code": "context_length_exceeded", "param": "messages",
                "message": "This model's maximum context length is 128000 tokens."}}),
        }
        .to_string()
        .into()
    }

    pub(super) fn error_event(self) -> Bytes {
        match self {
            Self::Anthropic => anthropic::frame(&anthropic::error(529, "Overloaded")),
            Self::Chat => chat::frame(
                &json!({"error": {"message": "The server had an error.", "type": "server_error", "code": 500}}),
            ),
        }
    }

    pub(super) fn huge_event(self, bytes: usize) -> Bytes {
        let padding = "x".repeat(bytes);
        match self {
            Self::Anthropic => anthropic::frame(&json!({"type": "padding", "padding": padding})),
            Self::Chat => chat::frame(&json!({"choices": [], "obfuscation": padding})),
        }
    }
}

/// What a model would have written.
fn arguments_text(arguments: &Arguments) -> String {
    match arguments {
        Arguments::Object(map) => serde_json::to_string(map).unwrap_or_default(),
        Arguments::Unusable { text, .. } => text.clone(),
    }
}

/// Pieces of at most this many characters.
fn pieces(text: &str, characters: usize) -> Vec<String> {
    let all: Vec<char> = text.chars().collect();
    all.chunks(characters.max(1)).map(|piece| piece.iter().collect()).collect()
}

/// Every call answered right after it, every result asked for; providers refuse anything else.
fn check_pairs(messages: &[Message]) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    for message in messages {
        for part in &message.parts {
            if let Part::ToolResult(result) = part {
                match open.iter().position(|id| *id == result.call_id) {
                    Some(at) => open.remove(at),
                    None => return Err(format!("a result for {:?}, which no call before it has", result.call_id)),
                };
            }
        }
        if let Some(id) = open.first() {
            return Err(format!("the call {id:?} has no result in the message after it"));
        }
        open = message
            .parts
            .iter()
            .filter_map(|part| match part {
                Part::ToolCall(call) => Some(call.id.as_str()),
                _ => None,
            })
            .collect();
    }
    match open.first() {
        Some(id) => Err(format!("the call {id:?} has no result")),
        None => Ok(()),
    }
}

fn check_tool_name(name: &str) -> Result<(), String> {
    let fits = !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if fits { Ok(()) } else { Err(format!("the tool name {name:?} does not match ^[a-zA-Z0-9_-]{{1,64}}$")) }
}
