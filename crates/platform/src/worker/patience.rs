//! Waiting for what is away for a while: a full disk, a database that restarts, an object store without room. A run is not
//! ended by it; what it wants to write is tried again until it is written or the run is somebody else's.

use std::time::Duration;

use livery_core::id::RunId;
use livery_store::{Error, Result};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::patience::{MayPass, Pauses};

/// The first pause.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(3);
/// How long a call waits for what it has to know before it may go. Then it is refused, and the model may think of something
/// else.
pub(super) const CALL_WAIT_MAX: Duration = Duration::from_secs(60);

/// Between two tries of whatever a run waits for.
pub(super) const fn pauses() -> Pauses {
    Pauses::between(PAUSE_FIRST, PAUSE_MAX)
}

/// Calls `work` until it succeeds or fails for good, or until `lost`. It is told whether it was tried before.
///
/// # Errors
/// `LeaseLost` when the run was lost meanwhile; what `work` said, when waiting does not help.
pub(super) async fn patiently<T, F>(
    run: RunId,
    what: &'static str,
    lost: &CancellationToken,
    mut work: impl FnMut(bool) -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let (began, mut pauses, mut again) = (Instant::now(), pauses(), false);
    loop {
        match work(again).await {
            Err(error) if error.may_pass() => {
                if !again {
                    tracing::warn!(%run, %error, "{what} of a run waits for the store");
                }
                again = true;
            }
            outcome => {
                if again && outcome.is_ok() {
                    tracing::info!(%run, waited_ms = began.elapsed().as_millis(), "{what} of a run was written");
                }
                return outcome;
            }
        }
        tokio::select! {
            () = lost.cancelled() => return Err(Error::LeaseLost),
            () = pauses.pause() => {}
        }
    }
}

/// Reads until it succeeds, fails for good, or `most` has passed: longer than a database needs to come back.
///
/// # Errors
/// What `read` said last.
pub(super) async fn read_patiently<T, E, F>(
    run: RunId,
    what: &'static str,
    most: Duration,
    mut read: impl FnMut() -> F,
) -> std::result::Result<T, E>
where
    E: MayPass,
    F: Future<Output = std::result::Result<T, E>>,
{
    let (began, mut pauses) = (Instant::now(), pauses());
    loop {
        match read().await {
            Err(error) if error.may_pass() && began.elapsed() < most => {
                tracing::warn!(%run, %error, "{what} of a run cannot be read; it is tried again");
                pauses.pause().await;
            }
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use livery_core::Error;

    use super::*;

    /// Calls until there is an answer, and what it is, when the first `away` calls find nobody.
    async fn tried(away: u32, most: Duration, error: fn() -> Error) -> (u32, bool) {
        let calls = Cell::new(0);
        let read = || {
            calls.set(calls.get() + 1);
            std::future::ready(if calls.get() > away { Ok(()) } else { Err(error()) })
        };
        let read = read_patiently(RunId::from_bits(1), "a thing", most, read).await;
        (calls.get(), read.is_ok())
    }

    #[tokio::test]
    async fn what_passes_is_waited_for_and_nothing_else() {
        let away = || Error::Unavailable { detail: "gone".into(), retry_after_s: 1 };
        let long = Duration::from_secs(60);
        assert_eq!(tried(0, long, away).await, (1, true));
        assert_eq!(tried(3, long, away).await, (4, true));
        assert_eq!(tried(u32::MAX, Duration::ZERO, away).await, (1, false));
        assert_eq!(tried(9, long, || Error::NotFound { what: "thing" }).await, (1, false));
    }
}
