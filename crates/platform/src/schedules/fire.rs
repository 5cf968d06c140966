//! The clock's hand: due schedules are claimed and their runs started in the same transaction, so that of many nodes one
//! fires and a crash in between fires later, never twice.

use std::time::Duration;

use livery_core::id::{RunId, ScheduleId};
use livery_core::{Error, Result, RunStatus, Timestamp};
use livery_store::{RunRow, ScheduleRow, Slot, Tx};
use serde_json::{Value, json};

use super::timing::{Due, MISSED_AFTER_MS, Timing};
use super::{CatchUp, Overlap, owner_of, request_of, rule_of};
use crate::audit::note;
use crate::effects::{EffectKind, Phase};
use crate::runs::{Cause, Prepared, Queueing, RunView, cancel_in, explain};
use crate::webhooks::Outbox;
use crate::{Caller, Platform, Posted, Scope};

/// Longest time between two looks at what is due: another node may have changed it.
const POLL: Duration = Duration::from_secs(1);
/// The same while runs wait behind others of their schedule.
const POLL_HELD: Duration = Duration::from_millis(250);
/// Schedules fired in one round.
const ROUND_MAX: u32 = 64;
/// Runs of one schedule that may wait behind another (`overlap: queue`); further fires are skipped.
pub(super) const HELD_MAX: u64 = 10;
/// Runs under way that one fire looks at.
const LIVE_MAX: u32 = 100;
/// Fires in a row that may fail before a schedule is paused.
pub(super) const FAILURES_MAX: u32 = 10;

/// Fires schedules until the node stops.
pub(crate) async fn keep_time(platform: Platform) {
    while !platform.stop.is_cancelled() {
        let sleep = match tick(&platform).await {
            Ok(sleep) => sleep,
            Err(error) => {
                tracing::warn!(%error, "schedules cannot be fired");
                POLL
            }
        };
        tokio::select! {
            () = platform.stop.cancelled() => {}
            () = tokio::time::sleep(sleep) => {}
        }
    }
}

/// Does what is due; how long until the next look.
pub(super) async fn tick(platform: &Platform) -> Result<Duration> {
    let now = platform.clock.now();
    let held = platform.store.system_count_held_runs().await? > 0;
    if held {
        platform.store.write(move |tx| Box::pin(async move { tx.system_release_held_runs(now).await })).await?;
    }
    let due = platform.store.system_due_schedules(now, ROUND_MAX).await?;
    for row in &due {
        platform.fire(row, now).await?;
    }
    if due.len() == usize::try_from(ROUND_MAX).unwrap_or(usize::MAX) {
        return Ok(Duration::ZERO);
    }
    let next = platform.store.system_next_schedule_at().await?;
    let until = next.map_or(POLL, |at| Duration::from_micros(at.micros_since(platform.clock.now())));
    Ok(until.min(if held { POLL_HELD } else { POLL }))
}

/// What came of a claimed slot.
#[derive(Default)]
struct Started {
    run: bool,
    /// Runs asked to stop, and whether they ended at once.
    replaced: Vec<(RunId, bool)>,
}

impl Platform {
    /// Deals with one due schedule.
    ///
    /// # Errors
    /// Only those that will pass: then the slot is still there.
    async fn fire(&self, row: &ScheduleRow, now: Timestamp) -> Result<()> {
        let Some(expected) = row.next_slot_at else { return Ok(()) };
        let timing = match Timing::new(row.id, &row.cron, &row.time_zone, row.jitter_s) {
            Ok(timing) => timing,
            // Written by a version that knew more zones than this one.
            Err(error) => {
                return self.give_up(row, Slot { expected, dealt: expected, next: None }, now, &error, 1).await;
            }
        };
        let Some(due) = timing.due(expected, now) else { return Ok(()) };
        let slot = Slot { expected, dealt: due.newest, next: due.next };
        let late = due.fire < now.plus_millis(-MISSED_AFTER_MS);
        if late && rule_of::<CatchUp>(&row.catch_up)? == CatchUp::None {
            return self.skip_missed(row, slot, due.missed + 1, now).await;
        }
        let cause = Cause { schedule: Some((row.id, Some(due.newest))), ..Cause::default() };
        let prepared = match self.prepare_run(&self.caller_for(owner_of(row)), &request_of(row)?, &cause).await {
            Ok(prepared) => prepared,
            Err(error @ (Error::Unavailable { .. } | Error::Internal { .. } | Error::Limited { .. })) => {
                return Err(error);
            }
            Err(error) => return self.give_up(row, slot, now, &error, FAILURES_MAX).await,
        };
        self.start_slot(row, slot, due, prepared, now).await
    }

    async fn start_slot(
        &self,
        row: &ScheduleRow,
        slot: Slot,
        due: Due,
        prepared: Prepared,
        now: Timestamp,
    ) -> Result<()> {
        let (platform, row, overlap) = (self.clone(), row.clone(), rule_of::<Overlap>(&row.overlap)?);
        self.reached(EffectKind::ScheduleFire, Phase::Before);
        let started = self
            .store
            .write(move |tx| {
                Box::pin(async move {
                    if !tx.claim_schedule(row.org, row.id, row.revision, slot).await? {
                        return Ok(Started::default());
                    }
                    if due.missed > 0 {
                        note_skipped(tx, &row, now, "missed", slot.expected, due.missed).await?;
                    }
                    platform.reached(EffectKind::ScheduleFire, Phase::During);
                    start_beside_others(tx, &platform, &row, overlap, slot.dealt, prepared, now).await
                })
            })
            .await?;
        self.reached(EffectKind::ScheduleFire, Phase::Committed);
        if started.run {
            self.metrics.run_accepted();
        }
        for (run, ended) in started.replaced {
            self.running.cancel(run);
            // A run somebody works on is counted by its worker.
            if ended {
                self.metrics.run_ended(RunStatus::Cancelled, Duration::ZERO);
            }
        }
        Ok(())
    }

