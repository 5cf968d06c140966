//! `/v1/runs`: start, look, wait, cancel, follow.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use livery_core::id::RunId;
use livery_platform::runs::{EVENTS_PAGE_MAX, RunFilter, RunView, StartRun};
use livery_platform::{Posted, Principal};

use crate::accept::{Wanted, wanted};
use crate::answer::{self, Place};
use crate::app::App;
use crate::auth::{self, Reader};
use crate::body::{Post, PostTo};
use crate::events;
use crate::options::WAIT_S_MAX;
use crate::params::Params;
use crate::path::Id;
use crate::problem::Result;
use crate::schemas;

const PLACE: Place = Place { prefix: "/v1/runs/", member: "id" };

/// Start a run
///
/// Answers as soon as the run is accepted and durable, or, with `Prefer: wait=N`, when it ended within N seconds.
#[utoipa::path(
    post, path = "/v1/runs", operation_id = "start_run", tag = "runs",
    params(("Prefer" = Option<String>, Header, description = "`wait=N`: up to N seconds (at most 55) for the end", example = "wait=30")),
    request_body = schemas::NewRun,
    responses(
        (status = 202, description = "Accepted", body = schemas::Run, headers(("Location" = String, description = "The run"))),
        (status = 200, description = "Ended while waiting", body = schemas::Run, headers(("Location" = String, description = "The run"))),
    ),
    security(("api_key" = ["runs:write"]))
)]
pub(super) async fn start(State(app): State<App>, headers: HeaderMap, post: Post<StartRun>) -> Result<Response> {
    let principal = post.caller.principal.clone();
    let mut posted = app.platform.start_run(&post.caller, post.body).await?;
    let wait = preferred_wait(&headers);
    let mut status = StatusCode::ACCEPTED;
    if let (Some(wait), Posted::Fresh(run)) = (wait, &mut posted) {
        *run = wait_for(&app, &principal, run.id, wait).await?;
        status = status_of(run);
    }
    let mut response = answer::posted(posted, status, Some(&PLACE))?;
    if let Some(wait) = wait {
        let applied = HeaderValue::try_from(format!("wait={}", wait.as_secs()));
        response.headers_mut().extend(applied.map(|value| (HeaderName::from_static("preference-applied"), value)));
    }
    Ok(response)
}

/// Waits for the end of a run, or for that of the server: then what there is now has to do.
async fn wait_for(app: &App, principal: &Principal, id: RunId, wait: Duration) -> Result<RunView> {
    tokio::select! {
        run = app.platform.wait_run(principal, id, wait) => Ok(run?),
        () = app.draining.cancelled() => Ok(app.platform.get_run(principal, id).await?),
    }
}

fn status_of(run: &RunView) -> StatusCode {
    if run.status.is_terminal() { StatusCode::OK } else { StatusCode::ACCEPTED }
}

/// The `wait` of `Prefer` (RFC 7240 §4.3). A preference that makes no sense is ignored, as the RFC has it.
fn preferred_wait(headers: &HeaderMap) -> Option<Duration> {
    let fields = headers.get_all("prefer").iter().filter_map(|field| field.to_str().ok());
    let seconds = fields.flat_map(|field| field.split([',', ';'])).find_map(|preference| {
        let (name, value) = preference.trim().split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"').parse::<u64>().ok())?
    })?;
    Some(Duration::from_secs(seconds.min(WAIT_S_MAX)))
}

/// List runs
#[utoipa::path(
    get, path = "/v1/runs", operation_id = "list_runs", tag = "runs",
    params(
        schemas::PageQuery,
        ("status" = Option<schemas::RunStatus>, Query, description = "Only runs in this state"),
        ("agent" = Option<String>, Query, description = "Only runs of the agent with this name"),
        ("application" = Option<schemas::AppId>, Query, description = "Only runs of this application"),
        ("end_user" = Option<schemas::EndUserId>, Query, description = "Only runs for this end user"),
        ("schedule" = Option<schemas::ScheduleId>, Query, description = "Only runs that this schedule started"),
        ("trigger" = Option<schemas::TriggerId>, Query, description = "Only runs that this trigger started"),
        ("created_after" = Option<schemas::Time>, Query, description = "Only runs accepted at this moment or later"),
        ("created_before" = Option<schemas::Time>, Query, description = "Only runs accepted before this moment"),
        ("metadata" = Option<std::collections::BTreeMap<String, String>>, Query, style = DeepObject, explode, description = "Only runs with all these labels: `metadata[ticket]=42`"),
    ),
    responses((status = 200, description = "A page of runs", body = schemas::RunPage)),
    security(("api_key" = ["runs:read"]))
)]
pub(super) async fn list(
    State(app): State<App>,
    Reader(principal): Reader,
    uri: Uri,
    params: Params,
) -> Result<Response> {
    let page = app.platform.list_runs(&principal, filter(&params)?, params.page()?).await?;
    answer::page(&uri, page)
}

fn filter(params: &Params) -> Result<RunFilter> {
    Ok(RunFilter {
        status: params.value("status", "a run status such as queued or succeeded")?,
        agent: params.text("agent").map(str::to_owned),
        application: params.value("application", "the id of an application")?,
        end_user: params.value("end_user", "the id of an end user")?,
        schedule: params.value("schedule", "the id of a schedule")?,
        trigger: params.value("trigger", "the id of a trigger")?,
        created_after: params.value("created_after", "a time such as 2026-10-01T12:00:00Z")?,
        created_before: params.value("created_before", "a time such as 2026-10-01T12:00:00Z")?,
        metadata: params.deep("metadata"),
    })
}

