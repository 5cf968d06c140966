//! Runs: the row, its birth, the fenced writes of whoever holds the lease, its end.
//!
//! Every write by a worker names the lease's epoch and the state it expects in one statement, and moves the head of the
//! run's stream in the same one: sequences have no gaps, and a worker that lost its lease writes nothing. A terminal state
//! is written once.

use livery_core::id::{AgentId, AppId, EndUserId, OrgId, RunId};
use livery_core::run::{Cost, Limits, Pricing, RunError, Usage};
use livery_core::{RunStatus, Timestamp};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::events::NewEvent;
use crate::json::Json;
use crate::sql::{Arg, FromRow, Row, args, statements};
use crate::store::Store;
use crate::tx::Tx;

/// Largest metadata of a run, as JSON text.
const METADATA_BYTES_MAX: usize = 16 * 1024;

/// The columns of [`RunRow`], in its order.
macro_rules! run_columns {
    () => {
        "id, org_id, application_id, end_user_id, agent_id, agent_name, agent_version, status, input, output, error, \
         model, sandbox, limits, metadata, connections, webhook, usage, cost_micros, pricing, last_seq, created_at, \
         started_at, finished_at, cancel_requested_at, lease_epoch, recoveries"
    };
}
pub(crate) use run_columns;

statements! {
    INSERT = "insert into runs (id, org_id, application_id, end_user_id, agent_id, agent_name, agent_version, status,
        input, model, sandbox, limits, metadata, connections, webhook, usage, cost_micros, pricing, last_seq,
        created_at, lease_epoch, recoveries)
        values ($1, $2, $3, $4, $5, $6, $7, 'queued', $8, $9, $10, $11, $12, $13, $14, $15, 0, $16, $17, $18, 0, 0)";
    INSERT_METADATA = "insert into run_metadata (org_id, key, value, created_at, run_id) values ($1, $2, $3, $4, $5)";
    GET = concat!("select ", run_columns!(), " from runs where org_id = $1 and id = $2");
    COUNT_BY_STATUS = "select count(*) from runs where org_id = $1 and status = $2";
    REQUEST_CANCEL = "update runs set cancel_requested_at = coalesce(cancel_requested_at, $3)
        where org_id = $1 and id = $2 and status in ('queued', 'running', 'waiting') returning status, lease_epoch";
    GET_STATUS = "select status from runs where org_id = $1 and id = $2";
    ADVANCE = "update runs set last_seq = last_seq + $4, usage = coalesce($5, usage),
        cost_micros = coalesce($6, cost_micros), pricing = coalesce($7, pricing)
        where org_id = $1 and id = $2 and lease_epoch = $3 and status = 'running' returning last_seq";
    FINISH = "update runs set last_seq = last_seq + $4, status = $5, output = $6, error = $7, usage = $8,
        cost_micros = $9, pricing = $10, finished_at = $11, lease_owner = null, lease_expires_at = null
        where org_id = $1 and id = $2 and lease_epoch = $3 and status = 'running' returning last_seq";
    FINISH_UNLEASED = "update runs set last_seq = last_seq + $3, status = $4, output = $5, error = $6, usage = $7,
        cost_micros = $8, pricing = $9, finished_at = $10, lease_epoch = lease_epoch + 1
        where org_id = $1 and id = $2 and status in ('queued', 'waiting') returning last_seq";
    DEQUEUE = "delete from run_queue where org_id = $1 and run_id = $2";
    WAIT = "update runs set last_seq = last_seq + $4, status = 'waiting', lease_owner = null,
        lease_expires_at = null, lease_epoch = lease_epoch + 1
        where org_id = $1 and id = $2 and lease_epoch = $3 and status = 'running' returning last_seq";
    APPEND_UNLEASED = "update runs set last_seq = last_seq + $3
        where org_id = $1 and id = $2 and status in ('queued', 'waiting') returning last_seq";
}

