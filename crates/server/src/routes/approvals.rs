//! `/v1/approvals`: what runs want to do and a person is asked about.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, Uri};
use livery_core::id::{ApprovalId, RunId};
use livery_platform::approvals::{ApprovalFilter, ApprovalView, DecideApproval};

use crate::answer;
use crate::app::App;
use crate::auth::Reader;
use crate::body::PostIn;
use crate::inbound::From;
use crate::params::Params;
use crate::path::Id;
use crate::problem::Result;
use crate::schemas;

/// List approvals
#[utoipa::path(
    get, path = "/v1/approvals", operation_id = "list_approvals", tag = "approvals",
    params(
        schemas::PageQuery,
        ("status" = Option<schemas::ApprovalStatus>, Query, description = "Only in this status"),
        ("run" = Option<schemas::RunId>, Query, description = "Only of this run"),
    ),
    responses((status = 200, description = "A page of approvals", body = schemas::ApprovalPage)),
    security(("api_key" = ["approvals:read"]))
)]
pub(super) async fn list(
    State(app): State<App>,
    Reader(principal): Reader,
    uri: Uri,
    params: Params,
) -> Result<Response> {
    let filter = ApprovalFilter {
        status: params.value("status", "pending, approved, denied, expired or used")?,
        run: params.value::<RunId>("run", "the id of a run")?,
    };
    answer::page(&uri, app.platform.list_approvals(&principal, filter, params.page()?).await?)
}

/// Get an approval
///
/// `card` is plain text to be read; what the model wrote is quoted in it.
#[utoipa::path(
    get, path = "/v1/approvals/{id}", operation_id = "get_approval", tag = "approvals",
    params(("id" = schemas::ApprovalId, Path, description = "The approval")),
    responses((status = 200, description = "The approval", body = schemas::Approval)),
    security(("api_key" = ["approvals:read"]))
)]
pub(super) async fn get(
    State(app): State<App>,
    Reader(principal): Reader,
    Id(id): Id<ApprovalId>,
) -> Result<Json<ApprovalView>> {
    Ok(Json(app.platform.get_approval(&principal, id).await?))
}

/// Approve or deny
///
/// The first decision stands. `approve` is good for the one request the approval shows, once, within 15 minutes;
/// `approve_for_run` for everything `for_run` says, until the run ends. The run goes on at once.
#[utoipa::path(
    post, path = "/v1/approvals/{id}", operation_id = "decide_approval", tag = "approvals",
    params(("id" = schemas::ApprovalId, Path, description = "The approval")),
    request_body = schemas::DecideApproval,
    responses((status = 200, description = "The approval as it is now", body = schemas::Approval)),
    security(("api_key" = ["approvals:write"]))
)]
pub(super) async fn decide(
    State(app): State<App>,
    From(from): From,
    post: PostIn<ApprovalId, DecideApproval>,
) -> Result<Response> {
    let posted = app.platform.decide_approval(&post.caller, post.id, post.body, from).await?;
    answer::posted(posted, StatusCode::OK, None)
}
