//! `/v1/triggers`: signed messages that start runs, and the one address that asks for no key.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{StatusCode, Uri};
use livery_core::id::TriggerId;
use livery_platform::triggers::{NewTrigger, ReceiptStatus, Received, RotateTrigger, TriggerPatch, TriggerView};

use crate::answer::{self, Place};
use crate::app::App;
use crate::auth::{Acting, Reader};
use crate::body::{Post, PostIn};
use crate::inbound::PostEvent;
use crate::params::Params;
use crate::path::Id;
use crate::problem::{Problem, Result};
use crate::schemas;

const PLACE: Place = Place { prefix: "/v1/triggers/", member: "id" };

/// Create a trigger
#[utoipa::path(
    post, path = "/v1/triggers", operation_id = "create_trigger", tag = "triggers",
    request_body = schemas::NewTrigger,
    responses((status = 201, description = "The trigger with its secret, this once", body = schemas::TriggerWithSecret, headers(("Location" = String, description = "The trigger")))),
    security(("api_key" = ["triggers:write", "runs:write"]))
)]
pub(super) async fn create(State(app): State<App>, post: Post<NewTrigger>) -> Result<Response> {
    let posted = app.platform.create_trigger(&post.caller, post.body).await?;
    answer::posted(posted, StatusCode::CREATED, Some(&PLACE))
}

/// List triggers
#[utoipa::path(
    get, path = "/v1/triggers", operation_id = "list_triggers", tag = "triggers",
    params(schemas::PageQuery),
    responses((status = 200, description = "A page of triggers", body = schemas::TriggerPage)),
    security(("api_key" = ["triggers:read"]))
)]
pub(super) async fn list(
    State(app): State<App>,
    Reader(principal): Reader,
    uri: Uri,
    params: Params,
) -> Result<Response> {
    answer::page(&uri, app.platform.list_triggers(&principal, params.page()?).await?)
}

/// Get a trigger
#[utoipa::path(
    get, path = "/v1/triggers/{id}", operation_id = "get_trigger", tag = "triggers",
    params(("id" = schemas::TriggerId, Path, description = "The trigger")),
    responses((status = 200, description = "The trigger", body = schemas::Trigger)),
    security(("api_key" = ["triggers:read"]))
)]
pub(super) async fn get(
    State(app): State<App>,
    Reader(principal): Reader,
    Id(id): Id<TriggerId>,
) -> Result<Json<TriggerView>> {
    Ok(Json(app.platform.get_trigger(&principal, id).await?))
}

/// Change, pause or resume a trigger
///
/// What is absent stays.
#[utoipa::path(
    patch, path = "/v1/triggers/{id}", operation_id = "update_trigger", tag = "triggers",
    params(("id" = schemas::TriggerId, Path, description = "The trigger")),
    request_body = schemas::TriggerPatch,
    responses((status = 200, description = "The trigger as it is now", body = schemas::Trigger)),
    security(("api_key" = ["triggers:write", "runs:write"]))
)]
pub(super) async fn update(
    State(app): State<App>,
    patch: PostIn<TriggerId, TriggerPatch>,
) -> Result<Json<TriggerView>> {
    Ok(Json(app.platform.update_trigger(&patch.caller, patch.id, patch.body).await?))
}

/// Delete a trigger
///
/// Runs it started go on.
#[utoipa::path(
    delete, path = "/v1/triggers/{id}", operation_id = "delete_trigger", tag = "triggers",
    params(("id" = schemas::TriggerId, Path, description = "The trigger")),
    responses((status = 204, description = "It is gone")),
    security(("api_key" = ["triggers:write"]))
)]
pub(super) async fn delete(
    State(app): State<App>,
    Acting(caller): Acting,
    Id(id): Id<TriggerId>,
) -> Result<StatusCode> {
    app.platform.delete_trigger(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Replace a trigger's secret
///
/// The old one holds for some hours, so that the sender can be changed in between.
#[utoipa::path(
    post, path = "/v1/triggers/{id}/rotate", operation_id = "rotate_trigger", tag = "triggers",
    params(("id" = schemas::TriggerId, Path, description = "The trigger")),
    request_body = schemas::RotateTrigger,
    responses((status = 200, description = "The trigger with its new secret, this once", body = schemas::TriggerWithSecret)),
    security(("api_key" = ["triggers:write"]))
)]
pub(super) async fn rotate(State(app): State<App>, post: PostIn<TriggerId, RotateTrigger>) -> Result<Response> {
    let posted = app.platform.rotate_trigger(&post.caller, post.id, post.body).await?;
    answer::posted(posted, StatusCode::OK, None)
}

/// List what came to a trigger
///
/// Messages with a right signature, for 30 days.
#[utoipa::path(
    get, path = "/v1/triggers/{id}/deliveries", operation_id = "list_trigger_deliveries", tag = "triggers",
    params(schemas::PageQuery, ("id" = schemas::TriggerId, Path, description = "The trigger")),
    responses((status = 200, description = "A page of deliveries", body = schemas::TriggerDeliveryPage)),
    security(("api_key" = ["triggers:read"]))
)]
pub(super) async fn deliveries(
    State(app): State<App>,
    Reader(principal): Reader,
    Id(id): Id<TriggerId>,
    uri: Uri,
    params: Params,
) -> Result<Response> {
    answer::page(&uri, app.platform.list_trigger_deliveries(&principal, id, params.page()?).await?)
}

/// Send a message to a trigger
///
/// Asks for no key: the message is signed, in the way the trigger was created for. JSON or a form, at most 1 MiB. The same
/// message again answers with the run of the first time.
#[utoipa::path(
    post, path = "/v1/triggers/{id}/events", operation_id = "send_trigger_event", tag = "system",
    params(("id" = schemas::TriggerId, Path, description = "The trigger")),
    request_body(content(
        (serde_json::Value = "application/json"),
        (String = "application/x-www-form-urlencoded"),
    ), description = "What happened"),
    responses(
        (status = 202, description = "It started a run, or is not meant to", body = schemas::TriggerReceipt),
        (status = 200, description = "It had started a run before", body = schemas::TriggerReceipt),
        (status = 401, description = "The signature does not fit", body = schemas::Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such trigger", body = schemas::Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many messages", body = schemas::Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn receive(State(app): State<App>, event: PostEvent) -> Result<Response> {
    Ok(match app.platform.receive_event(event.id, event.inbound).await? {
        Received::Receipt(receipt) if receipt.status == ReceiptStatus::Replayed => Json(receipt).into_response(),
        Received::Receipt(receipt) => (StatusCode::ACCEPTED, Json(receipt)).into_response(),
        Received::Challenge(challenge) => Json(serde_json::json!({"challenge": challenge})).into_response(),
        Received::Refused(reason) => return Err(Problem::invalid_signature(reason)),
        Received::UnknownType => {
            return Err(Problem::unsupported_media_type("application/json or application/x-www-form-urlencoded"));
        }
    })
}
