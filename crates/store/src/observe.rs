//! What the store tells whoever counts: a port, so that no metrics library is named here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// Hears how writes go. Called on the way of every write, so it only counts.
pub trait Observer: Send + Sync {
    /// A write was asked for.
    fn write_began(&self);
    /// It is over: committed, refused, or nobody waits for it any more.
    fn write_ended(&self, outcome: WriteOutcome, took: Duration);
    /// A transaction with this many writes was committed.
    fn committed(&self, operations: usize);
}

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Committed.
    Committed,
    /// The operation itself said no (a lost lease, a conflict): nothing is wrong with the store.
    Refused,
    /// The store had no turn for it in time.
    Busy,
    /// The disk or the database cannot serve.
    Unavailable,
    /// A bug or a damaged row.
    Failed,
    /// Its caller went away before the answer.
    Abandoned,
}

impl WriteOutcome {
    /// A stable word for what went wrong with the store; `None` when nothing did.
    pub const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Committed | Self::Refused | Self::Abandoned => None,
            Self::Busy => Some("busy"),
            Self::Unavailable => Some("unavailable"),
            Self::Failed => Some("failed"),
        }
    }

    fn of<T>(result: &Result<T>) -> Self {
        match result {
            Ok(_) => Self::Committed,
            Err(Error::Busy { .. }) => Self::Busy,
            Err(Error::Unavailable { .. } | Error::Unknown { .. } | Error::Closed) => Self::Unavailable,
            Err(Error::Database(_) | Error::Corrupt { .. }) => Self::Failed,
            Err(_) => Self::Refused,
        }
    }
}

/// One write being watched; dropped without an answer, it counts as abandoned.
pub(crate) struct Watched {
    observer: Option<Arc<dyn Observer>>,
    began: Instant,
}

impl Watched {
    pub(crate) fn begin(observer: Option<&Arc<dyn Observer>>) -> Self {
        if let Some(observer) = observer {
            observer.write_began();
        }
        Self { observer: observer.cloned(), began: Instant::now() }
    }

    pub(crate) fn end<T>(mut self, result: Result<T>) -> Result<T> {
        self.tell(WriteOutcome::of(&result));
        result
    }

    fn tell(&mut self, outcome: WriteOutcome) {
        if let Some(observer) = self.observer.take() {
            observer.write_ended(outcome, self.began.elapsed());
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.tell(WriteOutcome::Abandoned);
    }
}
