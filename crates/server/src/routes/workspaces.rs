//! `/v1/workspaces`: what agents keep for their end users from run to run.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, Uri};
use livery_core::id::{EndUserId, SnapshotId, WorkspaceId};
use livery_platform::workspaces::{NewSnapshot, RestoreWorkspace, WorkspaceFilter, WorkspaceView};

use crate::answer;
use crate::app::App;
use crate::auth::{Acting, Reader};
use crate::body::PostIn;
use crate::params::Params;
use crate::path::{Id, Second};
use crate::problem::Result;
use crate::schemas;

/// List workspaces
#[utoipa::path(
    get, path = "/v1/workspaces", operation_id = "list_workspaces", tag = "workspaces",
    params(
        schemas::PageQuery,
        ("agent" = Option<String>, Query, description = "Only those of this agent"),
        ("end_user" = Option<schemas::EndUserId>, Query, description = "Only those for this end user"),
    ),
    responses((status = 200, description = "A page of workspaces", body = schemas::WorkspacePage)),
    security(("api_key" = ["workspaces:read"]))
)]
pub(super) async fn list(
    State(app): State<App>,
    Reader(principal): Reader,
    uri: Uri,
    params: Params,
) -> Result<Response> {
    let filter = WorkspaceFilter {
        agent: params.text("agent").map(str::to_owned),
        end_user: params.value::<EndUserId>("end_user", "the id of an end user")?,
    };
    answer::page(&uri, app.platform.list_workspaces(&principal, filter, params.page()?).await?)
}

/// Get a workspace
#[utoipa::path(
    get, path = "/v1/workspaces/{id}", operation_id = "get_workspace", tag = "workspaces",
    params(("id" = schemas::WorkspaceId, Path, description = "The workspace")),
    responses((status = 200, description = "The workspace", body = schemas::Workspace)),
    security(("api_key" = ["workspaces:read"]))
)]
pub(super) async fn get(
    State(app): State<App>,
    Reader(principal): Reader,
    Id(id): Id<WorkspaceId>,
) -> Result<Json<WorkspaceView>> {
    Ok(Json(app.platform.get_workspace(&principal, id).await?))
}

/// Delete a workspace
///
/// With all its snapshots. The next run of its agent and end user begins anew; one under way saves nothing.
#[utoipa::path(
    delete, path = "/v1/workspaces/{id}", operation_id = "delete_workspace", tag = "workspaces",
    params(("id" = schemas::WorkspaceId, Path, description = "The workspace")),
    responses((status = 204, description = "It is gone")),
    security(("api_key" = ["workspaces:write"]))
)]
pub(super) async fn delete(
    State(app): State<App>,
    Acting(caller): Acting,
    Id(id): Id<WorkspaceId>,
) -> Result<StatusCode> {
    app.platform.delete_workspace(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Restore a workspace
///
/// Later runs begin with the snapshot. What they would have begun with is kept aside. A run under way is not changed, and what
/// it leaves is kept aside too.
#[utoipa::path(
    post, path = "/v1/workspaces/{id}/restore", operation_id = "restore_workspace", tag = "workspaces",
    params(("id" = schemas::WorkspaceId, Path, description = "The workspace")),
    request_body = schemas::RestoreWorkspace,
    responses((status = 200, description = "The workspace as it is now", body = schemas::Workspace)),
    security(("api_key" = ["workspaces:write"]))
)]
pub(super) async fn restore(State(app): State<App>, post: PostIn<WorkspaceId, RestoreWorkspace>) -> Result<Response> {
    let posted = app.platform.restore_workspace(&post.caller, post.id, post.body).await?;
    answer::posted(posted, StatusCode::OK, None)
}

/// List a workspace's snapshots
#[utoipa::path(
    get, path = "/v1/workspaces/{id}/snapshots", operation_id = "list_snapshots", tag = "workspaces",
    params(("id" = schemas::WorkspaceId, Path, description = "The workspace"), schemas::PageQuery),
    responses((status = 200, description = "A page of snapshots", body = schemas::SnapshotPage)),
    security(("api_key" = ["workspaces:read"]))
)]
pub(super) async fn snapshots(
    State(app): State<App>,
    Reader(principal): Reader,
    Id(id): Id<WorkspaceId>,
    uri: Uri,
    params: Params,
) -> Result<Response> {
    answer::page(&uri, app.platform.list_snapshots(&principal, id, params.page()?).await?)
}

/// Keep a snapshot
///
/// What the next run would begin with, or what a run under way has in the workspace, stays until somebody deletes it. A run is
/// waited for until no tool is at work, 45 seconds at most.
#[utoipa::path(
    post, path = "/v1/workspaces/{id}/snapshots", operation_id = "create_snapshot", tag = "workspaces",
    params(("id" = schemas::WorkspaceId, Path, description = "The workspace")),
    request_body = schemas::NewSnapshot,
    responses((status = 201, description = "The snapshot", body = schemas::Snapshot)),
    security(("api_key" = ["workspaces:write"]))
)]
pub(super) async fn create_snapshot(
    State(app): State<App>,
    post: PostIn<WorkspaceId, NewSnapshot>,
) -> Result<Response> {
    let posted = app.platform.create_snapshot(&post.caller, post.id, post.body).await?;
    answer::posted(posted, StatusCode::CREATED, None)
}

/// Delete a snapshot
///
/// Any but the one that the next run begins with.
#[utoipa::path(
    delete, path = "/v1/workspaces/{id}/snapshots/{snapshot}", operation_id = "delete_snapshot", tag = "workspaces",
    params(
        ("id" = schemas::WorkspaceId, Path, description = "The workspace"),
        ("snapshot" = schemas::SnapshotId, Path, description = "The snapshot"),
    ),
    responses((status = 204, description = "It is gone")),
    security(("api_key" = ["workspaces:write"]))
)]
pub(super) async fn delete_snapshot(
    State(app): State<App>,
    snapshot: Second<SnapshotId>,
    Acting(caller): Acting,
    Id(id): Id<WorkspaceId>,
) -> Result<StatusCode> {
    app.platform.delete_snapshot(&caller, id, snapshot.found()?).await?;
    Ok(StatusCode::NO_CONTENT)
}
