//! What is asked without a key: whether the node lives, whether it is ready, what it offers.

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use http::header::CONTENT_TYPE;
use livery_core::FieldError;
use serde_json::{Value, json};

use crate::app::App;
use crate::problem::{Problem, Result};
use crate::schemas;

/// Whether the process lives
#[utoipa::path(
    get, path = "/healthz", operation_id = "get_health", tag = "system",
    responses((status = 200, description = "It does", body = schemas::Health)),
    security(())
)]
pub(super) async fn health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// Whether the node can take requests
///
/// While it stops, or when something it needs is missing, the problem names each check that says no.
#[utoipa::path(
    get, path = "/readyz", operation_id = "get_readiness", tag = "system",
    responses((status = 200, description = "It can", body = schemas::Readiness)),
    security(())
)]
pub(super) async fn ready(State(app): State<App>) -> Result<Response> {
    if app.draining.is_cancelled() {
        return Err(Problem::not_ready(vec![FieldError::new("shutdown", "draining", "the server is stopping")]));
    }
    let readiness = app.platform.readiness().await;
    if readiness.ready {
        return Ok(Json(readiness).into_response());
    }
    let missing = readiness.checks.into_iter().filter(|check| !check.ok).map(|check| {
        let code = if check.name == "shutdown" { "draining" } else { "unavailable" };
        FieldError::new(check.name, code, check.detail)
    });
    Err(Problem::not_ready(missing.collect()))
}

/// This document
#[utoipa::path(
    get, path = "/v1/openapi.json", operation_id = "get_openapi", tag = "system",
    responses((status = 200, description = "OpenAPI 3.1", body = Value)),
    security(())
)]
pub(super) async fn document(State(app): State<App>) -> Response {
    ([(CONTENT_TYPE, "application/json")], app.document.clone()).into_response()
}

/// Routes outside the document.
pub(super) fn fixed() -> Router<App> {
    Router::new().route("/", get(async || Redirect::to("/docs")))
}
