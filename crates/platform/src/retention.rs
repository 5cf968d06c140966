//! Letting go of what is kept long enough: the contents of runs that ended, and the record of deliveries that are over.
//!
//! Off unless the operator sets it, but for deliveries. What stays of a run is its row, and of each event the header with
//! the digest of what it said, so the log can still be proven to be whole.

use std::time::Duration;

use livery_core::id::{FileId, OrgId, RunId};
use livery_core::{Result, Timestamp};
use tokio::time::Instant;

use crate::Platform;

/// Runs emptied in one round; the next round comes minutes later.
const RUNS_PER_ROUND_MAX: u32 = 2_000;
/// Runs looked up at a time.
const RUNS_PER_LOOK: u32 = 100;
/// Writes of one round that delete deliveries.
const DELIVERY_WRITES_MAX: u32 = 200;
/// The pause between two writes: nobody's own write waits for more than one of these.
const PAUSE: Duration = Duration::from_millis(5);
/// A wall clock that moved by more than this against the machine's own steady one is not believed.
const CLOCK_DRIFT_MAX: Duration = Duration::from_secs(600);
const DAY_MS: i64 = 86_400_000;

/// How long things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retain {
    /// Days the contents of a run are kept after its end; `None`: for ever.
    pub payload_days: Option<u32>,
    /// Days a delivery is kept after it was made, once it arrived or was given up; `None`: for ever.
    pub delivery_days: Option<u32>,
}

impl Default for Retain {
    fn default() -> Self {
        Self { payload_days: None, delivery_days: Some(30) }
    }
}

/// Notices a wall clock that was set: nothing is thrown away on the word of a clock that jumped.
pub(crate) struct SteadyClock {
    wall: Timestamp,
    steady: Instant,
}

impl SteadyClock {
    pub(crate) fn start(now: Timestamp) -> Self {
        Self { wall: now, steady: Instant::now() }
    }

    /// Whether the wall clock went as far as the steady one since the start.
    pub(crate) fn agrees(&self, now: Timestamp) -> bool {
        let wall_ms = (now.as_micros() - self.wall.as_micros()) / 1000;
        let steady_ms = i64::try_from(self.steady.elapsed().as_millis()).unwrap_or(i64::MAX);
        wall_ms.abs_diff(steady_ms) <= CLOCK_DRIFT_MAX.as_millis().try_into().unwrap_or(u64::MAX)
    }
}

/// One round.
pub(crate) async fn let_go(platform: &Platform, clock: &SteadyClock) {
    let now = platform.clock.now();
    if !clock.agrees(now) {
        tracing::warn!("the machine's clock was set while this node ran; nothing old is deleted until it starts again");
        return;
    }
    let retain = platform.config.retain;
    let before = |days: u32| now.plus_millis(-i64::from(days) * DAY_MS);
    let (mut runs, mut deliveries) = (0, 0);
    let done = async {
        if let Some(days) = retain.payload_days {
            empty_runs(platform, before(days), &mut runs).await?;
        }
        if let Some(days) = retain.delivery_days {
            purge_deliveries(platform, before(days), &mut deliveries).await?;
        }
        Ok::<_, livery_core::Error>(())
    };
    if let Err(error) = done.await {
        tracing::warn!(%error, "old things cannot be deleted now; the next round goes on");
    }
    if runs + deliveries > 0 {
        tracing::info!(runs, deliveries, "deleted what was kept long enough");
    }
}

async fn empty_runs(platform: &Platform, before: Timestamp, emptied: &mut u64) -> Result<()> {
    for _ in 0..RUNS_PER_ROUND_MAX / RUNS_PER_LOOK {
        let overdue = platform.store.system_overdue_runs(before, RUNS_PER_LOOK).await?;
        for (org, run) in &overdue {
            if platform.stop.is_cancelled() {
                return Ok(());
            }
            *emptied += u64::from(empty_run(platform, *org, *run).await?);
            tokio::time::sleep(PAUSE).await;
        }
        if overdue.len() < RUNS_PER_LOOK as usize {
            return Ok(());
        }
    }
    Ok(())
}

/// One run, with the files its larger payloads are in; their bytes are swept later, like all without a row.
async fn empty_run(platform: &Platform, org: OrgId, run: RunId) -> Result<bool> {
    let mut spilled: Vec<FileId> = Vec::new();
    let mut after = 0;
    loop {
        let page = platform.store.system_events_after(run, after).await?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        spilled.extend(page.iter().filter_map(|event| crate::worker::spilled_file(event.data.as_ref()?)));
    }
    let now = platform.clock.now();
    Ok(platform
        .store
        .write(move |tx| {
            Box::pin(async move {
                let emptied = tx.empty_run(org, run, now).await?;
                for file in spilled.iter().filter(|_| emptied) {
                    tx.remove_file(org, *file).await?;
                }
                Ok(emptied)
            })
        })
        .await?)
}

async fn purge_deliveries(platform: &Platform, before: Timestamp, deleted: &mut u64) -> Result<()> {
    for _ in 0..DELIVERY_WRITES_MAX {
        let write = platform.store.write(move |tx| Box::pin(async move { tx.system_purge_deliveries(before).await }));
        match write.await? {
            0 => return Ok(()),
            gone => *deleted += gone,
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{DAY_MS, SteadyClock};

    #[test]
    fn a_clock_that_was_set_is_not_believed() {
        let now = livery_core::Timestamp::from_micros(1_700_000_000_000_000);
        let clock = SteadyClock::start(now);
        assert!(clock.agrees(now) && clock.agrees(now.plus_millis(60_000)));
        assert!(!clock.agrees(now.plus_millis(DAY_MS)), "a day ahead");
        assert!(!clock.agrees(now.plus_millis(-DAY_MS)), "a day back");
    }
}
