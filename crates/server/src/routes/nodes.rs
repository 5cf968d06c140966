//! `/v1/nodes`: the operator's right.

use axum::extract::State;
use axum::response::Response;
use http::Uri;

use crate::answer;
use crate::app::App;
use crate::auth::Reader;
use crate::problem::Result;
use crate::schemas;

/// List nodes
///
/// Those that take part in this installation, and those that did within the last hour. All of them at once, at most a
/// thousand.
#[utoipa::path(
    get, path = "/v1/nodes", operation_id = "list_nodes", tag = "nodes",
    responses((status = 200, description = "The nodes", body = schemas::NodePage)),
    security(("api_key" = ["nodes:read"]))
)]
pub(super) async fn list(State(app): State<App>, Reader(principal): Reader, uri: Uri) -> Result<Response> {
    answer::page(&uri, app.platform.nodes(&principal).await?)
}
