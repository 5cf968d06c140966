//! What a run is for everyone: states, limits, usage, cost and the stable error codes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Usd;

/// Default wall-clock limit of a run in state `running`, in seconds.
pub const TIMEOUT_S_DEFAULT: u64 = 15 * 60;
/// Ceiling of `timeout_s`.
pub const TIMEOUT_S_MAX: u64 = 24 * 60 * 60;
/// Default and ceiling of model turns.
pub const TURNS_MAX: u32 = 200;
/// Most bytes of a run's input, as JSON.
pub const INPUT_BYTES_MAX: usize = 1024 * 1024;
/// Largest event payload stored in the log; larger ones are spilled to a file.
pub const EVENT_PAYLOAD_BYTES_MAX: usize = 256 * 1024;

/// `queued → running ⇄ waiting → succeeded | failed | cancelled | timed_out`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Accepted, not yet taken by a worker.
    Queued,
    /// A worker holds the lease.
    Running,
    /// Waits for a person or a clock; holds no worker.
    Waiting,
    /// Ended with an output.
    Succeeded,
    /// Ended with an error.
    Failed,
    /// Ended on request.
    Cancelled,
    /// Ended at its time limit.
    TimedOut,
}

impl RunStatus {
    /// The name in the API and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
        }
    }

    /// Whether nothing can follow.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::TimedOut)
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RunStatus {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        Ok(match text {
            "queued" => Self::Queued,
            "running" => Self::Running,
            "waiting" => Self::Waiting,
            "succeeded" => Self::Succeeded,
            "failed" => Self::Failed,
            "cancelled" => Self::Cancelled,
            "timed_out" => Self::TimedOut,
            _ => return Err(UnknownStatus),
        })
    }
}

/// A name that no status has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no run status has this name")]
pub struct UnknownStatus;

/// Why a run failed. Stable: clients branch on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The provider failed, or answered what cannot be used, after the retries.
    ModelError,
    /// The model declined.
    ModelRefused,
    /// The conversation no longer fits the model's window.
    ContextOverflow,
    /// The model answered nothing, twice.
    EmptyResponse,
    /// The output did not fit its schema after three tries.
    OutputInvalid,
    /// Reserved name for the turn limit; the limit itself ends as `budget_exceeded`.
    MaxTurns,
    /// A limit on tokens, cost or turns was reached.
    BudgetExceeded,
    /// A quota of the organization, application or end user was reached.
    QuotaExceeded,
    /// A policy said no.
    PolicyDenied,
    /// A credential the run needs cannot be used.
    CredentialUnavailable,
    /// Stopped for what it tried.
    Quarantined,
    /// A person did not answer in time.
    InputExpired,
    /// The host cannot give the sandbox that was asked for.
    SandboxUnavailable,
    /// The sandbox ended before its time (memory, processes, disk).
    SandboxLost,
    /// The agent itself is at fault (its tool, its manifest).
    AgentError,
    /// Livery is at fault.
    Internal,
    /// The time limit was reached (with status `timed_out`).
    TimedOut,
    /// Stopped on request (with status `cancelled`).
    Cancelled,
}

impl ErrorCode {
    /// All codes, for the documentation test.
    pub const ALL: &[Self] = &[
        Self::ModelError,
        Self::ModelRefused,
        Self::ContextOverflow,
        Self::EmptyResponse,
        Self::OutputInvalid,
        Self::MaxTurns,
        Self::BudgetExceeded,
        Self::QuotaExceeded,
        Self::PolicyDenied,
        Self::CredentialUnavailable,
        Self::Quarantined,
        Self::InputExpired,
        Self::SandboxUnavailable,
        Self::SandboxLost,
        Self::AgentError,
        Self::Internal,
        Self::TimedOut,
        Self::Cancelled,
    ];

    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ModelError => "model_error",
            Self::ModelRefused => "model_refused",
            Self::ContextOverflow => "context_overflow",
            Self::EmptyResponse => "empty_response",
            Self::OutputInvalid => "output_invalid",
            Self::MaxTurns => "max_turns",
            Self::BudgetExceeded => "budget_exceeded",
            Self::QuotaExceeded => "quota_exceeded",
            Self::PolicyDenied => "policy_denied",
            Self::CredentialUnavailable => "credential_unavailable",
            Self::Quarantined => "quarantined",
            Self::InputExpired => "input_expired",
            Self::SandboxUnavailable => "sandbox_unavailable",
            Self::SandboxLost => "sandbox_lost",
            Self::AgentError => "agent_error",
            Self::Internal => "internal",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The `error` of a run: `{code, message, retryable}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunError {
    /// Stable code.
    pub code: ErrorCode,
    /// A sentence for people: what happened and what to do.
    pub message: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
}

impl RunError {
    /// An error that the same request would meet again.
    pub fn fatal(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retryable: false }
    }

    /// An error that may pass.
    pub fn retryable(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retryable: true }
    }
}

/// What a run may use up. `None`: the default of the named constant, or no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Seconds in state `running` (1..=[`TIMEOUT_S_MAX`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<u64>,
    /// Model calls (1..=[`TURNS_MAX`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_turns: Option<u32>,
    /// Input and output tokens together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// Dollars; needs a priced model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cost_usd: Option<Usd>,
}

impl Limits {
    /// These limits where set, else those of `base`, never looser than `base` where both are set.
    #[must_use]
    pub fn tightened_by(self, request: Self) -> Self {
        fn tighter<T: Ord>(base: Option<T>, request: Option<T>) -> Option<T> {
            match (base, request) {
                (Some(base), Some(request)) => Some(base.min(request)),
                (base, request) => request.or(base),
            }
        }
        Self {
            timeout_s: tighter(self.timeout_s, request.timeout_s),
            max_turns: tighter(self.max_turns, request.max_turns),
            max_tokens: tighter(self.max_tokens, request.max_tokens),
            max_cost_usd: tighter(self.max_cost_usd, request.max_cost_usd),
        }
    }

    /// The wall-clock limit in seconds.
    pub fn timeout_s(self) -> u64 {
        self.timeout_s.unwrap_or(TIMEOUT_S_DEFAULT).min(TIMEOUT_S_MAX)
    }

    /// The turn limit.
    pub fn max_turns(self) -> u32 {
        self.max_turns.unwrap_or(TURNS_MAX).min(TURNS_MAX)
    }
}

/// What a run used so far, as the API shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// All prompt tokens, cached ones included.
    pub input_tokens: u64,
    /// Of them, read from the provider's cache.
    pub cached_input_tokens: u64,
    /// Generated tokens, reasoning included.
    pub output_tokens: u64,
    /// Model calls answered.
    pub turns: u32,
    /// Tool calls executed.
    pub tool_calls: u32,
    /// Milliseconds a sandbox stood.
    pub sandbox_ms: u64,
}

/// Whether the cost of a run is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pricing {
    /// Every model call had a price.
    Priced,
    /// At least one had none: the figure is a lower bound.
    #[default]
    Unpriced,
    /// No model was called for money (scripted models).
    Free,
}

/// The cost of a run: `{usd, pricing}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cost {
    /// Dollars, as a decimal string.
    pub usd: Usd,
    /// How to read the figure.
    pub pricing: Pricing,
}
