//! `/v1/agents`: immutable versions of agents.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, Uri};
use livery_platform::agents::{AgentView, Validation};

use crate::answer::{self, Place};
use crate::app::App;
use crate::auth::Reader;
use crate::body::PostAgent;
use crate::params::Params;
use crate::path::Word;
use crate::problem::Result;
use crate::schemas;

const PLACE: Place = Place { prefix: "/v1/agents/", member: "name" };

/// Create a version of an agent
///
/// The body is the agent's folder: a zip of it, or JSON. `AGENT.md` says the name.
#[utoipa::path(
    post, path = "/v1/agents", operation_id = "create_agent_version", tag = "agents",
    request_body(content((schemas::InlineAgent = "application/json"), (Vec<u8> = "application/zip")), description = "The folder"),
    responses((status = 201, description = "The version", body = schemas::Agent, headers(("Location" = String, description = "The agent")))),
    security(("api_key" = ["agents:write"]))
)]
pub(super) async fn create(State(app): State<App>, post: PostAgent) -> Result<Response> {
    let posted = app.platform.create_agent_version(&post.caller, post.upload).await?;
    answer::posted(posted, StatusCode::CREATED, Some(&PLACE))
}

/// Validate an agent
///
/// Says everything worth mending and saves nothing. An agent that is not valid is an answer here, not an error.
#[utoipa::path(
    post, path = "/v1/agents/validate", operation_id = "validate_agent", tag = "agents",
    request_body(content((schemas::InlineAgent = "application/json"), (Vec<u8> = "application/zip")), description = "The folder"),
    responses((status = 200, description = "What was found", body = schemas::Validation)),
    security(("api_key" = ["agents:read"]))
)]
pub(super) async fn validate(State(app): State<App>, post: PostAgent) -> Result<Json<Validation>> {
    Ok(Json(app.platform.validate_agent(&post.caller.principal, post.upload).await?))
}

/// List agents
///
/// The latest version of each.
#[utoipa::path(
    get, path = "/v1/agents", operation_id = "list_agents", tag = "agents",
    params(schemas::PageQuery),
    responses((status = 200, description = "A page of agents", body = schemas::AgentPage)),
    security(("api_key" = ["agents:read"]))
)]
pub(super) async fn list(
    State(app): State<App>,
    Reader(principal): Reader,
    uri: Uri,
    params: Params,
) -> Result<Response> {
    answer::page(&uri, app.platform.list_agents(&principal, params.page()?).await?)
}

/// Get an agent
#[utoipa::path(
    get, path = "/v1/agents/{name}", operation_id = "get_agent", tag = "agents",
    params(("name" = String, Path, description = "`name`, `name@version` or `name@tag`")),
    responses((status = 200, description = "The version", body = schemas::Agent)),
    security(("api_key" = ["agents:read"]))
)]
pub(super) async fn get(
    State(app): State<App>,
    Reader(principal): Reader,
    Word(name): Word,
) -> Result<Json<AgentView>> {
    Ok(Json(app.platform.get_agent(&principal, &name).await?))
}

/// The agent that is called like the route beside it.
pub(super) async fn get_named_validate(State(app): State<App>, Reader(principal): Reader) -> Result<Json<AgentView>> {
    Ok(Json(app.platform.get_agent(&principal, "validate").await?))
}

/// List versions of an agent
#[utoipa::path(
    get, path = "/v1/agents/{name}/versions", operation_id = "list_agent_versions", tag = "agents",
    params(schemas::PageQuery, ("name" = String, Path, description = "The agent's name")),
    responses((status = 200, description = "A page of versions", body = schemas::AgentPage)),
    security(("api_key" = ["agents:read"]))
)]
pub(super) async fn versions(
    State(app): State<App>,
    Reader(principal): Reader,
    Word(name): Word,
    uri: Uri,
    params: Params,
) -> Result<Response> {
    answer::page(&uri, app.platform.list_agent_versions(&principal, &name, params.page()?).await?)
}
