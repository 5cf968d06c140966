//! How a run is let go without having been worked on: put off, given back, or ended because it cannot even be set up.

use std::time::Duration;

use livery_core::{Error, ErrorCode, EventType, RunError, RunStatus};
use livery_harness::record::{RunStopped, StopCause};
use livery_store::{Lease, NewEvent, RunRow};
use serde_json::json;

use super::step::ACTOR;
use crate::Platform;
use crate::webhooks::Outbox;

/// How often in a row a run is put off before it fails.
const POSTPONEMENTS_MAX: u32 = 20;
/// The first pause; each one after it is twice as long.
const PAUSE_MS_FIRST: i64 = 500;
/// The longest pause. With it, a run waits for about a quarter of an hour in all.
const PAUSE_MS_MAX: i64 = 60_000;

/// A run that cannot be set up: what may pass is waited for, a bounded number of times; anything else ends it.
pub(super) async fn set_down(platform: &Platform, lease: Lease, row: &RunRow, error: RunError) {
    if !error.retryable {
        return give_up(platform, lease, row, error).await;
    }
    // Unreadable is no reason to stop counting: then the lease runs out, and that is counted too.
    let Ok(before) = platform.store.postponements(row.org, row.id).await else { return };
    if before >= POSTPONEMENTS_MAX {
        let message = format!("{} ({POSTPONEMENTS_MAX} times in a row)", error.message);
        return give_up(platform, lease, row, RunError::retryable(ErrorCode::Internal, message)).await;
    }
    if let Err(failed) = put_off(platform, lease, before, &error.message).await {
        tracing::warn!(run = %lease.run, error = %failed, "a run could not be put off; its lease runs out");
    }
}

async fn put_off(platform: &Platform, lease: Lease, before: u32, why: &str) -> Result<(), Error> {
    let pause_ms = pause_ms(before);
    let (now, times) = (platform.clock.now(), before + 1);
    let message = format!("{why}; tried again in {} s ({times} of {POSTPONEMENTS_MAX})", pause_ms.div_ceil(1000));
    tracing::warn!(run = %lease.run, message, "a run cannot be set up now");
    let data = json!({"level": "warning", "message": message});
    let event = NewEvent::new(EventType::LogWritten, ACTOR, now, &data)?;
    let until = now.plus_millis(i64::try_from(pause_ms).unwrap_or(PAUSE_MS_MAX));
    let write = platform.store.write(move |tx| {
        Box::pin(async move {
            tx.append_run_events(&lease, std::slice::from_ref(&event)).await?;
            tx.postpone_run(&lease, until).await
        })
    });
    Ok(write.await?)
}

fn pause_ms(before: u32) -> u64 {
    let doubled = PAUSE_MS_FIRST.saturating_mul(1_i64.checked_shl(before).unwrap_or(i64::MAX));
    u64::try_from(doubled.clamp(PAUSE_MS_FIRST, PAUSE_MS_MAX)).unwrap_or_default()
}

/// A run that cannot even be set up ends with the reason, so that it does not come back for ever.
async fn give_up(platform: &Platform, lease: Lease, row: &RunRow, error: RunError) {
    tracing::error!(run = %lease.run, code = %error.code, message = %error.message, "a run cannot be set up");
    let now = platform.clock.now();
    let data = RunStopped { error: error.clone(), cause: Some(StopCause::Outside) };
    let end = livery_store::Terminal {
        status: RunStatus::Failed,
        output: None,
        error: Some(error),
        usage: row.usage,
        cost: row.cost,
        finished_at: now,
    };
    let written = async {
        let event = NewEvent::new(EventType::RunFailed, ACTOR, now, &data)?;
        let outbox = Outbox::of_run(platform.clone(), row)?;
        platform
            .store
            .write(move |tx| {
                Box::pin(async move {
                    let events = std::slice::from_ref(&event);
                    let first_seq = tx.finish_run(&lease, &end, events).await?;
                    outbox.append(tx, first_seq, events).await
                })
            })
            .await?;
        Ok::<_, Error>(())
    };
    platform.metrics.run_ended(RunStatus::Failed, Duration::ZERO);
    if let Err(error) = written.await {
        tracing::warn!(run = %lease.run, %error, "the end of a run could not be written; its lease runs out");
    }
}

/// Gives a run back, unfinished: the next claim takes it at once.
pub(super) async fn release(platform: &Platform, lease: Lease) {
    let now = platform.clock.now();
    let released = platform.store.write(move |tx| Box::pin(async move { tx.release_run(&lease, now).await })).await;
    if let Err(error) = released {
        tracing::warn!(run = %lease.run, %error, "a run could not be released; its lease runs out");
    }
}

/// Gives a run back whose sandbox died under it: whoever takes it counts that, so that a run which kills launchers comes to
/// its end.
pub(super) async fn interrupt(platform: &Platform, lease: Lease) {
    let now = platform.clock.now();
    let let_go = platform.store.write(move |tx| Box::pin(async move { tx.expire_run(&lease, now).await })).await;
    if let Err(error) = let_go {
        tracing::warn!(run = %lease.run, %error, "a run could not be given back; its lease runs out");
    }
}

#[cfg(test)]
mod tests {
    use super::{PAUSE_MS_MAX, POSTPONEMENTS_MAX, pause_ms};

    #[test]
    fn pauses_double_up_to_a_minute() {
        assert_eq!([0, 1, 2, 6, 7, 19].map(pause_ms), [500, 1000, 2000, 32_000, 60_000, 60_000]);
        assert_eq!(pause_ms(200), u64::try_from(PAUSE_MS_MAX).unwrap());
        let all: u64 = (0..POSTPONEMENTS_MAX).map(pause_ms).sum();
        assert!((600_000..1_200_000).contains(&all), "{all} ms");
    }
}
