//! `/v1/organizations`: the operator's right.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use livery_platform::organizations::NewOrganization;

use crate::answer;
use crate::app::App;
use crate::body::Post;
use crate::problem::Result;
use crate::schemas;

/// Create an organization
///
/// With its first application and a key that has every right in it.
#[utoipa::path(
    post, path = "/v1/organizations", operation_id = "create_organization", tag = "organizations",
    request_body = schemas::NewOrganization,
    responses((status = 201, description = "The organization with its key, this once", body = schemas::OrganizationCreated)),
    security(("api_key" = ["organizations:write"]))
)]
pub(super) async fn create(State(app): State<App>, post: Post<NewOrganization>) -> Result<Response> {
    let posted = app.platform.create_organization(&post.caller, post.body).await?;
    answer::posted(posted, StatusCode::CREATED, None)
}
