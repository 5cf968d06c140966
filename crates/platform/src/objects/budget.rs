//! A number of bytes that may be somewhere at once, on the whole node.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::Failure;

/// Permits are counted in these, so that a large budget fits.
const UNIT_BYTES: usize = 1024;
/// How long something waits for room.
const WAIT_MAX: Duration = Duration::from_secs(15);

/// The budget. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    units: Arc<Semaphore>,
    units_max: usize,
}

impl Budget {
    pub(crate) fn new(bytes_max: usize) -> Self {
        let units_max = (bytes_max / UNIT_BYTES).min(Semaphore::MAX_PERMITS);
        Self { units: Arc::new(Semaphore::new(units_max)), units_max }
    }

    /// Room for `bytes`, given back when the permit goes. What is larger than the whole budget gets all of it.
    ///
    /// # Errors
    /// [`Failure::Busy`] when there is none in time.
    pub(crate) async fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Failure> {
        let units = bytes.div_ceil(UNIT_BYTES).min(self.units_max);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let permit = timeout(WAIT_MAX, Arc::clone(&self.units).acquire_many_owned(units)).await;
        // The semaphore is never closed, so either error means: no room.
        permit.ok().and_then(Result::ok).ok_or(Failure::Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, Failure};

    #[tokio::test]
    async fn what_finds_no_room_in_time_is_refused() {
        let budget = Budget::new(4096);
        let first = budget.take(4000).await.unwrap();
        assert_eq!(budget.take(1).await.unwrap_err(), Failure::Busy);
        drop(first);
        assert!(budget.take(1 << 40).await.is_ok(), "the largest thing waits for all, and not for ever");
    }
}
