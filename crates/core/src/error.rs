//! The domain error: what can go wrong in words of the product. HTTP statuses are `server`'s, causes stay in the log.

/// One finding about one field of a request.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FieldError {
    /// JSON Pointer into the body, or `file:line:column` for a file.
    pub pointer: String,
    /// Stable code (`unknown_field`, `wrong_type`, `schema`, `invalid_manifest`, …).
    pub code: String,
    /// A sentence: what is wrong and how to put it right.
    pub detail: String,
}

impl FieldError {
    /// A finding.
    pub fn new(pointer: impl Into<String>, code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), code: code.into(), detail: detail.into() }
    }
}

/// `Result` with the domain error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong. `code()` is stable and has a page in `docs/errors/`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No such thing for this caller; also another tenant's thing.
    #[error("no such {what}")]
    NotFound {
        /// The noun: `run`, `agent`, …
        what: &'static str,
    },
    /// The body is no JSON, or has a field nobody knows.
    #[error("{detail}")]
    Malformed {
        /// `malformed_json` or `unknown_field`.
        code: &'static str,
        /// What to fix.
        detail: String,
        /// The fields.
        errors: Vec<FieldError>,
    },
    /// Well-formed, but a value does not fit its type or schema.
    #[error("{detail}")]
    Invalid {
        /// `invalid_value`, `invalid_agent`, `invalid_input`, …
        code: &'static str,
        /// What to fix.
        detail: String,
        /// The fields.
        errors: Vec<FieldError>,
    },
    /// Missing, unknown, expired or revoked credentials.
    #[error("{detail}")]
    Unauthenticated {
        /// Why, without saying which part was right.
        detail: &'static str,
    },
    /// The caller may see the thing and may not do this.
    #[error("{detail}")]
    Forbidden {
        /// The right that is missing.
        detail: String,
    },
    /// The state does not allow it now.
    #[error("{detail}")]
    Conflict {
        /// `conflict`, `idempotency_in_progress`, …
        code: &'static str,
        /// What stands in the way.
        detail: String,
    },
    /// The same idempotency key with another body.
    #[error("this Idempotency-Key was used with a different request")]
    IdempotencyMismatch,
    /// Larger than the named limit.
    #[error("{what} is larger than {limit_bytes} bytes")]
    TooLarge {
        /// What was too large.
        what: &'static str,
        /// The limit in bytes.
        limit_bytes: u64,
    },
    /// A rate limit or quota.
    #[error("{detail}")]
    Limited {
        /// `rate_limited` or `quota_exceeded`.
        code: &'static str,
        /// Which limit.
        detail: String,
        /// Seconds until it is worth another try.
        retry_after_s: u64,
    },
    /// Not now: shutting down, disk full, the database busy beyond its deadline.
    #[error("{detail}")]
    Unavailable {
        /// Why, for the caller.
        detail: String,
        /// Seconds until it is worth another try.
        retry_after_s: u64,
    },
    /// The lease on a run is held by somebody else: what this worker wanted to write is void.
    #[error("the lease on this run is lost")]
    LeaseLost,
    /// Livery's own fault; the cause is for the log, never for the caller.
    #[error("internal error: {cause}")]
    Internal {
        /// For the operator's log only.
        cause: String,
    },
}

impl Error {
    /// An internal error from any cause.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        Self::Internal { cause: cause.to_string() }
    }

    /// A value that does not fit, at one place.
    pub fn invalid_field(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self::Invalid {
            code: "invalid_value",
            errors: vec![FieldError::new(pointer, "invalid_value", detail.clone())],
            detail,
        }
    }

    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::Malformed { code, .. }
            | Self::Invalid { code, .. }
            | Self::Conflict { code, .. }
            | Self::Limited { code, .. } => code,
            Self::Unauthenticated { .. } => "unauthenticated",
            Self::Forbidden { .. } => "forbidden",
            Self::IdempotencyMismatch => "idempotency_mismatch",
            Self::TooLarge { .. } => "too_large",
            Self::Unavailable { .. } => "unavailable",
            Self::LeaseLost => "lease_lost",
            Self::Internal { .. } => "internal",
        }
    }
}
