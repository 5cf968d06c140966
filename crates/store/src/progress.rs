//! The fenced writes: a run moves on, waits, ends, always together with its events.
//!
//! Every write by a worker names the lease's epoch and the state it expects in one statement, and moves the head of the
//! run's stream in the same one: sequences have no gaps, and a worker that lost its lease writes nothing. A terminal state
//! is written once.

use livery_core::id::{OrgId, RunId};
use livery_core::run::{Cost, RunError, Usage};
use livery_core::{RunStatus, Timestamp};

use crate::error::{Error, Result};
use crate::events::NewEvent;
use crate::json::Json;
use crate::runs::{Lease, text_of};
use crate::sql::{Arg, args, statements};
use crate::tx::Tx;

statements! {
    ADVANCE = "update runs set last_seq = last_seq + $4, usage = coalesce($5, usage),
        cost_micros = coalesce($6, cost_micros), pricing = coalesce($7, pricing),
        postponements = case when $5 is null then postponements else 0 end
        where id = $2 and (org_id = $1) is true and lease_epoch = $3 and status = 'running' returning last_seq";
    FINISH = "update runs set last_seq = last_seq + $4, status = $5, output = $6, error = $7, usage = $8,
        cost_micros = $9, pricing = $10, finished_at = $11, lease_owner = null, lease_expires_at = null
        where id = $2 and (org_id = $1) is true and lease_epoch = $3 and status = 'running' returning last_seq";
    FINISH_UNLEASED = "update runs set last_seq = last_seq + $3, status = $4, output = $5, error = $6, usage = $7,
        cost_micros = $8, pricing = $9, finished_at = $10, lease_epoch = lease_epoch + 1
        where id = $2 and (org_id = $1) is true and status in ('queued', 'waiting') returning last_seq";
    DEQUEUE = "delete from run_queue where org_id = $1 and run_id = $2";
    WAIT = "update runs set last_seq = last_seq + $4, status = 'waiting', lease_owner = null,
        lease_expires_at = null
        where id = $2 and (org_id = $1) is true and lease_epoch = $3 and status = 'running' returning last_seq";
    APPEND_UNLEASED = "update runs set last_seq = last_seq + $3
        where id = $2 and (org_id = $1) is true and status in ('queued', 'waiting') returning last_seq";
}

/// What a run has used up so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Used so far, all of it.
    pub usage: Usage,
    /// The cost of that.
    pub cost: Cost,
}

/// How a run ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Terminal {
    /// A terminal status.
    pub status: RunStatus,
    /// Its answer, when it succeeded.
    pub output: Option<Json>,
    /// Why not, when it did not.
    pub error: Option<RunError>,
    /// Used in all.
    pub usage: Usage,
    /// The cost of that.
    pub cost: Cost,
    /// When.
    pub finished_at: Timestamp,
}

impl Tx {
    /// Appends to a run the caller holds; the sequence of the first of `events`.
    ///
    /// # Errors
    /// `LeaseLost` when the epoch is not the run's or it is not running; then nothing is written.
    pub async fn append_run_events(&mut self, lease: &Lease, events: &[NewEvent]) -> Result<u64> {
        self.advance(lease, events, None).await
    }

    /// Sets what the run has used so far, and appends `events` (which may be none) in the same step.
    ///
    /// # Errors
    /// As for [`Tx::append_run_events`].
    pub async fn update_run_progress(
        &mut self,
        lease: &Lease,
        progress: &Progress,
        events: &[NewEvent],
    ) -> Result<u64> {
        self.advance(lease, events, Some(progress)).await
    }

    async fn advance(&mut self, lease: &Lease, events: &[NewEvent], progress: Option<&Progress>) -> Result<u64> {
        let args = args![
            lease.org,
            lease.run,
            lease.epoch,
            events.len(),
            progress.map(|progress| text_of(&progress.usage)).transpose()?,
            progress.map(|progress| progress.cost.usd),
            progress.map(|progress| text_of(&progress.cost.pricing)).transpose()?,
        ];
        let last = self.fetch_optional(ADVANCE, args).await?;
        self.append_at(lease.org, lease.run, last, events).await?.ok_or(Error::LeaseLost)
    }

    /// Writes `events` up to the head that an update just set; `None` when the update met no row.
    async fn append_at(
        &mut self,
        org: OrgId,
        run: RunId,
        head: Option<(u64,)>,
        events: &[NewEvent],
    ) -> Result<Option<u64>> {
        let Some((last_seq,)) = head else { return Ok(None) };
        let first_seq = last_seq + 1 - events.len() as u64;
        self.insert_run_events(org, run, first_seq, events).await?;
        Ok(Some(first_seq))
    }

    /// Ends a run the caller holds, with its last events, and gives the lease back. The first of `events`' sequence.
    ///
    /// # Errors
    /// `LeaseLost` when the epoch is not the run's or it is over already; then nothing is written.
    pub async fn finish_run(&mut self, lease: &Lease, end: &Terminal, events: &[NewEvent]) -> Result<u64> {
        let mut args = args![lease.org, lease.run, lease.epoch, events.len()];
        args.extend(terminal_args(end)?);
        let last = self.fetch_optional(FINISH, args).await?;
        self.append_at(lease.org, lease.run, last, events).await?.ok_or(Error::LeaseLost)
    }

    /// Ends a run nobody works on (queued or waiting) and takes it off the queue. `None` when it was not in such a state
    /// (any more): then nothing is written.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn finish_unleased(
        &mut self,
        org: OrgId,
        run: RunId,
        end: &Terminal,
        events: &[NewEvent],
    ) -> Result<Option<u64>> {
        let mut args = args![org, run, events.len()];
        args.extend(terminal_args(end)?);
        let last = self.fetch_optional(FINISH_UNLEASED, args).await?;
        if last.is_some() {
            self.execute_ahead(DEQUEUE, args![org, run]).await?;
        }
        self.append_at(org, run, last, events).await
    }

    /// Puts a run the caller holds into state `waiting` and gives the lease back; the first of `events`' sequence.
    ///
    /// # Errors
    /// `LeaseLost`, as for [`Tx::append_run_events`].
    pub async fn wait_run(&mut self, lease: &Lease, events: &[NewEvent]) -> Result<u64> {
        let args = args![lease.org, lease.run, lease.epoch, events.len()];
        let last = self.fetch_optional(WAIT, args).await?;
        self.append_at(lease.org, lease.run, last, events).await?.ok_or(Error::LeaseLost)
    }

    /// Appends to a run nobody holds (queued or waiting), such as the answer it waits for. `None` when somebody does, or
    /// it is over.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn append_unleased(&mut self, org: OrgId, run: RunId, events: &[NewEvent]) -> Result<Option<u64>> {
        let last = self.fetch_optional(APPEND_UNLEASED, args![org, run, events.len()]).await?;
        self.append_at(org, run, last, events).await
    }
}

/// Status to end, in the order both `finish` statements have them.
fn terminal_args(end: &Terminal) -> Result<Vec<Arg>> {
    if !end.status.is_terminal() {
        return Err(Error::bug(format!("{} is no end of a run", end.status)));
    }
    Ok(args![
        end.status,
        &end.output,
        end.error.as_ref().map(text_of).transpose()?,
        text_of(&end.usage)?,
        end.cost.usd,
        text_of(&end.cost.pricing)?,
        end.finished_at,
    ])
}
