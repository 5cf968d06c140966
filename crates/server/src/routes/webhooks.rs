//! `/v1/webhooks`: endpoints and what was sent to them.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, Uri};
use livery_core::id::{DeliveryId, WebhookId};
use livery_platform::webhooks::{ChangeWebhook, DeliveryFilter, NewWebhook, RotateWebhook, WebhookDetail};

use crate::answer::{self, Place};
use crate::app::App;
use crate::auth::{Acting, Reader};
use crate::body::{Post, PostIn, PostTo};
use crate::params::Params;
use crate::path::{Id, Second};
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
    responses((status = 200, description = "The endpoint and its circuit", body = schemas::WebhookDetail)),
    security(("api_key" = ["webhooks:read"]))
)]
pub(super) async fn get(
    State(app): State<App>,
    Reader(principal): Reader,
    Id(id): Id<WebhookId>,
) -> Result<Json<WebhookDetail>> {
    Ok(Json(app.platform.get_webhook(&principal, id).await?))
}

/// Change a webhook endpoint
///
/// Switching it off cancels what is pending; switching it on again sends none of that, redelivering does.
#[utoipa::path(
    patch, path = "/v1/webhooks/{id}", operation_id = "change_webhook", tag = "webhooks",
    params(("id" = schemas::WebhookId, Path, description = "The endpoint")),
    request_body = schemas::ChangeWebhook,
    responses((status = 200, description = "The endpoint as it is now", body = schemas::WebhookDetail)),
    security(("api_key" = ["webhooks:write"]))
)]
pub(super) async fn change(
    State(app): State<App>,
    change: PostIn<WebhookId, ChangeWebhook>,
) -> Result<Json<WebhookDetail>> {
    Ok(Json(app.platform.change_webhook(&change.caller, change.id, change.body).await?))
}

/// Rotate an endpoint's keys
///
/// The old ones sign along for a while, so that a receiver changes over when it likes.
#[utoipa::path(
    post, path = "/v1/webhooks/{id}/rotate", operation_id = "rotate_webhook", tag = "webhooks",
    params(("id" = schemas::WebhookId, Path, description = "The endpoint")),
    request_body = schemas::RotateWebhook,
    responses((status = 200, description = "The endpoint with its new secret, this once", body = schemas::WebhookCreated)),
    security(("api_key" = ["webhooks:write"]))
)]
pub(super) async fn rotate(State(app): State<App>, change: PostIn<WebhookId, RotateWebhook>) -> Result<Response> {
    let posted = app.platform.rotate_webhook(&change.caller, change.id, change.body).await?;
    answer::posted(posted, StatusCode::OK, None)
}

/// Test a webhook endpoint
///
/// Sends a `webhook.test` message now, once, and answers what came of it.
#[utoipa::path(
    post, path = "/v1/webhooks/{id}/test", operation_id = "test_webhook", tag = "webhooks",
    params(("id" = schemas::WebhookId, Path, description = "The endpoint")),
    responses((status = 200, description = "What came of it", body = schemas::WebhookTested)),
    security(("api_key" = ["webhooks:write"]))
)]
pub(super) async fn test(State(app): State<App>, post: PostTo<WebhookId>) -> Result<Response> {
    let posted = app.platform.test_webhook(&post.caller, post.id).await?;
    answer::posted(posted, StatusCode::OK, None)
}

/// Delete a webhook endpoint
///
/// What was not delivered yet is cancelled.
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
    params(
        schemas::PageQuery,
        ("id" = schemas::WebhookId, Path, description = "The endpoint"),
        ("status" = Option<schemas::DeliveryStatus>, Query, description = "Only deliveries in this state"),
        ("run" = Option<schemas::RunId>, Query, description = "Only deliveries that tell of this run"),
    ),
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
    let filter = DeliveryFilter {
        status: params.value("status", "pending, delivered, failed or cancelled")?,
        run: params.value("run", "the id of a run")?,
    };
    answer::page(&uri, app.platform.list_deliveries(&principal, id, filter, params.page()?).await?)
}

/// Redeliver
///
/// Sends the event of a delivery once more, under the same event id, as a delivery of its own with all its attempts.
#[utoipa::path(
    post, path = "/v1/webhooks/{id}/deliveries/{delivery}/redeliver", operation_id = "redeliver", tag = "webhooks",
    params(
        ("id" = schemas::WebhookId, Path, description = "The endpoint"),
        ("delivery" = schemas::DeliveryId, Path, description = "The delivery to repeat"),
    ),
    responses((status = 202, description = "The new delivery", body = schemas::Delivery)),
    security(("api_key" = ["webhooks:write"]))
)]
pub(super) async fn redeliver(
    State(app): State<App>,
    delivery: Second<DeliveryId>,
    post: PostTo<WebhookId>,
) -> Result<Response> {
    let posted = app.platform.redeliver(&post.caller, post.id, delivery.found()?).await?;
    answer::posted(posted, StatusCode::ACCEPTED, None)
}
