//! What a store call can answer besides a value. Callers branch on the variant; the driver's own error is for the log.

use std::sync::Arc;

/// `Result` with the store's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong below `platform`. Cloned to every operation of a batch whose commit failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The caller no longer holds the lease, or the run is over: nothing was written.
    #[error("the lease on this run is lost")]
    LeaseLost,
    /// A row this write depends on does not exist in this tenant.
    #[error("no such {what}")]
    NotFound {
        /// The noun.
        what: &'static str,
    },
    /// A row with this unique name or id exists already.
    #[error("exists already: {constraint}")]
    Exists {
        /// What the database said, for the log.
        constraint: String,
    },
    /// A cursor that this list did not hand out: altered, of another list, filter or tenant.
    #[error("the cursor does not belong to this list")]
    InvalidCursor,
    /// A value larger than its named limit.
    #[error("{what} is larger than {limit_bytes} bytes")]
    TooLarge {
        /// What was too large.
        what: &'static str,
        /// The limit in bytes.
        limit_bytes: u64,
    },
    /// A wait ended: for a place in the queue, a connection, a row another write holds. Nothing was written.
    #[error("the store is busy: {reason}")]
    Busy {
        /// Which wait ended.
        reason: &'static str,
    },
    /// The disk or the database cannot serve now (full, read-only, locked by another process). Nothing was written.
    #[error("the store is unavailable: {reason}")]
    Unavailable {
        /// For the operator.
        reason: String,
    },
    /// The database does not let this user in: a wrong password, no such role, no rule for it. Nothing was written.
    #[error("the database refuses the user: {reason}")]
    Refused {
        /// For the operator.
        reason: String,
    },
    /// The connection was lost while the commit was on its way: written or not, nobody knows. Only a server of its own can
    /// do that; an idempotency key makes it safe to ask again.
    #[error("the outcome of a commit is unknown: {reason}")]
    Unknown {
        /// For the operator.
        reason: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// A row that this version cannot read.
    #[error("a stored {what} cannot be read: {detail}")]
    Corrupt {
        /// Which value.
        what: &'static str,
        /// What is wrong with it; never the value itself.
        detail: String,
    },
    /// A domain decision taken inside a write: rolls the operation back and comes out as it went in.
    #[error(transparent)]
    Domain(#[from] livery_core::Error),
    /// A bug: a statement the database refused, a panic inside an operation.
    #[error("database error: {0}")]
    Database(Arc<dyn std::error::Error + Send + Sync>),
}

/// The disk has no room left.
pub(crate) const DISK_FULL: &str = "the disk is full";
/// The file system takes no writes.
pub(crate) const DISK_READ_ONLY: &str = "the disk is read-only";
/// Reading or writing the disk failed.
pub(crate) const DISK_FAILS: &str = "the disk reports errors";
/// Another process has it.
pub(crate) const LOCKED: &str = "the database is locked";

/// Beginnings of [`Error::Unavailable`]'s reasons that a caller may be told; what follows them is for the operator.
const TOLD: [&str; 4] = [DISK_FULL, DISK_READ_ONLY, DISK_FAILS, LOCKED];

/// The part of a reason that is anybody's to know.
fn told(reason: &str) -> &'static str {
    TOLD.into_iter().find(|known| reason.starts_with(known)).unwrap_or("it does not answer")
}

impl Error {
    /// A bug, with its cause.
    pub(crate) fn bug(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Database(Arc::from(cause.into()))
    }
}

/// Seconds a caller is told to wait when the store cannot serve.
const RETRY_AFTER_S: u64 = 1;

impl From<Error> for livery_core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Domain(error) => error,
            Error::LeaseLost => Self::LeaseLost,
            Error::NotFound { what } => Self::NotFound { what },
            Error::Exists { .. } => Self::Conflict { code: "conflict", detail: "it exists already".into() },
            Error::InvalidCursor => Self::Invalid {
                code: "invalid_cursor",
                detail: "the cursor does not belong to this list; start again without one".into(),
                errors: Vec::new(),
            },
            Error::TooLarge { what, limit_bytes } => Self::TooLarge { what, limit_bytes },
            Error::Busy { .. } => {
                Self::Unavailable { detail: "the database is busy".into(), retry_after_s: RETRY_AFTER_S }
            }
            Error::Unavailable { reason } => Self::Unavailable {
                detail: format!("the database is unavailable: {}", told(&reason)),
                retry_after_s: RETRY_AFTER_S,
            },
            Error::Refused { .. } => {
                Self::Unavailable { detail: "the database is unavailable".into(), retry_after_s: RETRY_AFTER_S }
            }
            Error::Unknown { .. } => Self::Unavailable {
                detail: "the database was lost while it committed, and whether it did is unknown; \
                         ask again with the same Idempotency-Key"
                    .into(),
                retry_after_s: RETRY_AFTER_S,
            },
            Error::Closed => Self::Unavailable { detail: "shutting down".into(), retry_after_s: RETRY_AFTER_S },
            Error::Corrupt { .. } | Error::Database(_) => Self::internal(error),
        }
    }
}
