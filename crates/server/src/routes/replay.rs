//! `/v1/runs/{id}/replay`: a finished run once more.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use livery_core::id::RunId;
use livery_platform::replay::{ReplayMode, ReplayRun};

use crate::answer;
use crate::app::App;
use crate::body::PostIn;
use crate::problem::Result;
use crate::schemas;

/// Replay a run
///
/// `recorded`: a finished run is executed again from its log, without network, sandbox or any effect, and compared step by
/// step; the first difference is named with its step, its place and its byte.
#[utoipa::path(
    post, path = "/v1/runs/{id}/replay", operation_id = "replay_run", tag = "runs",
    params(("id" = schemas::RunId, Path, description = "The run")),
    request_body = schemas::ReplayRun,
    responses((status = 200, description = "What the replay found", body = schemas::ReplayReport)),
    security(("api_key" = ["runs:read"]))
)]
pub(super) async fn replay(State(app): State<App>, post: PostIn<RunId, ReplayRun>) -> Result<Response> {
    match post.body.mode {
        ReplayMode::Recorded => {
            answer::posted(app.platform.replay_recorded(&post.caller, post.id).await?, StatusCode::OK, None)
        }
    }
}
