//! The wire formats: a request becomes bytes, bytes become an answer, an error becomes a class.
//!
//! Refused: keys. [`EncodedRequest`] names the header the key belongs in; `broker` puts it there.

mod arguments;
pub mod compat;
mod decode;
mod draft;
mod fault;
mod json;
mod names;

pub use arguments::ARGUMENTS_BYTES_MAX;
pub use compat::Compat;
pub use decode::Decoder;
pub use draft::{ANSWER_BYTES_MAX, BLOCKS_MAX};
pub use fault::classify;
pub use names::IdPattern;

use crate::request::ModelRequest;

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

    /// The codec's name, as it stands in [`crate::message::Thinking::provider`].
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::OpenAiChat(_) => "openai",
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
