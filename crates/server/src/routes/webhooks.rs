//! `/v1/webhooks`: endpoints and what was sent to them.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, Uri};
use livery_core::id::WebhookId;
use livery_platform::webhooks::{NewWebhook, WebhookView};

use crate::answer::{self, Place};
use crate::app::App;
use crate::auth::{Acting, Reader};
use crate::body::Post;
use crate::params::Params;
use crate::path::Id;
use crate::problem::Result;
use crate::schemas;

const PLACE: Place = Place { prefix: "/v1/webhooks/", member: "id" };

/// Create a webhook endpoint
#[utoipa::path(
    post, path = "/v1/webhooks", operation_id = "create_webhook", tag = "webhooks",
    request_body = schemas::NewWebhook,
    responses((status = 201, description = "The endpoint with its secret, this once", body = schemas::WebhookCreated, headers(("Location" = String, description = "The endpoint")))),
    security(("api_key" = ["webhooks:write"]))
)]
pub(super) async fn create(State(app): State<App>, post: Post<NewWebhook>) -> Result<Response> {
    let posted = app.platform.create_webhook(&post.caller, post.body).await?;
    answer::posted(posted, StatusCode::CREATED, Some(&PLACE))
}

/// List webhook endpoints
#[utoipa::path(
    get, path = "/v1/webhooks", operation_id = "list_webhooks", tag = "webhooks",
    params(schemas::PageQuery),
    responses((status = 200, description = "A page of endpoints", body = schemas::WebhookPage)),
    security(("api_key" = ["webhooks:read"]))
)]
pub(super) async fn list(
    State(app): State<App>,
    Reader(principal): Reader,
    uri: Uri,
    params: Params,
) -> Result<Response> {
    answer::page(&uri, app.platform.list_webhooks(&principal, params.page()?).await?)
}

/// Get a webhook endpoint
#[utoipa::path(
    get, path = "/v1/webhooks/{id}", operation_id = "get_webhook", tag = "webhooks",
    params(("id" = schemas::WebhookId, Path, description = "The endpoint")),
    responses((status = 200, description = "The endpoint", body = schemas::Webhook)),
    security(("api_key" = ["webhooks:read"]))
)]
pub(super) async fn get(
    State(app): State<App>,
    Reader(principal): Reader,
    Id(id): Id<WebhookId>,
) -> Result<Json<WebhookView>> {
    Ok(Json(app.platform.get_webhook(&principal, id).await?))
}

/// Delete a webhook endpoint
///
/// Deliveries that were due are dropped.
#[utoipa::path(
    delete, path = "/v1/webhooks/{id}", operation_id = "delete_webhook", tag = "webhooks",
    params(("id" = schemas::WebhookId, Path, description = "The endpoint")),
    responses((status = 204, description = "It is gone")),
    security(("api_key" = ["webhooks:write"]))
)]
pub(super) async fn delete(
    State(app): State<App>,
    Acting(caller): Acting,
    Id(id): Id<WebhookId>,
) -> Result<StatusCode> {
    app.platform.delete_webhook(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List deliveries
#[utoipa::path(
    get, path = "/v1/webhooks/{id}/deliveries", operation_id = "list_webhook_deliveries", tag = "webhooks",
    params(schemas::PageQuery, ("id" = schemas::WebhookId, Path, description = "The endpoint")),
    responses((status = 200, description = "A page of deliveries", body = schemas::DeliveryPage)),
    security(("api_key" = ["webhooks:read"]))
)]
pub(super) async fn deliveries(
    State(app): State<App>,
    Reader(principal): Reader,
    Id(id): Id<WebhookId>,
    uri: Uri,
    params: Params,
) -> Result<Response> {
    answer::page(&uri, app.platform.list_deliveries(&principal, id, params.page()?).await?)
}
