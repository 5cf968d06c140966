//! Waiting for what is away for a while: a full disk, a database that restarts, an object store without room. A run is not
//! ended by it; what it wants to write is tried again until it is written or the run is somebody else's.

use std::time::Duration;

use livery_core::id::RunId;
use livery_store::{Error, Result};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::startup::MayPass as _;

/// The first pause; each further one is twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(3);

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
    let (began, mut pause, mut again) = (Instant::now(), PAUSE_FIRST, false);
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
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
        }
    }
}
