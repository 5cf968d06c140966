//! Stopping a run on request: durable first, then whoever works on it is told.

use std::time::Duration;

use livery_core::id::RunId;
use livery_core::{Error, ErrorCode, EventType, Result, RunError, RunStatus};
use livery_harness::record::{RunStopped, StopCause};
use livery_store::{CancelRequest, NewEvent, Terminal};

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
        let now = self.clock.now();
        let error = RunError::fatal(ErrorCode::Cancelled, "cancelled on request");
        let data = RunStopped { error: error.clone(), cause: Some(StopCause::Outside) };
        let event = NewEvent::new(EventType::RunCancelled, principal.key.to_string(), now, &data)?;
        let end = Terminal {
            status: RunStatus::Cancelled,
            output: None,
            error: Some(error),
            usage: row.usage,
            cost: row.cost,
            finished_at: now,
        };
        let outbox = Outbox::of_run(self.clone(), &row)?;
        let org = principal.org;
        self.reached(EffectKind::Cancel, Phase::Before);
        let posted = self
            .post(caller, move |tx| {
                Box::pin(async move {
                    if tx.request_cancel(org, run, now).await? == CancelRequest::Idle {
                        let events = std::slice::from_ref(&event);
                        if let Some(first_seq) = tx.finish_unleased(org, run, &end, events).await? {
                            outbox.append(tx, first_seq, events).await?;
                        }
                    }
                    let row = tx.get_run(org, run).await?.ok_or(Error::NotFound { what: "run" })?;
                    Ok(RunView::of(row, Vec::new())?)
                })
            })
            .await?;
        self.reached(EffectKind::Cancel, Phase::Committed);
        self.running.cancel(run);
        // A run somebody works on is counted by its worker.
        let idle = matches!(row.status, RunStatus::Queued | RunStatus::Waiting);
        if idle && matches!(&posted, Posted::Fresh(view) if view.status == RunStatus::Cancelled) {
            self.metrics.run_ended(RunStatus::Cancelled, Duration::ZERO);
        }
        Ok(posted)
    }
}
