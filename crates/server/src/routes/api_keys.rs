//! `/v1/api_keys`.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, Uri};
use livery_core::id::KeyId;
use livery_platform::keys::{ApiKeyView, NewApiKey};

use crate::answer;
use crate::app::App;
use crate::auth::{Acting, Reader};
use crate::body::Post;
use crate::params::Params;
use crate::path::Id;
use crate::problem::Result;
use crate::schemas;

/// Create an API key
#[utoipa::path(
    post, path = "/v1/api_keys", operation_id = "create_api_key", tag = "api_keys",
    request_body = schemas::NewApiKey,
    responses((status = 201, description = "The key with its secret, this once", body = schemas::ApiKeyCreated)),
    security(("api_key" = ["api_keys:write"]))
)]
pub(super) async fn create(State(app): State<App>, post: Post<NewApiKey>) -> Result<Response> {
    let posted = app.platform.create_api_key(&post.caller, post.body).await?;
    answer::posted(posted, StatusCode::CREATED, None)
}

/// List API keys
#[utoipa::path(
    get, path = "/v1/api_keys", operation_id = "list_api_keys", tag = "api_keys",
    params(schemas::PageQuery),
    responses((status = 200, description = "A page of keys", body = schemas::ApiKeyPage)),
    security(("api_key" = ["api_keys:read"]))
)]
pub(super) async fn list(
    State(app): State<App>,
    Reader(principal): Reader,
    uri: Uri,
    params: Params,
) -> Result<Response> {
    answer::page(&uri, app.platform.list_api_keys(&principal, params.page()?).await?)
}

/// Revoke an API key
///
/// It stops to work at once; the row stays, so that the log can be read.
#[utoipa::path(
    delete, path = "/v1/api_keys/{id}", operation_id = "revoke_api_key", tag = "api_keys",
    params(("id" = schemas::KeyId, Path, description = "The key")),
    responses((status = 200, description = "The key as it is now", body = schemas::ApiKey)),
    security(("api_key" = ["api_keys:write"]))
)]
pub(super) async fn revoke(
    State(app): State<App>,
    Acting(caller): Acting,
    Id(id): Id<KeyId>,
) -> Result<Json<ApiKeyView>> {
    Ok(Json(app.platform.revoke_api_key(&caller, id).await?))
}
