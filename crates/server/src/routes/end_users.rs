//! `/v1/end_users`: whom an application acts for.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, Uri};
use livery_core::id::EndUserId;
use livery_platform::end_users::{EndUserView, NewEndUser};

use crate::answer::{self, Place};
use crate::app::App;
use crate::auth::Reader;
use crate::body::Post;
use crate::params::Params;
use crate::path::Id;
use crate::problem::Result;
use crate::schemas;

const PLACE: Place = Place { prefix: "/v1/end_users/", member: "id" };

/// Create an end user
///
/// They never sign in here: a key with `end_users:act` names one in `Livery-On-Behalf-Of`.
#[utoipa::path(
    post, path = "/v1/end_users", operation_id = "create_end_user", tag = "end_users",
    request_body = schemas::NewEndUser,
    responses((status = 201, description = "The end user", body = schemas::EndUser, headers(("Location" = String, description = "The end user")))),
    security(("api_key" = ["end_users:write"]))
)]
pub(super) async fn create(State(app): State<App>, post: Post<NewEndUser>) -> Result<Response> {
    let posted = app.platform.create_end_user(&post.caller, post.body).await?;
    answer::posted(posted, StatusCode::CREATED, Some(&PLACE))
}

/// List end users
#[utoipa::path(
    get, path = "/v1/end_users", operation_id = "list_end_users", tag = "end_users",
    params(schemas::PageQuery),
    responses((status = 200, description = "A page of end users", body = schemas::EndUserPage)),
    security(("api_key" = ["end_users:read"]))
)]
pub(super) async fn list(
    State(app): State<App>,
    Reader(principal): Reader,
    uri: Uri,
    params: Params,
) -> Result<Response> {
    answer::page(&uri, app.platform.list_end_users(&principal, params.page()?).await?)
}

/// Get an end user
#[utoipa::path(
    get, path = "/v1/end_users/{id}", operation_id = "get_end_user", tag = "end_users",
    params(("id" = schemas::EndUserId, Path, description = "The end user")),
    responses((status = 200, description = "The end user", body = schemas::EndUser)),
    security(("api_key" = ["end_users:read"]))
)]
pub(super) async fn get(
    State(app): State<App>,
    Reader(principal): Reader,
    Id(id): Id<EndUserId>,
) -> Result<Json<EndUserView>> {
    Ok(Json(app.platform.get_end_user(&principal, id).await?))
}
