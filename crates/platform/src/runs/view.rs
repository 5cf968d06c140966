//! A run as callers see it: exactly the shape of `contracts.md`.

use livery_core::agent::sandbox::MinimumTier;
use livery_core::agent::{SandboxSpec, Tier};
use livery_core::id::{AppId, EndUserId, FileId, OrgId, RunId, ScheduleId, TriggerId};
use livery_core::run::{Cost, Usage};
use livery_core::{Result, RunError, RunStatus, Timestamp};
use livery_store::{Json, RunFile, RunRow};
use serde::Serialize;

use super::fork::{ForkedFrom, Origin};

/// `{id, status, agent, …}`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunView {
    /// The run.
    pub id: RunId,
    /// Where it stands.
    pub status: RunStatus,
    /// Which agent it runs.
    pub agent: RunAgent,
    /// The tenant.
    pub organization: OrgId,
    /// The application that started it.
    pub application: Option<AppId>,
    /// The end user it acts for.
    pub end_user: Option<EndUserId>,
    /// Its input.
    pub input: Json,
    /// Its output, once it succeeded.
    pub output: Option<Json>,
    /// Why it did not.
    pub error: Option<RunError>,
    /// Where its tools run.
    pub sandbox: RunSandbox,
    /// `PROVIDER/MODEL`; a `scripted/…` model plays a script and thinks nothing.
    pub model: String,
    /// What it used so far.
    pub usage: Usage,
    /// What that cost.
    pub cost: Cost,
    /// Files it left behind.
    pub artifacts: Vec<Artifact>,
    /// The caller's own labels.
    pub metadata: Json,
    /// The last sequence number of its log.
    pub last_seq: u64,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When a worker first took it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The schedule that started it.
    pub schedule: Option<ScheduleId>,
    /// The trigger that started it.
    pub trigger: Option<TriggerId>,
    /// Not to be started before.
    pub start_at: Option<Timestamp>,
    /// The run it goes on from, and the event after which it does.
    pub forked_from: Option<ForkedFrom>,
    /// The run it repeats.
    pub replay_of: Option<RunId>,
}

/// The agent of a run. `version` is null for an inline agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunAgent {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Option<u32>,
}

/// The sandbox of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunSandbox {
    /// `container`, …
    pub tier: Tier,
    /// What was demanded of it when the run was accepted.
    pub minimum_tier: Option<MinimumTier>,
}

/// A file a run left in `/workspace/outputs/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Artifact {
    /// Download it with `GET /v1/files/{id}/content`.
    pub id: FileId,
    /// Its path below `outputs/`.
    pub path: String,
    /// Its size.
    pub bytes: u64,
}

impl RunView {
    /// The view of a row and its artifacts.
    pub(crate) fn of(row: RunRow, artifacts: Vec<RunFile>) -> Result<Self> {
        let tier = row.sandbox.parse::<SandboxSpec>()?.tier;
        let origin = Origin::of(row.origin.as_ref())?;
        Ok(Self {
            id: row.id,
            status: row.status,
            agent: RunAgent { name: row.agent_name, version: row.agent_version },
            organization: row.org,
            application: row.application,
            end_user: row.end_user,
            input: row.input,
            output: row.output,
            error: row.error,
            sandbox: RunSandbox { tier, minimum_tier: row.minimum_tier },
            model: row.model,
            usage: row.usage,
            cost: row.cost,
            artifacts: artifacts.into_iter().map(Artifact::of).collect(),
            metadata: row.metadata,
            last_seq: row.last_seq,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
            schedule: row.schedule,
            trigger: row.trigger,
            start_at: row.start_at,
            forked_from: origin.forked_from,
            replay_of: origin.replay_of,
        })
    }
}

impl Artifact {
    pub(crate) fn of(file: RunFile) -> Self {
        Self { id: file.file.id, path: file.path, bytes: file.file.bytes }
    }
}
