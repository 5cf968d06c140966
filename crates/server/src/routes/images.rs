//! `/v1/images`: what this node has for sandboxes. Images are brought in by the node's operator, on its command line.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use livery_platform::images::Images;

use crate::app::App;
use crate::auth::{Acting, Reader};
use crate::path::Word;
use crate::problem::Result;
use crate::schemas;

/// List images
///
/// Those of the node that answers. `agents` and `runs` count the caller's organization: the latest versions of its agents that
/// name an image, and its runs that are not over.
#[utoipa::path(
    get, path = "/v1/images", operation_id = "list_images", tag = "nodes",
    responses((status = 200, description = "Every image", body = schemas::Images)),
    security(("api_key" = ["nodes:read"]))
)]
pub(super) async fn list(State(app): State<App>, Reader(principal): Reader) -> Result<Json<Images>> {
    Ok(Json(app.platform.images(&principal).await?))
}

/// Remove an image
///
/// Takes a name away from an image of the node that answers. With its last name the image goes, once no run needs it. Refused with
/// 409 while the latest version of an agent, of any organization, or a run that is not over names it.
#[utoipa::path(
    delete, path = "/v1/images/{name}", operation_id = "delete_image", tag = "nodes",
    params(("name" = String, Path, description = "`NAME` or `NAME:TAG`, a slash in it written `%2F`")),
    responses((status = 204, description = "The name is gone")),
    security(("api_key" = ["images:write"]))
)]
pub(super) async fn delete(State(app): State<App>, Acting(caller): Acting, Word(name): Word) -> Result<StatusCode> {
    app.platform.delete_image(&caller, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
