//! Runs: the row, its birth, and the wish to stop it.
//!
//! Read next: `progress`, the fenced writes of whoever holds a run, and `run_list`.

use livery_core::agent::sandbox::MinimumTier;
use livery_core::id::{AgentId, AppId, EndUserId, OrgId, RunId, ScheduleId, TriggerId};
use livery_core::run::{Cost, Limits, Pricing, RunError, Usage};
use livery_core::{RunStatus, Timestamp};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::events::NewEvent;
use crate::json::Json;
use crate::sql::{FromRow, Row, args, statements};
use crate::store::Store;
use crate::tx::Tx;

/// Largest metadata of a run, as JSON text.
const METADATA_BYTES_MAX: usize = 16 * 1024;

/// The columns of [`RunRow`], in its order.
macro_rules! run_columns {
    () => {
        "id, org_id, application_id, end_user_id, agent_id, agent_name, agent_version, status, input, output, error, \
         model, sandbox, limits, metadata, connections, webhook, usage, cost_micros, pricing, last_seq, created_at, \
         started_at, finished_at, cancel_requested_at, lease_epoch, recoveries, schedule_id, trigger_id, start_at, \
         origin, minimum_tier"
    };
}
pub(crate) use run_columns;

statements! {
    INSERT = "insert into runs (id, org_id, application_id, end_user_id, agent_id, agent_name, agent_version, status,
        input, model, sandbox, limits, metadata, connections, webhook, usage, cost_micros, pricing, last_seq,
        created_at, lease_epoch, recoveries, schedule_id, trigger_id, start_at, origin, minimum_tier)
        values ($1, $2, $3, $4, $5, $6, $7, 'queued', $8, $9, $10, $11, $12, $13, $14, $15, 0, $16, $17, $18, 0, 0,
        $19, $20, $21, $22, $23)";
    INSERT_METADATA = "insert into run_metadata (org_id, key, value, created_at, run_id) values ($1, $2, $3, $4, $5)";
    GET = concat!("select ", run_columns!(), " from runs where id = $2 and (org_id = $1) is true");
    COUNT_BY_STATUS = "select count(*) from runs where org_id = $1 and status = $2";
    REQUEST_CANCEL = "update runs set cancel_requested_at = coalesce(cancel_requested_at, $3)
        where id = $2 and (org_id = $1) is true and status in ('queued', 'running', 'waiting') returning status, lease_epoch";
    GET_STATUS = "select status from runs where id = $2 and (org_id = $1) is true";
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
    /// The schedule that started it.
    pub schedule: Option<ScheduleId>,
    /// The trigger that started it.
    pub trigger: Option<TriggerId>,
    /// Not to be started before.
    pub start_at: Option<Timestamp>,
    /// Which run it goes on from or repeats.
    pub origin: Option<Json>,
    /// What was demanded of its tier when it was accepted.
    pub minimum_tier: Option<MinimumTier>,
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
    /// The schedule that started it.
    pub schedule: Option<ScheduleId>,
    /// The trigger that started it.
    pub trigger: Option<TriggerId>,
    /// Not to be started before.
    pub start_at: Option<Timestamp>,
    /// Which run it goes on from or repeats.
    pub origin: Option<Json>,
    /// What was demanded of its tier when it was accepted.
    pub minimum_tier: Option<MinimumTier>,
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
            schedule: row.take()?,
            trigger: row.take()?,
            start_at: row.take()?,
            origin: row.take()?,
            minimum_tier: row.take()?,
        })
    }

    fn weight(&self) -> usize {
        let optional =
            [&self.output, &self.webhook].into_iter().flatten().map(|json| json.as_str().len()).sum::<usize>();
        optional + self.input.as_str().len() + self.metadata.as_str().len()
    }
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

pub(crate) fn text_of(value: &impl serde::Serialize) -> Result<String> {
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
            run.schedule,
            run.trigger,
            run.start_at,
            &run.origin,
            run.minimum_tier.as_ref().map(text_of).transpose()?,
        ];
        self.execute_ahead(INSERT, args).await?;
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
            self.execute_ahead(INSERT_METADATA, args![run.org, key, text, run.created_at, run.id]).await?;
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
