//! What can go wrong with objects, in words that carry nothing a bucket or a disk said.

use std::io;

use livery_core::Error;

/// When to try again, in seconds.
const RETRY_AFTER_S: u64 = 5;

/// Why an object could not be put or got.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// There is nothing under this key.
    #[error("the object is not there")]
    Missing,
    /// No room is left.
    #[error("the object store is full")]
    Full,
    /// It asks for fewer requests.
    #[error("the object store is overloaded and asks to slow down")]
    SlowDown,
    /// It does not answer in time.
    #[error("the object store does not answer in time")]
    Slow,
    /// It cannot be reached, in the words of the client.
    #[error("the object store cannot be reached: {0}")]
    Unreachable(String),
    /// It does not accept who asks.
    #[error("the object store refuses the credentials or the right to do this ({0})")]
    Denied(String),
    /// The bucket is not there.
    #[error("the object store has no such bucket")]
    NoBucket,
    /// Any other answer that is no success: status and code.
    #[error("the object store answers {0}")]
    Refused(String),
    /// What it answers makes no sense.
    #[error("the object store gives an answer that makes no sense")]
    Nonsense,
    /// What is there is not what was stored.
    #[error("the object is not what was stored")]
    Damaged,
    /// The folder refuses, in the words of the kernel.
    #[error("the object store's disk fails: {0}")]
    Disk(String),
    /// This node's own spool refuses.
    #[error("this node has no room to receive files")]
    Spool,
    /// Too much is on its way at once.
    #[error("too many bytes are on their way at once")]
    Busy,
}

impl Failure {
    /// What a file system said.
    pub(super) fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            kind => Self::Disk(kind.to_string()),
        }
    }

    /// The same about the spool, as callers are told.
    pub(super) fn spooling(self) -> Error {
        match self {
            Self::Full => unavailable("this node's disk is full"),
            other => {
                tracing::error!(%other, "the spool cannot be written");
                unavailable("this node has no room to receive files")
            }
        }
    }

    /// Whether trying again later can work.
    pub fn may_pass(&self) -> bool {
        !matches!(self, Self::Missing | Self::Damaged)
    }

    /// One line for the operator. What may be asked for and not be there is the caller's to judge.
    pub(super) fn log(&self, what: &'static str, key: &str) {
        match self {
            Self::Missing => {}
            failure => tracing::warn!(%failure, what, key, "the object store fails"),
        }
    }
}

fn unavailable(detail: &str) -> Error {
    Error::Unavailable { detail: format!("files cannot be stored or read now: {detail}"), retry_after_s: RETRY_AFTER_S }
}

/// What a caller is told: a reason, and nothing about places or rights, which are the operator's matter.
impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Missing | Failure::Damaged => Self::internal(failure),
            Failure::Unreachable(_) => unavailable("the object store cannot be reached"),
            Failure::Denied(_) | Failure::NoBucket | Failure::Refused(_) | Failure::Nonsense => {
                unavailable("the object store refuses this node")
            }
            Failure::Disk(_) => unavailable("the object store's disk fails"),
            Failure::Full | Failure::SlowDown | Failure::Slow | Failure::Spool | Failure::Busy => {
                unavailable(&failure.to_string())
            }
        }
    }
}