    async fn skip_missed(&self, row: &ScheduleRow, slot: Slot, count: u64, now: Timestamp) -> Result<()> {
        let row = row.clone();
        self.store
            .write(move |tx| {
                Box::pin(async move {
                    if tx.claim_schedule(row.org, row.id, row.revision, slot).await? {
                        note_skipped(tx, &row, now, "missed", slot.expected, count).await?;
                    }
                    Ok(())
                })
            })
            .await?;
        Ok(())
    }

    /// Moves on from a slot whose run cannot be started, and says why where it is seen.
    async fn give_up(&self, row: &ScheduleRow, slot: Slot, now: Timestamp, error: &Error, pause_at: u32) -> Result<()> {
        let (row, code, detail) = (row.clone(), error.code(), explain(error));
        tracing::info!(schedule = %row.id, code, "a schedule could not start its run");
        self.store
            .write(move |tx| {
                Box::pin(async move {
                    if !tx.claim_schedule(row.org, row.id, row.revision, slot).await? {
                        return Ok(());
                    }
                    let data = json!({"schedule": row.id, "slot": slot.dealt, "code": code, "detail": detail});
                    note(tx, row.org, "schedule.failed", now, row.id, data).await?;
                    if tx.note_schedule_failure(row.org, row.id, &detail, pause_at, now).await? {
                        let data = json!({"schedule": row.id, "reason": detail});
                        note(tx, row.org, "schedule.paused", now, row.id, data).await?;
                    }
                    Ok(())
                })
            })
            .await?;
        Ok(())
    }

    /// Starts a run of a schedule out of turn, whatever else of it is under way, paused or not.
    ///
    /// # Errors
    /// [`Error::NotFound`], and those of [`Platform::start_run`].
    pub async fn run_schedule(&self, caller: &Caller, id: ScheduleId) -> Result<Posted<RunView>> {
        let principal = &caller.principal;
        principal.require(Scope::SchedulesWrite)?;
        principal.require(Scope::RunsWrite)?;
        if let Some(answered) = self.answered(caller).await? {
            return Ok(answered);
        }
        let row = self.visible_schedule(principal, id).await?;
        // For the schedule's application and end user, by the hand of the caller.
        let mut acting = self.caller_for(owner_of(&row));
        acting.principal.key = principal.key;
        acting.request_id = caller.request_id;
        let cause = Cause { schedule: Some((id, None)), ..Cause::default() };
        let prepared = self.prepare_run(&acting, &request_of(&row)?, &cause).await?;
        let posted = self
            .post(caller, move |tx| {
                Box::pin(async move {
                    tx.lock_schedule(row.org, id).await?;
                    let run = prepared.insert(tx, Queueing::Enqueue).await?;
                    tx.note_schedule_run(row.org, id, run.id).await?;
                    Ok(run)
                })
            })
            .await?;
        if matches!(posted, Posted::Fresh(_)) {
            self.metrics.run_accepted();
        }
        Ok(posted)
    }
}

/// Starts the run of a claimed slot by the schedule's rule for overlap; what came of it.
async fn start_beside_others(
    tx: &mut Tx,
    platform: &Platform,
    row: &ScheduleRow,
    overlap: Overlap,
    slot: Timestamp,
    prepared: Prepared,
    now: Timestamp,
) -> livery_store::Result<Started> {
    let (org, id) = (row.org, row.id);
    let live = tx.live_schedule_runs(org, id, LIVE_MAX).await?;
    let mut started = Started::default();
    let queueing = match overlap {
        _ if live.is_empty() => Queueing::Enqueue,
        Overlap::Skip => {
            note_skipped(tx, row, now, "overlap", slot, 1).await?;
            return Ok(started);
        }
        Overlap::Queue if tx.count_held_runs(org, id).await? >= HELD_MAX => {
            note_skipped(tx, row, now, "queue_full", slot, 1).await?;
            return Ok(started);
        }
        Overlap::Queue => Queueing::Hold(id),
        Overlap::Replace => {
            for run in live {
                if let Some(live) = tx.get_run(org, run).await? {
                    let ended = replace(tx, platform, row, &live, now).await?;
                    started.replaced.push((run, ended));
                }
            }
            Queueing::Enqueue
        }
    };
    let run = prepared.insert(tx, queueing).await?;
    tx.note_schedule_run(org, id, run.id).await?;
    started.run = true;
    Ok(started)
}

async fn replace(
    tx: &mut Tx,
    platform: &Platform,
    row: &ScheduleRow,
    run: &RunRow,
    now: Timestamp,
) -> livery_store::Result<bool> {
    let outbox = Outbox::of_run(platform.clone(), run)?;
    cancel_in(tx, &outbox, run, &row.id.to_string(), "replaced by the next run of its schedule", now).await
}

/// Says in the organization's stream that slots started nothing. `from` is the first of them.
async fn note_skipped(
    tx: &mut Tx,
    row: &ScheduleRow,
    now: Timestamp,
    reason: &'static str,
    from: Timestamp,
    count: u64,
) -> livery_store::Result<()> {
    let data: Value = json!({"schedule": row.id, "reason": reason, "slot": from, "count": count});
    note(tx, row.org, "schedule.skipped", now, row.id, data).await
}

#[cfg(test)]
mod tests;
