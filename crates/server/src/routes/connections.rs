//! `/v1/connections` and `/v1/connectors`: credentials that runs use. Values go in and never come out.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, Uri};
use livery_core::id::{ConnectionId, EndUserId};
use livery_platform::connections::{
    AuthorizeConnection, ConnectionFilter, ConnectionPatch, ConnectionView, ConnectorView, NewConnection,
    RotateConnection,
};

use crate::answer::{self, Place};
use crate::app::App;
use crate::auth::{Acting, Reader};
use crate::body::{Post, PostIn, PostTo};
use crate::params::Params;
use crate::path::{Id, Word};
use crate::problem::Result;
use crate::schemas;

const PLACE: Place = Place { prefix: "/v1/connections/", member: "id" };

/// Create a connection
///
/// Of the organization, or of the application the key is bound to, or of an end user. The value is sealed; no answer ever
/// carries it.
#[utoipa::path(
    post, path = "/v1/connections", operation_id = "create_connection", tag = "connections",
    request_body = schemas::NewConnection,
    responses((status = 201, description = "The connection", body = schemas::Connection, headers(("Location" = String, description = "The connection")))),
    security(("api_key" = ["connections:write"]))
)]
pub(super) async fn create(State(app): State<App>, post: Post<NewConnection>) -> Result<Response> {
    let posted = app.platform.create_connection(&post.caller, post.body).await?;
    answer::posted(posted, StatusCode::CREATED, Some(&PLACE))
}

/// List connections
///
/// Those that were revoked included.
#[utoipa::path(
    get, path = "/v1/connections", operation_id = "list_connections", tag = "connections",
    params(
        schemas::PageQuery,
        ("end_user" = Option<schemas::EndUserId>, Query, description = "Only those of this end user"),
    ),
    responses((status = 200, description = "A page of connections", body = schemas::ConnectionPage)),
    security(("api_key" = ["connections:read"]))
)]
pub(super) async fn list(
    State(app): State<App>,
    Reader(principal): Reader,
    uri: Uri,
    params: Params,
) -> Result<Response> {
    let filter = ConnectionFilter { end_user: params.value::<EndUserId>("end_user", "the id of an end user")? };
    answer::page(&uri, app.platform.list_connections(&principal, filter, params.page()?).await?)
}

/// Get a connection
#[utoipa::path(
    get, path = "/v1/connections/{id}", operation_id = "get_connection", tag = "connections",
    params(("id" = schemas::ConnectionId, Path, description = "The connection")),
    responses((status = 200, description = "The connection", body = schemas::Connection)),
    security(("api_key" = ["connections:read"]))
)]
pub(super) async fn get(
    State(app): State<App>,
    Reader(principal): Reader,
    Id(id): Id<ConnectionId>,
) -> Result<Json<ConnectionView>> {
    Ok(Json(app.platform.get_connection(&principal, id).await?))
}

/// Change a connection
///
/// Its name, what it is narrowed to, or its application; what is absent stays. Holds from the next request on, for runs under
/// way too.
#[utoipa::path(
    patch, path = "/v1/connections/{id}", operation_id = "change_connection", tag = "connections",
    params(("id" = schemas::ConnectionId, Path, description = "The connection")),
    request_body = schemas::ConnectionPatch,
    responses((status = 200, description = "The connection as it is now", body = schemas::Connection)),
    security(("api_key" = ["connections:write"]))
)]
pub(super) async fn change(
    State(app): State<App>,
    patch: PostIn<ConnectionId, ConnectionPatch>,
) -> Result<Json<ConnectionView>> {
    Ok(Json(app.platform.change_connection(&patch.caller, patch.id, patch.body).await?))
}

/// Ask a person to authorise a connection
///
/// Of the kind `oauth2`. Answers what the person opens in a browser; with the flow `device`, also the code to type there. The
/// connection is `active` once the person has agreed.
#[utoipa::path(
    post, path = "/v1/connections/{id}/authorize", operation_id = "authorize_connection", tag = "connections",
    params(("id" = schemas::ConnectionId, Path, description = "The connection")),
    request_body = schemas::AuthorizeConnection,
    responses((status = 200, description = "What the person does", body = schemas::Authorization)),
    security(("api_key" = ["connections:write"]))
)]
pub(super) async fn authorize(
    State(app): State<App>,
    post: PostIn<ConnectionId, AuthorizeConnection>,
) -> Result<Response> {
    let posted = app.platform.authorize_connection(&post.caller, post.id, post.body).await?;
    answer::posted(posted, StatusCode::OK, None)
}

/// Revoke a connection
///
/// Its value is deleted; runs under way cannot use it any more. The connection stays visible, as `revoked`.
#[utoipa::path(
    delete, path = "/v1/connections/{id}", operation_id = "revoke_connection", tag = "connections",
    params(("id" = schemas::ConnectionId, Path, description = "The connection")),
    responses((status = 204, description = "Its value is gone")),
    security(("api_key" = ["connections:write"]))
)]
pub(super) async fn revoke(
    State(app): State<App>,
    Acting(caller): Acting,
    Id(id): Id<ConnectionId>,
) -> Result<StatusCode> {
    app.platform.revoke_connection(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Replace a connection's value
///
/// From then on every request uses the new one, those of runs under way included.
#[utoipa::path(
    post, path = "/v1/connections/{id}/rotate", operation_id = "rotate_connection", tag = "connections",
    params(("id" = schemas::ConnectionId, Path, description = "The connection")),
    request_body = schemas::RotateConnection,
    responses((status = 200, description = "The connection as it is now", body = schemas::Connection)),
    security(("api_key" = ["connections:write"]))
)]
pub(super) async fn rotate(State(app): State<App>, post: PostIn<ConnectionId, RotateConnection>) -> Result<Response> {
    let posted = app.platform.rotate_connection(&post.caller, post.id, post.body).await?;
    answer::posted(posted, StatusCode::OK, None)
}

/// Test a connection
///
/// Makes the connector's harmless call with the credential, now, and answers whether it was accepted. Nothing of the
/// upstream's answer is shown.
#[utoipa::path(
    post, path = "/v1/connections/{id}/test", operation_id = "test_connection", tag = "connections",
    params(("id" = schemas::ConnectionId, Path, description = "The connection")),
    responses((status = 200, description = "How it went", body = schemas::ConnectionTest)),
    security(("api_key" = ["connections:write"]))
)]
pub(super) async fn test(State(app): State<App>, post: PostTo<ConnectionId>) -> Result<Response> {
    let posted = app.platform.test_connection(&post.caller, post.id).await?;
    answer::posted(posted, StatusCode::OK, None)
}

/// List connectors
#[utoipa::path(
    get, path = "/v1/connectors", operation_id = "list_connectors", tag = "connections",
    responses((status = 200, description = "All of them", body = schemas::ConnectorPage)),
    security(("api_key" = ["connections:read"]))
)]
pub(super) async fn connectors(State(app): State<App>, Reader(principal): Reader, uri: Uri) -> Result<Response> {
    answer::page(&uri, app.platform.list_connectors(&principal)?)
}

/// Get a connector
#[utoipa::path(
    get, path = "/v1/connectors/{name}", operation_id = "get_connector", tag = "connections",
    params(("name" = String, Path, description = "Its name")),
    responses((status = 200, description = "The connector", body = schemas::Connector)),
    security(("api_key" = ["connections:read"]))
)]
pub(super) async fn connector(
    State(app): State<App>,
    Reader(principal): Reader,
    Word(name): Word,
) -> Result<Json<ConnectorView>> {
    Ok(Json(app.platform.get_connector(&principal, &name)?))
}
