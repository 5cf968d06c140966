//! Reads one answer from the bytes of a 200: a stream of events, or one JSON body from a server that ignores `stream`.
//!
//! Owns telling the two apart and the end of the stream. Refused: what the format says, which is [`anthropic`]'s and
//! [`chat`]'s business.

mod anthropic;
mod chat;
#[cfg(test)]
mod tests;

use serde_json::Value;

pub(super) use chat::REASONING_DETAILS;

use super::draft::{ANSWER_BYTES_MAX, Maker};
use super::fault;
use super::names::ToolNames;
use super::{Dialect, json};
use crate::message::{Message, Part};
use crate::request::ModelRequest;
use crate::sse;
use crate::stream::{Delta, ModelError, ModelErrorClass, ModelResponse, StopReason, TokenUsage};

/// No honest answer counts more tokens; a counter above it is a mistake and is cut.
const TOKENS_MAX: u64 = 1_000_000_000;

/// White space before anything else; some servers keep a connection alive with it.
const BLANK_BYTES_MAX: usize = 64 * 1024;

/// Reads one answer, streamed or whole, from the bytes of a 200.
#[derive(Debug)]
pub struct Decoder {
    framing: Framing,
    format: Format,
    /// Whether any event of the format was read: tells a cut stream from something else entirely.
    recognised: bool,
    bytes: usize,
}

/// How the bytes are cut into pieces of JSON.
#[derive(Debug)]
enum Framing {
    /// Nothing but white space or a piece of a byte order mark yet.
    Unknown(Vec<u8>),
    Events(sse::Reader),
    /// The whole body is one value.
    Body(Vec<u8>),
}

#[derive(Debug)]
enum Format {
    Anthropic(anthropic::Reader),
    Chat(chat::Reader),
}

impl Decoder {
    /// For the answer to `request`. Tool calls get the ids `{call_id_prefix}_1`, `_2`, … in the order they begin.
    pub fn new(dialect: &Dialect, request: &ModelRequest, call_id_prefix: &str) -> Self {
        let maker = Maker {
            provider: dialect.name(),
            model: request.model.clone(),
            call_id_prefix: call_id_prefix.to_owned(),
            names: ToolNames::new(&request.tools),
        };
        let format = match dialect {
            Dialect::Anthropic => Format::Anthropic(anthropic::Reader::new(maker)),
            Dialect::OpenAiChat(_) => Format::Chat(chat::Reader::new(maker)),
        };
        Self { framing: Framing::Unknown(Vec::new()), format, recognised: false, bytes: 0 }
    }

    /// Takes the next bytes, cut anywhere, and tells `on_delta` what they add.
    ///
    /// # Errors
    /// The provider reports an error, or the bytes are no answer of this format. The decoder is spent then, but
    /// [`Decoder::partial`] still answers.
    pub fn push(&mut self, bytes: &[u8], on_delta: &mut impl FnMut(Delta)) -> Result<(), ModelError> {
        self.bytes = self.bytes.saturating_add(bytes.len());
        let begun;
        let mut bytes = bytes;
        if let Framing::Unknown(kept) = &mut self.framing {
            kept.extend_from_slice(bytes);
            let framing = match first_byte(kept) {
                None if kept.len() > BLANK_BYTES_MAX => return Err(bad_gateway("the answer is white space")),
                None => return Ok(()),
                Some(b'{') => Framing::Body(Vec::new()),
                Some(b'<') => return Err(bad_gateway("the answer is a page, not a model's answer")),
                Some(0x1f) => return Err(bad_gateway("the answer is compressed, although nobody asked for it")),
                Some(_) => Framing::Events(sse::Reader::new()),
            };
            begun = std::mem::take(kept);
            bytes = &begun;
            self.framing = framing;
        }
        match &mut self.framing {
            Framing::Body(body) if body.len() + bytes.len() > ANSWER_BYTES_MAX => {
                Err(bad_gateway(format!("the answer is larger than {ANSWER_BYTES_MAX} bytes")))
            }
            Framing::Body(body) => {
                body.extend_from_slice(bytes);
                Ok(())
            }
            Framing::Events(reader) => {
                let (format, recognised) = (&mut self.format, &mut self.recognised);
                reader.push(bytes, &mut |event| {
                    *recognised |= format.event(event, on_delta)?;
                    Ok(())
                })
            }
            Framing::Unknown(_) => Ok(()),
        }
    }

