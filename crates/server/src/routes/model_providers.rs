//! `/v1/model_providers`: where models are asked. Keys go in and never come out.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, Uri};
use livery_platform::providers::{ModelProviderView, NewModelProvider};

use crate::answer::{self, Place};
use crate::app::App;
use crate::auth::{Acting, Reader};
use crate::body::Post;
use crate::path::Word;
use crate::problem::Result;
use crate::schemas;

const PLACE: Place = Place { prefix: "/v1/model_providers/", member: "id" };

/// Create a model provider
#[utoipa::path(
    post, path = "/v1/model_providers", operation_id = "create_model_provider", tag = "model_providers",
    request_body = schemas::NewModelProvider,
    responses((status = 201, description = "The provider", body = schemas::ModelProvider, headers(("Location" = String, description = "The provider")))),
    security(("api_key" = ["model_providers:write"]))
)]
pub(super) async fn create(State(app): State<App>, post: Post<NewModelProvider>) -> Result<Response> {
    let posted = app.platform.create_model_provider(&post.caller, post.body).await?;
    answer::posted(posted, StatusCode::CREATED, Some(&PLACE))
}

/// List model providers
#[utoipa::path(
    get, path = "/v1/model_providers", operation_id = "list_model_providers", tag = "model_providers",
    responses((status = 200, description = "A page of providers", body = schemas::ModelProviderPage)),
    security(("api_key" = ["model_providers:read"]))
)]
pub(super) async fn list(State(app): State<App>, Reader(principal): Reader, uri: Uri) -> Result<Response> {
    answer::page(&uri, app.platform.list_model_providers(&principal).await?)
}

/// Get a model provider
#[utoipa::path(
    get, path = "/v1/model_providers/{provider}", operation_id = "get_model_provider", tag = "model_providers",
    params(("provider" = String, Path, description = "Its id or its name")),
    responses((status = 200, description = "The provider", body = schemas::ModelProvider)),
    security(("api_key" = ["model_providers:read"]))
)]
pub(super) async fn get(
    State(app): State<App>,
    Reader(principal): Reader,
    Word(provider): Word,
) -> Result<Json<ModelProviderView>> {
    Ok(Json(app.platform.get_model_provider(&principal, &provider).await?))
}

/// Delete a model provider
#[utoipa::path(
    delete, path = "/v1/model_providers/{provider}", operation_id = "delete_model_provider", tag = "model_providers",
    params(("provider" = String, Path, description = "Its id or its name")),
    responses((status = 204, description = "It is gone, and its key with it")),
    security(("api_key" = ["model_providers:write"]))
)]
pub(super) async fn delete(State(app): State<App>, Acting(caller): Acting, Word(provider): Word) -> Result<StatusCode> {
    app.platform.delete_model_provider(&caller, &provider).await?;
    Ok(StatusCode::NO_CONTENT)
}
