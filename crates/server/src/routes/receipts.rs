//! `/v1/runs/{id}/receipt` and `/v1/receipt_keys`: what a run was, signed, and the keys to check it with.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use livery_core::id::RunId;
use livery_platform::receipts::keys::ReceiptKeys;

use crate::answer;
use crate::app::App;
use crate::auth::Reader;
use crate::body::PostBare;
use crate::path::Id;
use crate::problem::Result;
use crate::schemas;

/// The receipt of a run
///
/// For a finished run: digests of its input, its output, its agent and its log, signed with Ed25519. The answer is canonical
/// JSON; keep its bytes as they are. `livery receipt verify` checks it without a server.
#[utoipa::path(
    get, path = "/v1/runs/{id}/receipt", operation_id = "get_run_receipt", tag = "runs",
    params(("id" = schemas::RunId, Path, description = "The run")),
    responses((status = 200, description = "The receipt", body = schemas::Receipt)),
    security(("api_key" = ["runs:read"]))
)]
pub(super) async fn get(State(app): State<App>, Reader(principal): Reader, Id(id): Id<RunId>) -> Result<Response> {
    let receipt = app.platform.receipt(&principal, id).await?;
    Ok(([(CONTENT_TYPE, "application/json")], receipt.text()).into_response())
}

/// The keys receipts are checked with
///
/// Every public key that receipts were ever signed with, newest first.
#[utoipa::path(
    get, path = "/v1/receipt_keys", operation_id = "list_receipt_keys", tag = "system",
    responses((status = 200, description = "All of them", body = schemas::ReceiptKeys)),
    security(())
)]
pub(super) async fn keys(State(app): State<App>) -> Result<Json<ReceiptKeys>> {
    Ok(Json(app.platform.receipt_keys().await?))
}

/// Rotate the receipt key
///
/// A new key signs from now on; the old ones stay listed.
#[utoipa::path(
    post, path = "/v1/receipt_keys", operation_id = "rotate_receipt_key", tag = "organizations",
    responses((status = 201, description = "The new key", body = schemas::ReceiptKey)),
    security(("api_key" = ["organizations:write"]))
)]
pub(super) async fn rotate(State(app): State<App>, post: PostBare) -> Result<Response> {
    answer::posted(app.platform.rotate_receipt_key(&post.caller).await?, StatusCode::CREATED, None)
}
