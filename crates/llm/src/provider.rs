//! The wire formats: a request becomes bytes, bytes become an answer, an error becomes a class.
//!
//! Refused: keys. [`EncodedRequest`] names the header the key belongs in; `broker` puts it there.

pub mod compat;
mod fault;

pub use compat::Compat;
pub use fault::classify;

use crate::message::Message;
use crate::request::ModelRequest;
use crate::stream::{Delta, ModelError, ModelErrorClass, ModelResponse};

/// A wire format this version speaks.
#[derive(Debug, Clone, PartialEq)]
pub enum Dialect {
    /// Anthropic Messages, `POST {base}/v1/messages`.
    Anthropic,
    /// OpenAI Chat Completions and its many dialects, `POST {base}/chat/completions`.
    OpenAiChat(Compat),
}

/// A provider kind whose format this version does not speak.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {reason}")]
pub struct Unsupported {
    /// The kind asked for.
    pub kind: String,
    /// What to do instead.
    pub reason: String,
}

impl Dialect {
    /// The format of a provider kind (`anthropic`, `openai`, `openai_compatible`, …) at a base URL.
    ///
    /// # Errors
    /// The kind is unknown, or comes later.
    pub fn of(kind: &str, base_url: Option<&str>) -> Result<Self, Unsupported> {
        match kind {
            "anthropic" => Ok(Self::Anthropic),
            "openai" | "openai_compatible" => Ok(Self::OpenAiChat(Compat::detect(base_url.unwrap_or_default()))),
            _ => Err(Unsupported { kind: kind.to_owned(), reason: "comes later".to_owned() }),
        }
    }

    /// The base URL when none is configured.
    pub const fn default_base_url(&self) -> &'static str {
        match self {
            Self::Anthropic => "https://api.anthropic.com",
            Self::OpenAiChat(_) => "https://api.openai.com/v1",
        }
    }

    /// Translates a request. The same request gives the same bytes, and a longer conversation keeps the prefix.
    pub fn encode(&self, request: &ModelRequest, options: &Options) -> EncodedRequest {
        let _ = (request, options);
        EncodedRequest { path: "", headers: Vec::new(), key: KeySlot { header: "x-api-key", prefix: "" }, body: Vec::new() }
    }
}

/// How to ask, beside what is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Whether the answer comes as a stream.
    pub stream: bool,
    /// Whether the provider should keep the prefix.
    pub cache: Cache,
    /// Whether the model should reason first, where the format has a switch for it.
    pub thinking: ThinkingMode,
}

/// How long a provider should keep the prefix, where the format asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cache {
    /// No cache marks.
    None,
    /// About five minutes.
    #[default]
    Short,
    /// About an hour.
    Long,
}

/// Whether the model should reason before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ThinkingMode {
    /// Whatever the provider does when nothing is said.
    #[default]
    Unset,
    /// The model decides how much.
    Adaptive,
    /// At most this many tokens (Anthropic: at least 1024 and below the output limit; clamped).
    Budget(u32),
}

/// A request in a provider's words, without any key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedRequest {
    /// Appended to the base URL.
    pub path: &'static str,
    /// Headers, names in lower case; no key among them.
    pub headers: Vec<(&'static str, String)>,
    /// Where `broker` puts the key.
    pub key: KeySlot,
    /// JSON.
    pub body: Vec<u8>,
}

/// The header a provider's key travels in: `header: {prefix}{key}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySlot {
    /// Lower case.
    pub header: &'static str,
    /// Before the key: empty or `Bearer `.
    pub prefix: &'static str,
}

/// Reads one answer, streamed or whole, from the bytes of a 200.
#[derive(Debug)]
pub struct Decoder {}

impl Decoder {
    /// For the answer to `request`. Tool calls get the ids `{call_id_prefix}_1`, `_2`, ….
    pub fn new(dialect: &Dialect, request: &ModelRequest, call_id_prefix: &str) -> Self {
        let _ = (dialect, request, call_id_prefix);
        Self {}
    }

    /// Takes the next bytes, cut anywhere, and tells `on_delta` what they add.
    ///
    /// # Errors
    /// The provider reports an error, or the bytes are no answer of this format. The decoder is spent then.
    pub fn push(&mut self, bytes: &[u8], on_delta: &mut impl FnMut(Delta)) -> Result<(), ModelError> {
        let _ = (bytes, on_delta);
        Ok(())
    }

    /// Whether the format's terminal event was seen: nothing after it matters, the connection may be drained.
    pub const fn is_done(&self) -> bool {
        false
    }

    /// What has arrived so far, for a run that stops in the middle: tool calls that are not whole are left out.
    pub fn partial(&self) -> Message {
        Message { role: crate::message::Role::Assistant, parts: Vec::new() }
    }

    /// The whole answer, after the last byte.
    ///
    /// # Errors
    /// The stream ended before its terminal event, or a body that is no stream is no answer either.
    pub fn finish(self) -> Result<ModelResponse, ModelError> {
        Err(ModelError {
            class: ModelErrorClass::StreamCut,
            message: String::new(),
            retry_after_ms: None,
            status: None,
            should_retry: None,
        })
    }
}
