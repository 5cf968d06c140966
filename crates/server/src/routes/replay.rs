//! `/v1/runs/{id}/replay` and `/fork`: a run once more, and a run from its middle.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use livery_core::id::RunId;
use livery_platform::replay::{ReplayMode, ReplayRun};
use livery_platform::runs::ForkRun;

use crate::answer::{self, Place};
use crate::app::App;
use crate::auth::Reader;
use crate::body::PostIn;
use crate::path::Id;
use crate::problem::Result;
use crate::schemas;

const PLACE: Place = Place { prefix: "/v1/runs/", member: "id" };

/// Replay a run
///
/// `recorded`: a finished run is executed again from its log, without network, sandbox or any effect, and compared step by
/// step; the first difference is named with its step, its place and its byte. `live`: a new run with the same input and
/// today's version of the agent; it needs `runs:write`.
#[utoipa::path(
    post, path = "/v1/runs/{id}/replay", operation_id = "replay_run", tag = "runs",
    params(("id" = schemas::RunId, Path, description = "The run")),
    request_body = schemas::ReplayRun,
    responses(
        (status = 200, description = "`recorded`: what the replay found", body = schemas::ReplayReport),
        (status = 202, description = "`live`: the new run", body = schemas::Run, headers(("Location" = String, description = "The run"))),
    ),
    security(("api_key" = ["runs:read"]))
)]
pub(super) async fn replay(State(app): State<App>, post: PostIn<RunId, ReplayRun>) -> Result<Response> {
    match post.body.mode {
        ReplayMode::Recorded => {
            answer::posted(app.platform.replay_recorded(&post.caller, post.id).await?, StatusCode::OK, None)
        }
        ReplayMode::Live => {
            let posted = app.platform.replay_live(&post.caller, post.id).await?;
            answer::posted(posted, StatusCode::ACCEPTED, Some(&PLACE))
        }
    }
}

/// Export a run
///
/// A finished run in one file: what its loop is built from and its log, as JSON lines. `livery runs replay --offline` replays it on
/// a machine without a server or network. It holds everything the run said and was told, and no key.
#[utoipa::path(
    get, path = "/v1/runs/{id}/bundle", operation_id = "export_run", tag = "runs",
    params(("id" = schemas::RunId, Path, description = "The run")),
    responses((status = 200, description = "The bundle", content_type = "application/jsonl", body = String)),
    security(("api_key" = ["runs:read"]))
)]
pub(super) async fn export(State(app): State<App>, Reader(principal): Reader, Id(id): Id<RunId>) -> Result<Response> {
    let bundle = app.platform.export_run(&principal, id).await?;
    Ok(([(CONTENT_TYPE, "application/jsonl")], bundle).into_response())
}

/// Fork a run
///
/// A new run that goes on after event `from_seq` of this one, with another model, agent or, before the first model call,
/// input. The point is rounded down to the last at which a model was about to be asked; `forked_from` says which. Its
/// workspace begins with the files the run began with.
#[utoipa::path(
    post, path = "/v1/runs/{id}/fork", operation_id = "fork_run", tag = "runs",
    params(("id" = schemas::RunId, Path, description = "The run")),
    request_body = schemas::ForkRun,
    responses((status = 202, description = "The new run", body = schemas::Run, headers(("Location" = String, description = "The run")))),
    security(("api_key" = ["runs:write"]))
)]
pub(super) async fn fork(State(app): State<App>, post: PostIn<RunId, ForkRun>) -> Result<Response> {
    let posted = app.platform.fork_run(&post.caller, post.id, post.body).await?;
    answer::posted(posted, StatusCode::ACCEPTED, Some(&PLACE))
}
