//! What comes back: live events while the stream runs, and one [`ModelResponse`] when it is whole.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::message::Message;

/// Why the model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// It said what it had to say.
    EndTurn,
    /// It waits for tool results.
    ToolUse,
    /// The output limit cut it off.
    MaxTokens,
    /// It wrote a stop sequence.
    StopSequence,
    /// It declined.
    Refusal,
    /// The provider's filter stopped it.
    ContentFilter,
    /// The provider wants the same conversation again to go on (`pause_turn`).
    Pause,
    /// The window is full.
    ContextOverflow,
}

/// Tokens of one model call, normalised: cached tokens are apart from uncached ones, whatever the provider counts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TokenUsage {
    /// Prompt tokens neither read from nor written to a cache.
    pub input_uncached: u64,
    /// Prompt tokens read from the provider's cache.
    pub input_cache_read: u64,
    /// Prompt tokens written to the provider's cache (all lifetimes together).
    pub input_cache_write: u64,
    /// All generated tokens, reasoning included.
    pub output_total: u64,
    /// Of them, reasoning (zero where the provider does not say).
    pub output_reasoning: u64,
    /// The provider's own usage object.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub raw: Value,
}

impl TokenUsage {
    /// All prompt tokens.
    pub fn input_total(&self) -> u64 {
        self.input_uncached.saturating_add(self.input_cache_read).saturating_add(self.input_cache_write)
    }
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelResponse {
    /// The assistant's message.
    pub message: Message,
    /// Why it ended.
    pub stop_reason: StopReason,
    /// What it took.
    pub usage: TokenUsage,
    /// The model that answered, in the provider's words.
    pub model: String,
    /// The provider's id of the answer, for support.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_id: Option<String>,
}

/// Live only: what a reader may show while the answer is being made. Never stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Delta {
    /// More text.
    Text {
        /// The piece.
        text: String,
    },
    /// More reasoning.
    Thinking {
        /// The piece.
        text: String,
    },
    /// A tool call began.
    ToolCall {
        /// Our id of the call.
        id: String,
        /// The tool.
        name: String,
    },
    /// The provider started over: forget every delta of this answer.
    Reset,
    /// More of a tool call's arguments, as raw JSON text.
    Arguments {
        /// Our id of the call.
        id: String,
        /// The piece.
        text: String,
    },
}

/// How a model call can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelErrorClass {
    /// 429 that passes.
    RateLimited,
    /// 429 or 400 that does not: quota or credit used up.
    QuotaExhausted,
    /// 503 or 529: too busy.
    Overloaded,
    /// 5xx, or 409: a conflict that passes.
    ServerError,
    /// 408, 425, 504, connect, first-byte or idle time-out, reset.
    Timeout,
    /// The stream ended before its terminal event.
    StreamCut,
    /// 200 with something that is no stream of this format.
    BadGateway,
    /// 401 or 403: the key is wrong.
    Unauthorized,
    /// 404: no such model.
    ModelNotFound,
    /// The window is too small for the request.
    ContextOverflow,
    /// 413.
    TooLarge,
    /// The provider's filter refused the prompt.
    ContentFilter,
    /// 400 or 422: the request is wrong in the provider's eyes.
    InvalidRequest,
    /// The broker's guard refused the address.
    Denied,
}

impl ModelErrorClass {
    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RateLimited => "rate_limited",
            Self::QuotaExhausted => "quota_exhausted",
            Self::Overloaded => "overloaded",
            Self::ServerError => "server_error",
            Self::Timeout => "timeout",
            Self::StreamCut => "stream_cut",
            Self::BadGateway => "bad_gateway",
            Self::Unauthorized => "unauthorized",
            Self::ModelNotFound => "model_not_found",
            Self::ContextOverflow => "context_overflow",
            Self::TooLarge => "too_large",
            Self::ContentFilter => "content_filter",
            Self::InvalidRequest => "invalid_request",
            Self::Denied => "denied",
        }
    }

    /// Whether the same request may succeed soon.
    pub const fn retryable(self) -> bool {
        matches!(
            self,
            Self::RateLimited
                | Self::Overloaded
                | Self::ServerError
                | Self::Timeout
                | Self::StreamCut
                | Self::BadGateway
        )
    }
}

/// A failed model call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelError {
    /// What kind of failure.
    pub class: ModelErrorClass,
    /// The provider's words, bounded, scrubbed by the broker before they get here.
    pub message: String,
    /// When the provider says to come back, in milliseconds from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The HTTP status, when there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The provider's explicit word (`x-should-retry`) on whether to try again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub should_retry: Option<bool>,
}

/// The most characters of a provider's words an error keeps.
pub const ERROR_CHARACTERS_MAX: usize = 2_000;

impl ModelError {
    /// A failure without a status or a word on when to come back. Control characters are dropped and long texts cut.
    pub fn new(class: ModelErrorClass, message: impl AsRef<str>) -> Self {
        let keep = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
        let message = message.as_ref().chars().filter(keep).take(ERROR_CHARACTERS_MAX).collect();
        Self { class, message, retry_after_ms: None, status: None, should_retry: None }
    }

    /// Whether the same request is worth sending again: the provider's explicit no wins, its yes cannot revive a request
    /// that is wrong or a quota that is used up.
    pub fn is_retryable(&self) -> bool {
        self.should_retry != Some(false) && self.class.retryable()
    }
}
