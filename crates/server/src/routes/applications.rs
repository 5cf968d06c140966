//! `/v1/applications`: the applications of an organization, and what they demand of their runs.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::Uri;
use livery_core::id::AppId;
use livery_platform::organizations::{ApplicationView, SettingsPatch};

use crate::answer;
use crate::app::App;
use crate::auth::Reader;
use crate::body::PostIn;
use crate::params::Params;
use crate::path::Id;
use crate::problem::Result;
use crate::schemas;

/// List applications
///
/// Those of the organization; for a key that is bound to one, that one.
#[utoipa::path(
    get, path = "/v1/applications", operation_id = "list_applications", tag = "organizations",
    params(schemas::PageQuery),
    responses((status = 200, description = "A page of applications", body = schemas::ApplicationPage)),
    security(("api_key" = ["policies:read"]))
)]
pub(super) async fn list(
    State(app): State<App>,
    Reader(principal): Reader,
    uri: Uri,
    params: Params,
) -> Result<Response> {
    answer::page(&uri, app.platform.list_applications(&principal, params.page()?).await?)
}

/// Get an application
#[utoipa::path(
    get, path = "/v1/applications/{id}", operation_id = "get_application", tag = "organizations",
    params(("id" = schemas::AppId, Path, description = "The application")),
    responses((status = 200, description = "The application", body = schemas::Application)),
    security(("api_key" = ["policies:read"]))
)]
pub(super) async fn get(
    State(app): State<App>,
    Reader(principal): Reader,
    Id(id): Id<AppId>,
) -> Result<Json<ApplicationView>> {
    Ok(Json(app.platform.get_application(&principal, id).await?))
}

/// Change what an application demands of its runs
///
/// What is absent stays. It holds for runs that are accepted from now on, and for those whose sandbox is not made yet.
#[utoipa::path(
    patch, path = "/v1/applications/{id}", operation_id = "change_application", tag = "organizations",
    params(("id" = schemas::AppId, Path, description = "The application")),
    request_body = schemas::SettingsPatch,
    responses((status = 200, description = "The application as it is now", body = schemas::Application)),
    security(("api_key" = ["policies:write"]))
)]
pub(super) async fn change(
    State(app): State<App>,
    patch: PostIn<AppId, SettingsPatch>,
) -> Result<Json<ApplicationView>> {
    Ok(Json(app.platform.change_application(&patch.caller, patch.id, patch.body).await?))
}
