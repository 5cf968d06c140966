//! The wire formats: a request becomes bytes, bytes become an answer, an error becomes a class.
//!
//! Refused: keys. [`EncodedRequest`] names the header the key belongs in; `broker` puts it there.

mod arguments;
pub mod compat;
mod decode;
mod draft;
mod encode;
mod fault;
mod history;
mod json;
mod names;

pub use arguments::ARGUMENTS_BYTES_MAX;
pub use compat::Compat;
pub use decode::Decoder;
pub use draft::{ANSWER_BYTES_MAX, BLOCKS_MAX};
pub use encode::{EncodedRequest, KeySlot};
pub use fault::classify;
pub use names::IdPattern;

pub(crate) use arguments::{Ending, read as read_arguments};

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
        let later = |what: &str| Err(Unsupported { kind: kind.to_owned(), reason: what.to_owned() });
        match kind {
            "anthropic" => Ok(Self::Anthropic),
            "openai" => Ok(Self::OpenAiChat(Compat::detect(base_url.unwrap_or("https://api.openai.com/v1")))),
            "openai_compatible" => Ok(Self::OpenAiChat(Compat::detect(base_url.unwrap_or_default()))),
            "mistral" => Ok(Self::OpenAiChat(Compat::mistral())),
            "google" => later(
                "the Gemini format comes later; until then use kind openai_compatible with Google's compatible endpoint",
            ),
            "ollama" => later(
                "the native Ollama format comes later; until then use kind openai_compatible with base_url http://HOST:11434/v1",
            ),
            _ => later("unknown; known kinds are anthropic, openai, openai_compatible and mistral"),
        }
    }

    /// The codec's name, as it stands in [`crate::message::Thinking::provider`].
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::OpenAiChat(_) => "openai",
        }
    }

    /// The base URL of a provider kind when none is configured; `None` where there is no sensible one.
    pub fn default_base_url(kind: &str) -> Option<&'static str> {
        match kind {
            "anthropic" => Some("https://api.anthropic.com"),
            "openai" => Some("https://api.openai.com/v1"),
            "mistral" => Some("https://api.mistral.ai/v1"),
            _ => None,
        }
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
