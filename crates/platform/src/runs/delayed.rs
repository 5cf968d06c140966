//! Runs that wait for their time: the alarm that wakes the workers when one is due.

use std::time::Duration;

use crate::Platform;

/// Longest time between two looks at when the next run is due: another node may have accepted it.
const POLL: Duration = Duration::from_secs(1);
/// Shortest time between two looks, however often the queue's bell rings.
const SPACING: Duration = Duration::from_millis(50);

/// Wakes this node's workers at the moment a run that was accepted for later may start, until the node stops.
pub(crate) async fn wake_delayed(platform: Platform) {
    let mut bell = platform.store.queue_doorbell();
    while !platform.stop.is_cancelled() {
        let now = platform.clock.now();
        let next = match platform.store.system_next_start_at(now).await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(%error, "it cannot be seen when the next run is due");
                None
            }
        };
        let left = next.map_or(POLL, |at| Duration::from_micros(at.micros_since(now))).min(POLL);
        tokio::select! {
            () = platform.stop.cancelled() => {}
            () = tokio::time::sleep(left) => {}
            // Something was accepted, perhaps for sooner.
            () = bell.rung() => tokio::time::sleep(SPACING.min(left)).await,
        }
        if next.is_some_and(|at| at <= platform.clock.now()) {
            platform.runs_due.notify_one();
        }
    }
}
