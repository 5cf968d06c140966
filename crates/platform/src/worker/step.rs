//! One step of a run, written in one commit: events, what was spilled, artifacts, the row and the webhooks, all or nothing.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use livery_core::id::{AppId, ApprovalId, OrgId, RunId};
use livery_core::{EventType, Timestamp};
use livery_store::{ApprovalRow, Error, FileRole, FileRow, Lease, NewEvent, Progress, Result, Terminal, Tx};

use tokio_util::sync::CancellationToken;

use super::patience::patiently;
use super::workspace::Save;
use crate::Platform;
use crate::effects::{EffectKind, Phase};
use crate::webhooks::Outbox;

/// Who did it, in the log.
pub(super) const ACTOR: &str = "worker";

/// What becomes of an approval, in the commit of the events that tell of it.
pub(super) enum ApprovalChange {
    /// A person is asked.
    Requested(Box<ApprovalRow>),
    /// Nobody answered in time.
    Expired(ApprovalId),
    /// What was approved is about to be done.
    Used(ApprovalId),
}

/// What is to be written; kept until it is.
pub(super) struct Step {
    pub(super) platform: Platform,
    pub(super) lease: Lease,
    /// The last sequence of the stream before it.
    pub(super) head: u64,
    pub(super) events: Vec<NewEvent>,
    pub(super) spilled: Vec<FileRow>,
    pub(super) artifacts: Vec<(String, FileRow)>,
    pub(super) progress: Progress,
    pub(super) end: Option<Terminal>,
    pub(super) approval: Option<ApprovalChange>,
    /// What becomes of the workspace, and which event tells of it.
    pub(super) save: Option<(usize, Save)>,
    /// Why the workspace is left as it was after all.
    pub(super) given_up: OnceLock<&'static str>,
    pub(super) outbox: Outbox,
}

impl Step {
    /// Writes it until it is written, or `lost`. A workspace whose new state the database refuses is left as it was, and the
    /// event says so: that is no reason for a run not to end.
    ///
    /// # Errors
    /// Those of the database.
    pub(super) async fn commit(self: &Arc<Self>, lost: &CancellationToken) -> Result<()> {
        let store = &self.platform.store;
        let attempt = |again| {
            let step = Arc::clone(self);
            store.write_work(move |tx| Box::pin(async move { step.write(tx, again).await }))
        };
        match patiently(self.lease.run, "a step", lost, attempt).await {
            Err(error) if error_is_of_save(&error) && self.saves() => {
                tracing::error!(run = %self.lease.run, %error, "a workspace could not be saved");
                // Nobody else writes this step.
                let _ = self.given_up.set(livery_core::Error::from(error).code());
                patiently(self.lease.run, "a step", lost, attempt).await
            }
            written => written,
        }
    }

    /// Whether it would change the state of a workspace.
    fn saves(&self) -> bool {
        self.given_up.get().is_none() && self.save.as_ref().is_some_and(|(_, save)| save.snapshot().is_some())
    }

    /// Writes it. `again`: an earlier attempt failed, perhaps after the database had committed it.
    pub(super) async fn write(&self, tx: &mut Tx, again: bool) -> Result<()> {
        if again && self.is_written(tx).await? {
            return Ok(());
        }
        for row in &self.spilled {
            tx.insert_file(row).await?;
        }
        for (path, row) in &self.artifacts {
            tx.insert_file(row).await?;
            tx.attach_file(self.lease.org, self.lease.run, FileRole::Artifact, path, row.id).await?;
        }
        if !self.change_approval(tx).await? {
            // Somebody else used it, or its time is over: this worker's view is not the run's any more, so it writes nothing.
            return Err(Error::LeaseLost);
        }
        let events = self.saved(tx).await?;
        let first_seq = match &self.end {
            Some(end) => tx.finish_run(&self.lease, end, &events).await?,
            None => tx.update_run_progress(&self.lease, &self.progress, &events).await?,
        };
        self.outbox.append(tx, first_seq, &events).await
    }

    /// Changes the state of the workspace; the events with what became of it. Who lost the lease has it undone with the rest.
    async fn saved(&self, tx: &mut Tx) -> Result<Cow<'_, [NewEvent]>> {
        let Some((index, save)) = &self.save else { return Ok(Cow::Borrowed(&self.events)) };
        let Some((base, new)) = save.snapshot() else { return Ok(Cow::Borrowed(&self.events)) };
        let mut events = self.events.clone();
        let Some(event) = events.get_mut(*index) else { return Ok(Cow::Owned(events)) };
        *event = match self.given_up.get() {
            Some(code) => save.given_up(event, code)?,
            None => save.settle(event, tx.save_workspace(base, new).await?)?,
        };
        Ok(Cow::Owned(events))
    }

    async fn change_approval(&self, tx: &mut Tx) -> Result<bool> {
        let at = self.events.first().map_or(Timestamp::from_micros(0), |event| event.at);
        match &self.approval {
            None => Ok(true),
            Some(ApprovalChange::Requested(row)) => {
                tx.insert_approval(row).await?;
                self.platform.reached(EffectKind::ApprovalRequest, Phase::During);
                Ok(true)
            }
            Some(ApprovalChange::Expired(id)) => tx.expire_approval(self.lease.org, *id, at).await,
            Some(ApprovalChange::Used(id)) => tx.use_approval(self.lease.org, *id, at).await,
        }
    }

    /// Whether the attempt whose answer was lost had been committed after all. Only the holder of a lease moves the head of
    /// its stream, and the fenced update waits for an attempt that is still being committed, so the head tells.
    async fn is_written(&self, tx: &mut Tx) -> Result<bool> {
        let written = self.head + self.events.len() as u64;
        match tx.update_run_progress(&self.lease, &self.progress, &[]).await {
            Ok(next) => Ok(!self.events.is_empty() && next > written),
            Err(Error::LeaseLost) if self.end.is_some() => {
                let row = tx.get_run(self.lease.org, self.lease.run).await?;
                let ended = row.is_some_and(|row| {
                    row.status.is_terminal() && row.lease_epoch == self.lease.epoch && row.last_seq == written
                });
                if ended { Ok(true) } else { Err(Error::LeaseLost) }
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether a write failed for good, and not for want of the lease: of what a step writes, only the state of a workspace
/// stands in rows that others change too.
const fn error_is_of_save(error: &Error) -> bool {
    !matches!(error, Error::LeaseLost | Error::Closed)
}

/// A step being put together.
pub(super) struct Written {
    pub(super) platform: Platform,
    pub(super) run: RunId,
    pub(super) org: OrgId,
    pub(super) application: Option<AppId>,
    pub(super) lost: CancellationToken,
    pub(super) events: Vec<NewEvent>,
    pub(super) spilled: Vec<FileRow>,
    pub(super) progress: Progress,
    pub(super) approval: Option<ApprovalChange>,
    pub(super) now: Timestamp,
}

impl Written {
    /// Adds an event; a payload too large for the log is stored as a file first.
    pub(super) async fn event(&mut self, event_type: EventType, data: String) -> Result<()> {
        self.event_of(ACTOR.to_owned(), event_type, data).await
    }

    /// The same of somebody else.
    pub(super) async fn event_of(&mut self, actor: String, event_type: EventType, data: String) -> Result<()> {
        let fit = |_| {
            let fitted = self.platform.fit(self.org, self.application, data.clone());
            async { Ok(fitted.await?) }
        };
        let (data, spilled) = patiently(self.run, "an event", &self.lost, fit).await?;
        self.spilled.extend(spilled);
        self.events.push(NewEvent { event_type, actor, on_behalf_of: None, at: self.now, data });
        Ok(())
    }
}
