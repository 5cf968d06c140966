//! `/v1/vault`: the keys that seal all others, and their rotation. The operator's right. No key is ever shown.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use livery_platform::{Rewrap, RotateDataKey, VaultView};

use crate::answer;
use crate::app::App;
use crate::auth::Reader;
use crate::body::Post;
use crate::problem::Result;
use crate::schemas;

/// See the vault's keys
///
/// Which root key wraps how many keys, and what a rotation has left to do.
#[utoipa::path(
    get, path = "/v1/vault", operation_id = "get_vault", tag = "system",
    responses((status = 200, description = "The keys, by their ids", body = schemas::Vault)),
    security(("api_key" = ["organizations:write"]))
)]
pub(super) async fn get(State(app): State<App>, Reader(principal): Reader) -> Result<Json<VaultView>> {
    Ok(Json(app.platform.vault(&principal).await?))
}

/// Rotate the root key
///
/// Everything is wrapped under the root key of the node that answers, now and from now on. Give every node the new key first.
#[utoipa::path(
    post, path = "/v1/vault/rewrap", operation_id = "rewrap_vault", tag = "system",
    request_body = schemas::Rewrap,
    responses((status = 200, description = "The keys afterwards", body = schemas::Vault)),
    security(("api_key" = ["organizations:write"]))
)]
pub(super) async fn rewrap(State(app): State<App>, post: Post<Rewrap>) -> Result<Response> {
    answer::posted(app.platform.rewrap(&post.caller, post.body).await?, StatusCode::OK, None)
}

/// Rotate an organization's data key
///
/// What is sealed from now on is under a new key, and the long-lived values are sealed anew.
#[utoipa::path(
    post, path = "/v1/vault/data_keys", operation_id = "rotate_data_key", tag = "system",
    request_body = schemas::RotateDataKey,
    responses((status = 201, description = "The keys afterwards", body = schemas::Vault)),
    security(("api_key" = ["organizations:write"]))
)]
pub(super) async fn new_data_key(State(app): State<App>, post: Post<RotateDataKey>) -> Result<Response> {
    answer::posted(app.platform.rotate_data_key(&post.caller, post.body).await?, StatusCode::CREATED, None)
}
