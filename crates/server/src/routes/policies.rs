//! `/v1/policies`: what runs may do, in Cedar.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, Uri};
use livery_core::id::PolicyId;
use livery_platform::policies::{NewPolicy, PolicyCheck, PolicyPatch, PolicyText, PolicyView};

use crate::answer::{self, Place};
use crate::app::App;
use crate::auth::{Acting, Reader};
use crate::body::{Post, PostIn};
use crate::params::Params;
use crate::path::Id;
use crate::problem::Result;
use crate::schemas;

const PLACE: Place = Place { prefix: "/v1/policies/", member: "id" };

/// Create a policy
///
/// Of the organization, or of the application the key is bound to. As soon as one statement speaks of requests, every request
/// with a credential that none permits is denied.
#[utoipa::path(
    post, path = "/v1/policies", operation_id = "create_policy", tag = "policies",
    request_body = schemas::NewPolicy,
    responses((status = 201, description = "The policy", body = schemas::Policy, headers(("Location" = String, description = "The policy")))),
    security(("api_key" = ["policies:write"]))
)]
pub(super) async fn create(State(app): State<App>, post: Post<NewPolicy>) -> Result<Response> {
    let posted = app.platform.create_policy(&post.caller, post.body).await?;
    answer::posted(posted, StatusCode::CREATED, Some(&PLACE))
}

/// List policies
#[utoipa::path(
    get, path = "/v1/policies", operation_id = "list_policies", tag = "policies",
    params(schemas::PageQuery),
    responses((status = 200, description = "A page of policies", body = schemas::PolicyPage)),
    security(("api_key" = ["policies:read"]))
)]
pub(super) async fn list(
    State(app): State<App>,
    Reader(principal): Reader,
    uri: Uri,
    params: Params,
) -> Result<Response> {
    answer::page(&uri, app.platform.list_policies(&principal, params.page()?).await?)
}

/// Get a policy
#[utoipa::path(
    get, path = "/v1/policies/{id}", operation_id = "get_policy", tag = "policies",
    params(("id" = schemas::PolicyId, Path, description = "The policy")),
    responses((status = 200, description = "The policy", body = schemas::Policy)),
    security(("api_key" = ["policies:read"]))
)]
pub(super) async fn get(
    State(app): State<App>,
    Reader(principal): Reader,
    Id(id): Id<PolicyId>,
) -> Result<Json<PolicyView>> {
    Ok(Json(app.platform.get_policy(&principal, id).await?))
}

/// Replace a policy's text or name
///
/// What is absent stays. It holds from the next request of any run on, on every node; approvals that wait under the old text
/// are asked for again.
#[utoipa::path(
    patch, path = "/v1/policies/{id}", operation_id = "replace_policy", tag = "policies",
    params(("id" = schemas::PolicyId, Path, description = "The policy")),
    request_body = schemas::PolicyPatch,
    responses((status = 200, description = "The policy as it is now", body = schemas::Policy)),
    security(("api_key" = ["policies:write"]))
)]
pub(super) async fn replace(State(app): State<App>, patch: PostIn<PolicyId, PolicyPatch>) -> Result<Json<PolicyView>> {
    Ok(Json(app.platform.replace_policy(&patch.caller, patch.id, patch.body).await?))
}

/// Delete a policy
#[utoipa::path(
    delete, path = "/v1/policies/{id}", operation_id = "delete_policy", tag = "policies",
    params(("id" = schemas::PolicyId, Path, description = "The policy")),
    responses((status = 204, description = "It is gone")),
    security(("api_key" = ["policies:write"]))
)]
pub(super) async fn delete(State(app): State<App>, Acting(caller): Acting, Id(id): Id<PolicyId>) -> Result<StatusCode> {
    app.platform.delete_policy(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Check a policy's text
///
/// Saves nothing: answers the statements in it, or everything that is wrong.
#[utoipa::path(
    post, path = "/v1/policies/validate", operation_id = "validate_policy", tag = "policies",
    request_body = schemas::PolicyText,
    responses((status = 200, description = "What is in it", body = schemas::PolicyCheck)),
    security(("api_key" = ["policies:read"]))
)]
pub(super) async fn validate(State(app): State<App>, post: Post<PolicyText>) -> Result<Json<PolicyCheck>> {
    Ok(Json(app.platform.check_policy(&post.caller.principal, &post.body)?))
}