    /// Whether the format's terminal event was seen: nothing after it matters, the connection may be drained. Some
    /// compatible servers send none; then only the end of the body tells.
    pub const fn is_done(&self) -> bool {
        match &self.format {
            Format::Anthropic(reader) => reader.is_done(),
            Format::Chat(reader) => reader.is_done(),
        }
    }

    /// The text and reasoning that have arrived, for a run that stops in the middle. Tool calls are left out.
    pub fn partial(&self) -> Message {
        match &self.format {
            Format::Anthropic(reader) => reader.partial(),
            Format::Chat(reader) => reader.partial(),
        }
    }

    /// The whole answer, after the last byte. What a body that is no stream holds is heard of here only.
    ///
    /// # Errors
    /// The stream ended before its terminal event, or what came is no answer of this format.
    pub fn finish(mut self) -> Result<ModelResponse, ModelError> {
        let on_delta = &mut |_| {};
        match self.framing {
            Framing::Unknown(_) => return Err(cut("the answer is empty")),
            Framing::Body(body) => {
                let text = String::from_utf8_lossy(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&body));
                let body: Value =
                    json::parse(&text).map_err(|error| bad_gateway(format!("the answer is not JSON: {error}")))?;
                if body.get("error").is_some_and(|error| !error.is_null()) || body["object"] == "error" {
                    return Err(fault::in_answer(&body));
                }
                self.format.body(body, on_delta)?;
            }
            Framing::Events(reader) => {
                let (format, recognised) = (&mut self.format, &mut self.recognised);
                reader.finish(&mut |event| -> Result<(), ModelError> {
                    *recognised |= format.event(event, on_delta)?;
                    Ok(())
                })?;
                if !self.recognised {
                    return Err(bad_gateway(format!("no event of this format in {} bytes", self.bytes)));
                }
            }
        }
        match self.format {
            Format::Anthropic(reader) => reader.finish(),
            Format::Chat(reader) => reader.finish(),
        }
    }
}

impl Format {
    /// Reads one event; whether it is one of the format's.
    fn event(&mut self, event: sse::Event<'_>, on_delta: &mut dyn FnMut(Delta)) -> Result<bool, ModelError> {
        match self {
            Self::Anthropic(reader) => reader.event(event, on_delta),
            Self::Chat(reader) => reader.event(event, on_delta),
        }
    }

    fn body(&mut self, body: Value, on_delta: &mut dyn FnMut(Delta)) -> Result<(), ModelError> {
        match self {
            Self::Anthropic(reader) => reader.body(body, on_delta),
            Self::Chat(reader) => reader.body(&body, on_delta),
        }
    }
}

impl From<sse::EventTooLarge> for ModelError {
    fn from(error: sse::EventTooLarge) -> Self {
        Self { should_retry: Some(false), ..bad_gateway(error.to_string()) }
    }
}

/// The first byte that tells something, `None` while it has not come.
fn first_byte(bytes: &[u8]) -> Option<u8> {
    const MARK: &[u8] = b"\xef\xbb\xbf";
    if bytes.len() < MARK.len() && MARK.starts_with(bytes) {
        return None;
    }
    let bytes = bytes.strip_prefix(MARK).unwrap_or(bytes);
    bytes.iter().copied().find(|byte| !byte.is_ascii_whitespace())
}

fn bad_gateway(message: impl AsRef<str>) -> ModelError {
    ModelError::new(ModelErrorClass::BadGateway, message)
}

fn cut(message: &str) -> ModelError {
    ModelError::new(ModelErrorClass::StreamCut, message)
}

/// A counter that is negative, absurd or no number is not believed.
fn tokens(usage: &Value, path: &[&str]) -> u64 {
    let found = path.iter().try_fold(usage, |value, key| value.get(key));
    found.and_then(Value::as_u64).unwrap_or(0).min(TOKENS_MAX)
}

/// The answer in our words, with the stop reason the parts allow.
fn response(message: Message, stop: StopReason, usage: TokenUsage, model: String, id: Option<String>) -> ModelResponse {
    let calls = message.parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
    // Servers disagree on the word; whether there is a call to answer does not depend on it.
    let stop_reason = match stop {
        StopReason::EndTurn if calls => StopReason::ToolUse,
        StopReason::ToolUse if !calls => StopReason::EndTurn,
        other => other,
    };
    ModelResponse { message, stop_reason, usage, model, response_id: id }
}
