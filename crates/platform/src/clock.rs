//! The one place that reads the wall clock. Everything else is handed a [`Clock`], so a test can stop time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use livery_core::Timestamp;

/// Where the time comes from. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    /// Microseconds since the epoch, when a test holds the time.
    held: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that stands at `now` until [`Clock::set`].
    pub fn held_at(now: Timestamp) -> Self {
        Self { held: Some(Arc::new(AtomicI64::new(now.as_micros()))) }
    }

    /// Moves a held clock; does nothing to the machine's.
    pub fn set(&self, now: Timestamp) {
        if let Some(held) = &self.held {
            held.store(now.as_micros(), Ordering::Relaxed);
        }
    }

    /// Now, in microseconds UTC.
    pub fn now(&self) -> Timestamp {
        if let Some(held) = &self.held {
            return Timestamp::from_micros(held.load(Ordering::Relaxed));
        }
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}
