//! The table of contents: every route, by resource. Handlers prove who asks, call one function of `platform`, translate.

mod agents;
mod api_keys;
mod applications;
mod approvals;
mod connections;
mod end_users;
mod files;
mod images;
mod metrics;
mod model_providers;
mod nodes;
mod oauth;
mod organizations;
mod policies;
mod receipts;
mod replay;
mod runs;
mod sandboxes;
mod schedules;
mod shell;
mod system;
mod triggers;
mod vault;
mod webhooks;
mod workspaces;

use axum::Router;
use axum::routing::get;
use utoipa::openapi::{OpenApi, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::docs;
use crate::problem::Problem;

/// Every documented route with its part of the document.
pub(crate) fn all() -> (Router<App>, OpenApi) {
    OpenApiRouter::with_openapi(OpenApiBuilder::new().build())
        .routes(routes!(runs::list, runs::start))
        .routes(routes!(runs::get))
        .routes(routes!(runs::events))
        .routes(routes!(runs::egress))
        .routes(routes!(runs::cancel))
        .routes(routes!(runs::artifacts))
        .routes(routes!(shell::open))
        .routes(routes!(replay::replay))
        .routes(routes!(replay::export))
        .routes(routes!(replay::fork))
        .routes(routes!(receipts::get))
        .routes(routes!(schedules::list, schedules::create))
        .routes(routes!(schedules::preview))
        .routes(routes!(schedules::get, schedules::update, schedules::delete))
        .routes(routes!(schedules::run))
        .routes(routes!(triggers::list, triggers::create))
        .routes(routes!(triggers::get, triggers::update, triggers::delete))
        .routes(routes!(triggers::rotate))
        .routes(routes!(triggers::deliveries))
        .routes(routes!(triggers::receive))
        .routes(routes!(agents::list, agents::create))
        .routes(routes!(agents::validate))
        .routes(routes!(agents::get))
        .routes(routes!(agents::versions))
        .routes(routes!(files::upload))
        .routes(routes!(files::get))
        .routes(routes!(files::download))
        .routes(routes!(webhooks::list, webhooks::create))
        .routes(routes!(webhooks::get, webhooks::change, webhooks::delete))
        .routes(routes!(webhooks::rotate))
        .routes(routes!(webhooks::test))
        .routes(routes!(webhooks::deliveries))
        .routes(routes!(webhooks::redeliver))
        .routes(routes!(connections::list, connections::create))
        .routes(routes!(connections::get, connections::change, connections::revoke))
        .routes(routes!(connections::authorize))
        .routes(routes!(oauth::authorize))
        .routes(routes!(oauth::callback))
        .routes(routes!(connections::rotate))
        .routes(routes!(connections::test))
        .routes(routes!(connections::connectors))
        .routes(routes!(connections::connector))
        .routes(routes!(policies::list, policies::create))
        .routes(routes!(policies::validate))
        .routes(routes!(policies::get, policies::replace, policies::delete))
        .routes(routes!(approvals::list))
        .routes(routes!(approvals::get, approvals::decide))
        .routes(routes!(end_users::list, end_users::create))
        .routes(routes!(end_users::get))
        .routes(routes!(workspaces::list))
        .routes(routes!(workspaces::get, workspaces::delete))
        .routes(routes!(workspaces::restore))
        .routes(routes!(workspaces::snapshots, workspaces::create_snapshot))
        .routes(routes!(workspaces::delete_snapshot))
        .routes(routes!(model_providers::list, model_providers::create))
        .routes(routes!(model_providers::get, model_providers::delete))
        .routes(routes!(api_keys::list, api_keys::create))
        .routes(routes!(api_keys::revoke))
        .routes(routes!(organizations::list, organizations::create))
        .routes(routes!(organizations::get, organizations::change))
        .routes(routes!(applications::list))
        .routes(routes!(applications::get, applications::change))
        .routes(routes!(vault::get))
        .routes(routes!(vault::rewrap))
        .routes(routes!(vault::new_data_key))
        .routes(routes!(nodes::list))
        .routes(routes!(sandboxes::tiers))
        .routes(routes!(images::list))
        .routes(routes!(images::delete))
        .routes(routes!(receipts::keys, receipts::rotate))
        .routes(routes!(metrics::read))
        .routes(routes!(system::health))
        .routes(routes!(system::ready))
        .routes(routes!(system::document))
        .split_for_parts()
}

/// What the listener for metrics serves.
pub(crate) fn metrics() -> Router<App> {
    Router::new()
        .route("/metrics", get(metrics::read_openly))
        .route("/healthz", get(system::health))
        .route("/readyz", get(system::ready))
}

/// What a node without the role `api` serves.
pub(crate) fn without_api() -> Router<App> {
    Router::new()
        .route("/metrics", get(metrics::read))
        .route("/healthz", get(system::health))
        .route("/readyz", get(system::ready))
        .fallback(async || Problem::no_api())
}

/// The routes whose answers are made once, at the start, and those that no document lists.
pub(crate) fn fixed(document: &OpenApi) -> Router<App> {
    docs::routes(document)
        .merge(system::fixed())
        // An agent may be called `validate`; the POST of that path belongs to no agent.
        .route("/v1/agents/validate", get(agents::get_named_validate))
}