/// The right to write to a run: whose it is, which, and the epoch that fences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The tenant.
    pub org: OrgId,
    /// The run.
    pub run: RunId,
    /// Counts the holders; a write with an older one is void.
    pub epoch: u64,
}

/// A run to accept.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// Its id.
    pub id: RunId,
    /// The tenant.
    pub org: OrgId,
    /// The application it is started for.
    pub application: Option<AppId>,
    /// The end user it is started for.
    pub end_user: Option<EndUserId>,
    /// The agent's row, an inline one's too.
    pub agent_id: AgentId,
    /// The agent's name.
    pub agent_name: String,
    /// Its version; `None` for an inline agent.
    pub agent_version: Option<u32>,
    /// What the agent is given.
    pub input: Json,
    /// `PROVIDER/MODEL`.
    pub model: String,
    /// The sandbox asked for.
    pub sandbox: Json,
    /// What it may use up.
    pub limits: Limits,
    /// The caller's own object: up to 16 KiB, indexed pair by pair for filters.
    pub metadata: Json,
    /// Slots bound to connections.
    pub connections: Json,
    /// The webhook named in the request, its secret sealed.
    pub webhook: Option<Json>,
    /// How its cost is to be read before the first model call.
    pub pricing: Pricing,
    /// When it was accepted.
    pub created_at: Timestamp,
}

/// A run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRow {
    /// Its id.
    pub id: RunId,
    /// The tenant.
    pub org: OrgId,
    /// The application it was started for.
    pub application: Option<AppId>,
    /// The end user it was started for.
    pub end_user: Option<EndUserId>,
    /// The agent's row.
    pub agent_id: AgentId,
    /// The agent's name.
    pub agent_name: String,
    /// Its version; `None` for an inline agent.
    pub agent_version: Option<u32>,
    /// Where it stands.
    pub status: RunStatus,
    /// What the agent was given.
    pub input: Json,
    /// What it answered.
    pub output: Option<Json>,
    /// Why it failed.
    pub error: Option<RunError>,
    /// `PROVIDER/MODEL`.
    pub model: String,
    /// The sandbox asked for.
    pub sandbox: Json,
    /// What it may use up.
    pub limits: Limits,
    /// The caller's own object.
    pub metadata: Json,
    /// Slots bound to connections.
    pub connections: Json,
    /// The webhook named in the request.
    pub webhook: Option<Json>,
    /// What it used so far.
    pub usage: Usage,
    /// What that cost.
    pub cost: Cost,
    /// The head of its stream.
    pub last_seq: u64,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When a worker first took it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// When somebody asked for it to stop.
    pub cancel_requested_at: Option<Timestamp>,
    /// The epoch of its last lease.
    pub lease_epoch: u64,
    /// How often another life took it over.
    pub recoveries: u32,
}

impl FromRow for RunRow {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self {
            id: row.take()?,
            org: row.take()?,
            application: row.take()?,
            end_user: row.take()?,
            agent_id: row.take()?,
            agent_name: row.take()?,
            agent_version: row.take()?,
            status: row.take()?,
            input: row.take()?,
            output: row.take()?,
            error: row.take()?,
            model: row.take()?,
            sandbox: row.take()?,
            limits: row.json("limits")?,
            metadata: row.take()?,
            connections: row.take()?,
            webhook: row.take()?,
            usage: row.json("usage")?,
            cost: Cost { usd: row.take()?, pricing: row.take()? },
            last_seq: row.take()?,
            created_at: row.take()?,
            started_at: row.take()?,
            finished_at: row.take()?,
            cancel_requested_at: row.take()?,
            lease_epoch: row.take()?,
            recoveries: row.take()?,
        })
    }

    fn weight(&self) -> usize {
        let optional = [&self.output, &self.webhook].into_iter().flatten().map(|json| json.as_str().len()).sum::<usize>();
        optional + self.input.as_str().len() + self.metadata.as_str().len()
    }
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

