//! End users, and the workspaces that agents keep for them.

use serde::Deserialize;
use utoipa::ToSchema;

use super::{AppId, EndUserId, FileId, OrgId, RunId, SnapshotId, Time, WorkspaceId, page};

/// An end user to create.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"external_id": "customer-42", "name": "Ada"}))]
pub(crate) struct NewEndUser {
    /// What your application calls the user; unique there.
    #[schema(min_length = 1, max_length = 200)]
    external_id: String,
    /// A name for people.
    #[schema(min_length = 1, max_length = 200)]
    name: Option<String>,
    /// The application; absent: that of the key, or the organization's first.
    #[schema(value_type = Option<AppId>)]
    application: Option<String>,
}

/// An end user of an application.
#[derive(ToSchema)]
pub(crate) struct EndUser {
    id: EndUserId,
    application: AppId,
    /// What the application calls the user.
    external_id: String,
    #[schema(required)]
    name: Option<String>,
    created_at: Time,
}

page!(EndUserPage of EndUser);

/// The workspace of one agent for one end user.
#[derive(ToSchema)]
pub(crate) struct Workspace {
    id: WorkspaceId,
    organization: OrgId,
    application: AppId,
    /// The agent, whatever its version.
    agent: String,
    end_user: EndUserId,
    /// What the next run begins with; null: nothing was saved yet.
    #[schema(required)]
    snapshot: Option<SnapshotId>,
    created_at: Time,
    /// When it was last saved, restored or given a snapshot.
    updated_at: Time,
}

page!(WorkspacePage of Workspace);

/// What was in a workspace at one moment.
#[derive(ToSchema)]
pub(crate) struct Snapshot {
    id: SnapshotId,
    workspace: WorkspaceId,
    #[schema(required)]
    name: Option<String>,
    /// `run`: a run left it, and the next one takes its place. `aside`: a run left it that had begun from another state than
    /// the present one. `replaced`: it was the present state when another one was restored. `command`: somebody asked for it.
    #[schema(inline)]
    origin: Origin,
    /// The run it was taken of.
    #[schema(required)]
    run: Option<RunId>,
    /// The bytes, for `GET /v1/files/{id}/content`: a tar, compressed with gzip.
    file: FileId,
    /// Their size.
    bytes: u64,
    /// SHA-256 of them, hex.
    sha256: String,
    created_at: Time,
}

#[derive(ToSchema, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Origin {
    Run,
    Aside,
    Replaced,
    Command,
}

page!(SnapshotPage of Snapshot);

/// A snapshot to keep.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "before the migration"}))]
pub(crate) struct NewSnapshot {
    /// A name for people.
    #[schema(min_length = 1, max_length = 200)]
    name: Option<String>,
    /// A run under way in it: what it has there between two of its steps. Absent: what the next run would begin with.
    #[schema(value_type = Option<RunId>)]
    run: Option<String>,
}

/// What later runs are to begin with.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestoreWorkspace {
    #[schema(value_type = SnapshotId)]
    snapshot: String,
}
