//! `/v1/sandboxes/tiers`: the operator's right.

use axum::Json;
use axum::extract::State;
use livery_platform::tiers::Tiers;

use crate::app::App;
use crate::auth::Reader;
use crate::problem::Result;
use crate::schemas;

/// List sandbox tiers
///
/// What the node that answers can put around a run, found by trying it: the first call may take some seconds. A run gets exactly
/// the tier it asks for, or is refused.
#[utoipa::path(
    get, path = "/v1/sandboxes/tiers", operation_id = "list_sandbox_tiers", tag = "nodes",
    responses((status = 200, description = "Every tier", body = schemas::SandboxTiers)),
    security(("api_key" = ["nodes:read"]))
)]
pub(super) async fn tiers(State(app): State<App>, Reader(principal): Reader) -> Result<Json<Tiers>> {
    Ok(Json(app.platform.tiers(&principal).await?))
}
