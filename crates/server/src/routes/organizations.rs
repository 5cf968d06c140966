//! `/v1/organizations`: to create one is the operator's right; to see one and say what it demands of its runs, its members'.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, Uri};
use livery_core::id::OrgId;
use livery_platform::organizations::{NewOrganization, OrganizationView, SettingsPatch};

use crate::answer;
use crate::app::App;
use crate::auth::Reader;
use crate::body::{Post, PostIn};
use crate::params::Params;
use crate::path::Id;
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

/// List organizations
///
/// The key's own; all of them with `organizations:write`.
#[utoipa::path(
    get, path = "/v1/organizations", operation_id = "list_organizations", tag = "organizations",
    params(schemas::PageQuery),
    responses((status = 200, description = "A page of organizations", body = schemas::OrganizationPage)),
    security(("api_key" = ["policies:read"]))
)]
pub(super) async fn list(
    State(app): State<App>,
    Reader(principal): Reader,
    uri: Uri,
    params: Params,
) -> Result<Response> {
    answer::page(&uri, app.platform.list_organizations(&principal, params.page()?).await?)
}

/// Get an organization
#[utoipa::path(
    get, path = "/v1/organizations/{id}", operation_id = "get_organization", tag = "organizations",
    params(("id" = schemas::OrgId, Path, description = "The organization")),
    responses((status = 200, description = "The organization", body = schemas::Organization)),
    security(("api_key" = ["policies:read"]))
)]
pub(super) async fn get(
    State(app): State<App>,
    Reader(principal): Reader,
    Id(id): Id<OrgId>,
) -> Result<Json<OrganizationView>> {
    Ok(Json(app.platform.get_organization(&principal, id).await?))
}

/// Change what an organization demands of its runs
///
/// What is absent stays. It holds for runs that are accepted from now on, and for those whose sandbox is not made yet. Of
/// any organization with `organizations:write`; of the key's own with `policies:write`, unless it is bound to an application.
#[utoipa::path(
    patch, path = "/v1/organizations/{id}", operation_id = "change_organization", tag = "organizations",
    params(("id" = schemas::OrgId, Path, description = "The organization")),
    request_body = schemas::SettingsPatch,
    responses((status = 200, description = "The organization as it is now", body = schemas::Organization)),
    security(("api_key" = ["policies:write"]))
)]
pub(super) async fn change(
    State(app): State<App>,
    patch: PostIn<OrgId, SettingsPatch>,
) -> Result<Json<OrganizationView>> {
    Ok(Json(app.platform.change_organization(&patch.caller, patch.id, patch.body).await?))
}