/// Get a run
#[utoipa::path(
    get, path = "/v1/runs/{id}", operation_id = "get_run", tag = "runs",
    params(
        ("id" = schemas::RunId, Path, description = "The run"),
        ("wait" = Option<u64>, Query, minimum = 0, maximum = 55, description = "Seconds to wait for its end"),
    ),
    responses((status = 200, description = "The run", body = schemas::Run)),
    security(("api_key" = ["runs:read"]))
)]
pub(super) async fn get(
    State(app): State<App>,
    Reader(principal): Reader,
    Id(id): Id<RunId>,
    params: Params,
) -> Result<Json<RunView>> {
    let run = match params.whole("wait", 0, WAIT_S_MAX)? {
        Some(seconds) => wait_for(&app, &principal, id, Duration::from_secs(seconds)).await?,
        None => app.platform.get_run(&principal, id).await?,
    };
    Ok(Json(run))
}

/// Cancel a run
///
/// Its sandbox is gone within a second. A run that ended stays as it is.
#[utoipa::path(
    post, path = "/v1/runs/{id}/cancel", operation_id = "cancel_run", tag = "runs",
    params(("id" = schemas::RunId, Path, description = "The run")),
    responses((status = 200, description = "The run as it is now", body = schemas::Run)),
    security(("api_key" = ["runs:write"]))
)]
pub(super) async fn cancel(State(app): State<App>, post: PostTo<RunId>) -> Result<Response> {
    let posted = app.platform.cancel_run(&post.caller, post.id).await?;
    answer::posted(posted, StatusCode::OK, None)
}

/// Events of a run
///
/// With `Accept: text/event-stream` a live stream: `id` is the sequence number, `event` the type, `data` the event on one
/// line. It begins after `Last-Event-ID` and ends after the event that ends the run. `model.delta`, `model.reset` and
/// `tool.output` come live only and without an id. Otherwise a page of events, oldest first.
#[utoipa::path(
    get, path = "/v1/runs/{id}/events", operation_id = "list_run_events", tag = "runs",
    params(
        ("id" = schemas::RunId, Path, description = "The run"),
        ("after" = Option<u64>, Query, minimum = 0, description = "Only events after this sequence number"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "Events of a page (50); a stream has no pages"),
        ("Last-Event-ID" = Option<u64>, Header, description = "The same as `after`, and stronger"),
    ),
    responses((status = 200, description = "Events", content(
        (schemas::EventPage = "application/json"),
        (String = "text/event-stream"),
    ))),
    security(("api_key" = ["runs:read"]))
)]
pub(super) async fn events(
    State(app): State<App>,
    Reader(principal): Reader,
    Id(id): Id<RunId>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response> {
    let (after, limit) = (events::after(&headers, &params)?, params.limit(EVENTS_PAGE_MAX)?);
    match wanted(&headers)? {
        Wanted::Page => Ok(Json(app.platform.events_after(&principal, id, after, limit).await?).into_response()),
        Wanted::Stream => {
            let follow = app.platform.follow_run(&principal, id, after).await?;
            let seat = app.streams.enter(principal.org)?;
            let bearer = auth::bearer(&headers)?.to_owned();
            Ok(events::answer(app, follow, seat, bearer))
        }
    }
}

/// Requests of a run
///
/// What left, through connections or to hosts that the agent names, and what was not let out: the run's `egress.*` events, oldest
/// first. A request to such a host has no connection and the rule `network`. `egress.requested` is the
/// intent, `egress.finished` its result, `egress.denied` says which rule refused, `egress.redacted` where a credential was taken out
/// of an answer. No value is in any of them. A page may be short before the end; `next_after` says where to go on.
#[utoipa::path(
    get, path = "/v1/runs/{id}/egress", operation_id = "list_run_egress", tag = "runs",
    params(
        ("id" = schemas::RunId, Path, description = "The run"),
        ("after" = Option<u64>, Query, minimum = 0, description = "Only events after this sequence number"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "Events of a page (50)"),
    ),
    responses((status = 200, description = "Events", body = schemas::EventPage)),
    security(("api_key" = ["runs:read"]))
)]
pub(super) async fn egress(
    State(app): State<App>,
    Reader(principal): Reader,
    Id(id): Id<RunId>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response> {
    let (after, limit) = (events::after(&headers, &params)?, params.limit(EVENTS_PAGE_MAX)?);
    Ok(Json(app.platform.egress_after(&principal, id, after, limit).await?).into_response())
}

/// Files a run left behind
#[utoipa::path(
    get, path = "/v1/runs/{id}/artifacts", operation_id = "list_run_artifacts", tag = "runs",
    params(("id" = schemas::RunId, Path, description = "The run")),
    responses((status = 200, description = "All of them", body = schemas::Artifacts)),
    security(("api_key" = ["runs:read"]))
)]
pub(super) async fn artifacts(
    State(app): State<App>,
    Reader(principal): Reader,
    Id(id): Id<RunId>,
    uri: Uri,
) -> Result<Response> {
    answer::page(&uri, app.platform.list_artifacts(&principal, id).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preference_to_wait_is_read_and_bounded() {
        let wait = |field: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("prefer", HeaderValue::from_static(field));
            preferred_wait(&headers).map(|wait| wait.as_secs())
        };
        assert_eq!(wait("wait=10"), Some(10));
        assert_eq!(wait("respond-async, Wait = \"7\""), Some(7));
        assert_eq!(wait("wait=4000"), Some(55));
        assert_eq!(wait("wait=soon"), None);
        assert_eq!(wait("respond-async"), None);
    }
}
