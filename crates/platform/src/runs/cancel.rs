//! Stopping a run on request: durable first, then whoever works on it is told.

use std::time::Duration;

use livery_core::id::RunId;
use livery_core::{Error, ErrorCode, EventType, Result, RunError, RunStatus, Timestamp};
use livery_harness::record::{RunStopped, StopCause};
use livery_store::{CancelRequest, NewEvent, RunRow, Terminal, Tx};

use super::view::RunView;
use crate::effects::{EffectKind, Phase};
use crate::webhooks::Outbox;
use crate::{Caller, Platform, Posted, Scope};

impl Platform {
    /// Asks a run to stop. A queued one ends at once, a running one within a second; one that is over stays what it is.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a run that is not the caller's.
    pub async fn cancel_run(&self, caller: &Caller, run: RunId) -> Result<Posted<RunView>> {
        let principal = &caller.principal;
        principal.require(Scope::RunsWrite)?;
        let row = self.visible_run(principal, run).await?;
        let (org, actor, now) = (principal.org, principal.key.to_string(), self.clock.now());
        // A run somebody works on is counted by its worker.
        let idle = matches!(row.status, RunStatus::Queued | RunStatus::Waiting);
        let outbox = Outbox::of_run(self.clone(), &row)?;
        self.reached(EffectKind::Cancel, Phase::Before);
        let posted = self
            .post(caller, move |tx| {
                Box::pin(async move {
                    cancel_in(tx, &outbox, &row, &actor, "cancelled on request", now).await?;
                    let row = tx.get_run(org, run).await?.ok_or(Error::NotFound { what: "run" })?;
                    Ok(RunView::of(row, Vec::new())?)
                })
            })
            .await?;
        self.reached(EffectKind::Cancel, Phase::Committed);
        self.running.cancel(run);
        if idle && matches!(&posted, Posted::Fresh(view) if view.status == RunStatus::Cancelled) {
            self.metrics.run_ended(RunStatus::Cancelled, Duration::ZERO);
        }
        Ok(posted)
    }
}

/// Asks a run to stop, in a transaction: one nobody works on ends here, which is the answer. After the commit, whoever
/// works on it is told by [`Running::cancel`](crate::worker::Running::cancel) or by the run's bell.
pub(crate) async fn cancel_in(
    tx: &mut Tx,
    outbox: &Outbox,
    row: &RunRow,
    actor: &str,
    why: &str,
    now: Timestamp,
) -> livery_store::Result<bool> {
    if tx.request_cancel(row.org, row.id, now).await? != CancelRequest::Idle {
        return Ok(false);
    }
    let error = RunError::fatal(ErrorCode::Cancelled, why);
    let data = RunStopped { error: error.clone(), cause: Some(StopCause::Outside) };
    let event = NewEvent::new(EventType::RunCancelled, actor, now, &data)?;
    let end = Terminal {
        status: RunStatus::Cancelled,
        output: None,
        error: Some(error),
        usage: row.usage,
        cost: row.cost,
        finished_at: now,
    };
    let events = std::slice::from_ref(&event);
    let Some(first_seq) = tx.finish_unleased(row.org, row.id, &end, events).await? else { return Ok(false) };
    outbox.append(tx, first_seq, events).await?;
    Ok(true)
}
