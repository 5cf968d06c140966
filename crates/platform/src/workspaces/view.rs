//! Workspaces and snapshots as callers see them.

use livery_core::Timestamp;
use livery_core::id::{AppId, EndUserId, FileId, OrgId, RunId, SnapshotId, WorkspaceId};
use livery_store::{WorkspaceRow, WorkspaceSnapshotRow};
use serde::{Deserialize, Serialize};

/// `{id, agent, end_user, …}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorkspaceView {
    /// The workspace.
    pub id: WorkspaceId,
    /// The tenant.
    pub organization: OrgId,
    /// The end user's application.
    pub application: AppId,
    /// The agent, whatever its version.
    pub agent: String,
    /// The end user.
    pub end_user: EndUserId,
    /// What the next run begins with; null: nothing was saved yet.
    pub snapshot: Option<SnapshotId>,
    /// When a run first had it.
    pub created_at: Timestamp,
    /// When it was last saved, restored or given a snapshot.
    pub updated_at: Timestamp,
}

impl From<WorkspaceRow> for WorkspaceView {
    fn from(row: WorkspaceRow) -> Self {
        Self {
            id: row.id,
            organization: row.org,
            application: row.application,
            agent: row.agent_name,
            end_user: row.end_user,
            snapshot: row.snapshot,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// What was in a workspace at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SnapshotView {
    /// The snapshot.
    pub id: SnapshotId,
    /// Of which workspace.
    pub workspace: WorkspaceId,
    /// What somebody called it.
    pub name: Option<String>,
    /// `run`, `aside`, `replaced` or `command`.
    pub origin: String,
    /// The run it was taken of.
    pub run: Option<RunId>,
    /// Download it with `GET /v1/files/{id}/content`: a tar, compressed with gzip.
    pub file: FileId,
    /// Its size, packed.
    pub bytes: u64,
    /// SHA-256 of the bytes, hex.
    pub sha256: String,
    /// When it was taken.
    pub created_at: Timestamp,
}

impl From<WorkspaceSnapshotRow> for SnapshotView {
    fn from(row: WorkspaceSnapshotRow) -> Self {
        Self {
            id: row.id,
            workspace: row.workspace,
            name: row.name,
            origin: row.origin.to_string(),
            run: row.run,
            file: row.file.id,
            bytes: row.file.bytes,
            sha256: row.file.sha256,
            created_at: row.created_at,
        }
    }
}

/// What a list of workspaces is narrowed to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkspaceFilter {
    /// Of this agent.
    pub agent: Option<String>,
    /// For this end user.
    pub end_user: Option<EndUserId>,
}

/// `POST /v1/workspaces/{id}/snapshots`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NewSnapshot {
    /// A name for people.
    pub name: Option<String>,
    /// A run under way in it; absent: what the next run would begin with.
    pub run: Option<RunId>,
}

/// `POST /v1/workspaces/{id}/restore`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreWorkspace {
    /// What later runs are to begin with.
    pub snapshot: SnapshotId,
}