/// What a request to cancel met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelRequest {
    /// Nobody works on it (queued or waiting): end it with [`Tx::finish_unleased`] in the same write.
    Idle,
    /// A worker holds it and was rung.
    Running,
    /// It was over before.
    Terminal(RunStatus),
}

fn text_of(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(Error::bug)
}

impl Tx {
    /// Accepts a run: its row in state `queued`, its first events from sequence 1, its metadata for filters. Does not
    /// put it into the queue; see [`Tx::enqueue`].
    ///
    /// # Errors
    /// `Exists` for an id in use, `NotFound` for an application, end user or agent that is not of this tenant,
    /// `TooLarge` for metadata or a payload.
    pub async fn insert_run(&mut self, run: &NewRun, events: &[NewEvent]) -> Result<()> {
        if run.metadata.as_str().len() > METADATA_BYTES_MAX {
            return Err(Error::TooLarge { what: "metadata", limit_bytes: METADATA_BYTES_MAX as u64 });
        }
        let args = args![
            run.id,
            run.org,
            run.application,
            run.end_user,
            run.agent_id,
            &run.agent_name,
            run.agent_version,
            &run.input,
            &run.model,
            &run.sandbox,
            text_of(&run.limits)?,
            &run.metadata,
            &run.connections,
            &run.webhook,
            text_of(&Usage::default())?,
            text_of(&run.pricing)?,
            events.len(),
            run.created_at,
        ];
        self.execute(INSERT, args).await?;
        self.insert_metadata(run).await?;
        self.insert_run_events(run.org, run.id, 1, events).await
    }

    async fn insert_metadata(&mut self, run: &NewRun) -> Result<()> {
        if run.metadata.as_str() == "{}" {
            return Ok(());
        }
        for (key, value) in run.metadata.parse::<Map<String, Value>>()? {
            let text = match value {
                Value::String(text) => text,
                value => value.to_string(),
            };
            self.execute(INSERT_METADATA, args![run.org, key, text, run.created_at, run.id]).await?;
        }
        Ok(())
    }

    /// One run of the tenant, as this transaction sees it.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn get_run(&mut self, org: OrgId, run: RunId) -> Result<Option<RunRow>> {
        self.fetch_optional(GET, args![org, run]).await
    }

    /// How many of the tenant's runs are in a state.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn count_runs(&mut self, org: OrgId, status: RunStatus) -> Result<u64> {
        Ok(self.fetch_optional::<(u64,)>(COUNT_BY_STATUS, args![org, status]).await?.map_or(0, |(count,)| count))
    }

    /// Notes that the run should stop, and rings whoever works on it. Asking twice keeps the first time.
    ///
    /// # Errors
    /// `NotFound` without that run in this tenant.
    pub async fn request_cancel(&mut self, org: OrgId, run: RunId, now: Timestamp) -> Result<CancelRequest> {
        let live: Option<(RunStatus, u64)> = self.fetch_optional(REQUEST_CANCEL, args![org, run, now]).await?;
        match live {
            Some((RunStatus::Running, _)) => {
                self.rings.runs.push(run);
                Ok(CancelRequest::Running)
            }
            Some(_) => Ok(CancelRequest::Idle),
            None => match self.fetch_optional::<(RunStatus,)>(GET_STATUS, args![org, run]).await? {
                Some((status,)) => Ok(CancelRequest::Terminal(status)),
                None => Err(Error::NotFound { what: "run" }),
            },
        }
    }

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
    pub async fn update_run_progress(&mut self, lease: &Lease, progress: &Progress, events: &[NewEvent]) -> Result<u64> {
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
            self.execute(DEQUEUE, args![org, run]).await?;
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

impl Store {
    /// One run of the tenant.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn get_run(&self, org: OrgId, run: RunId) -> Result<Option<RunRow>> {
        self.fetch_optional(GET, args![org, run]).await
    }
}
