//! `/metrics`: what this node counts, for Prometheus. The numbers are the operator's and name no tenant.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;

use crate::app::App;
use crate::auth::Reader;
use crate::problem::Result;

/// The text format of OpenMetrics 1.0, which Prometheus scrapes.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What this node counts
///
/// In the text format of OpenMetrics, for Prometheus. The operator's right: `--metrics-listen` serves the same on an
/// address of its own without a key.
#[utoipa::path(
    get, path = "/metrics", operation_id = "read_metrics", tag = "metrics",
    responses((status = 200, description = "Every metric", content_type = "application/openmetrics-text", body = String)),
    security(("api_key" = ["metrics:read"]))
)]
pub(super) async fn read(State(app): State<App>, Reader(principal): Reader) -> Result<Response> {
    Ok(as_openmetrics(app.platform.read_metrics(&principal).await?))
}

/// The same on the listener that needs no key.
pub(super) async fn read_openly(State(app): State<App>) -> Result<Response> {
    Ok(as_openmetrics(app.platform.metrics_text().await?))
}

fn as_openmetrics(text: String) -> Response {
    ([(CONTENT_TYPE, OPENMETRICS)], text).into_response()
}
