//! `/v1/schedules`: runs at certain times.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, Uri};
use livery_core::id::ScheduleId;
use livery_platform::Scope;
use livery_platform::schedules::{NewSchedule, PREVIEW_MAX, Preview, PreviewRequest, SchedulePatch, ScheduleView};

use crate::answer::{self, Place};
use crate::app::App;
use crate::auth::{Acting, Reader};
use crate::body::{Post, PostIn, PostTo};
use crate::params::Params;
use crate::path::Id;
use crate::problem::{Problem, Result};
use crate::schemas;

const PLACE: Place = Place { prefix: "/v1/schedules/", member: "id" };
const RUN_PLACE: Place = Place { prefix: "/v1/runs/", member: "id" };
/// Fires of a preview when the caller does not say.
const PREVIEW_DEFAULT: u64 = 10;

/// Create a schedule
///
/// The request is tried out: an agent, input or file that would not do now is refused now.
#[utoipa::path(
    post, path = "/v1/schedules", operation_id = "create_schedule", tag = "schedules",
    request_body = schemas::NewSchedule,
    responses((status = 201, description = "The schedule", body = schemas::Schedule, headers(("Location" = String, description = "The schedule")))),
    security(("api_key" = ["schedules:write", "runs:write"]))
)]
pub(super) async fn create(State(app): State<App>, post: Post<NewSchedule>) -> Result<Response> {
    let posted = app.platform.create_schedule(&post.caller, post.body).await?;
    answer::posted(posted, StatusCode::CREATED, Some(&PLACE))
}

/// List schedules
#[utoipa::path(
    get, path = "/v1/schedules", operation_id = "list_schedules", tag = "schedules",
    params(schemas::PageQuery),
    responses((status = 200, description = "A page of schedules", body = schemas::SchedulePage)),
    security(("api_key" = ["schedules:read"]))
)]
pub(super) async fn list(
    State(app): State<App>,
    Reader(principal): Reader,
    uri: Uri,
    params: Params,
) -> Result<Response> {
    answer::page(&uri, app.platform.list_schedules(&principal, params.page()?).await?)
}

/// Preview an expression
///
/// The next moments at which it fires, so that one can look before the clocks change.
#[utoipa::path(
    get, path = "/v1/schedules/preview", operation_id = "preview_schedule", tag = "schedules",
    params(
        ("cron" = String, Query, description = "The expression", example = "30 2 * * *"),
        ("time_zone" = String, Query, description = "An IANA time zone", example = "Europe/Vienna"),
        ("count" = Option<u32>, Query, minimum = 1, maximum = 100, description = "How many (10)"),
        ("after" = Option<schemas::Time>, Query, description = "After this moment (now)"),
    ),
    responses((status = 200, description = "The next fires, in order", body = schemas::Preview)),
    security(("api_key" = ["schedules:read"]))
)]
pub(super) async fn preview(
    State(app): State<App>,
    Reader(principal): Reader,
    params: Params,
) -> Result<Json<Preview>> {
    principal.require(Scope::SchedulesRead)?;
    let needed = |name: &str| {
        let text = params.text(name).map(str::to_owned);
        text.ok_or_else(|| Problem::invalid_parameter(name, "is missing"))
    };
    let count = params.whole("count", 1, PREVIEW_MAX.into())?.unwrap_or(PREVIEW_DEFAULT);
    let request = PreviewRequest {
        cron: needed("cron")?,
        time_zone: needed("time_zone")?,
        count: u32::try_from(count).unwrap_or(PREVIEW_MAX),
        after: params.value("after", "a time such as 2026-10-01T12:00:00Z")?,
    };
    Ok(Json(app.platform.preview_schedule(&principal, &request)?))
}

/// Get a schedule
#[utoipa::path(
    get, path = "/v1/schedules/{id}", operation_id = "get_schedule", tag = "schedules",
    params(("id" = schemas::ScheduleId, Path, description = "The schedule")),
    responses((status = 200, description = "The schedule", body = schemas::Schedule)),
    security(("api_key" = ["schedules:read"]))
)]
pub(super) async fn get(
    State(app): State<App>,
    Reader(principal): Reader,
    Id(id): Id<ScheduleId>,
) -> Result<Json<ScheduleView>> {
    Ok(Json(app.platform.get_schedule(&principal, id).await?))
}

/// Change, pause or resume a schedule
///
/// What is absent stays. Another time, and the end of a pause, count from now.
#[utoipa::path(
    patch, path = "/v1/schedules/{id}", operation_id = "update_schedule", tag = "schedules",
    params(("id" = schemas::ScheduleId, Path, description = "The schedule")),
    request_body = schemas::SchedulePatch,
    responses((status = 200, description = "The schedule as it is now", body = schemas::Schedule)),
    security(("api_key" = ["schedules:write", "runs:write"]))
)]
pub(super) async fn update(
    State(app): State<App>,
    patch: PostIn<ScheduleId, SchedulePatch>,
) -> Result<Json<ScheduleView>> {
    Ok(Json(app.platform.update_schedule(&patch.caller, patch.id, patch.body).await?))
}

/// Delete a schedule
///
/// Runs it started go on.
#[utoipa::path(
    delete, path = "/v1/schedules/{id}", operation_id = "delete_schedule", tag = "schedules",
    params(("id" = schemas::ScheduleId, Path, description = "The schedule")),
    responses((status = 204, description = "It is gone")),
    security(("api_key" = ["schedules:write"]))
)]
pub(super) async fn delete(
    State(app): State<App>,
    Acting(caller): Acting,
    Id(id): Id<ScheduleId>,
) -> Result<StatusCode> {
    app.platform.delete_schedule(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Run a schedule now
///
/// Out of turn: paused or not, and whatever else of it is under way.
#[utoipa::path(
    post, path = "/v1/schedules/{id}/run", operation_id = "run_schedule", tag = "schedules",
    params(("id" = schemas::ScheduleId, Path, description = "The schedule")),
    responses((status = 202, description = "The run", body = schemas::Run, headers(("Location" = String, description = "The run")))),
    security(("api_key" = ["schedules:write", "runs:write"]))
)]
pub(super) async fn run(State(app): State<App>, post: PostTo<ScheduleId>) -> Result<Response> {
    let posted = app.platform.run_schedule(&post.caller, post.id).await?;
    answer::posted(posted, StatusCode::ACCEPTED, Some(&RUN_PLACE))
}
