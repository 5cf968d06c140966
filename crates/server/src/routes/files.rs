//! `/v1/files`: input for runs, and what runs left behind.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::Stream;
use http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderValue, StatusCode};
use livery_core::id::FileId;
use livery_platform::files::FileView;
use livery_platform::objects::{Content, Failure};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::answer::{self, Place};
use crate::app::App;
use crate::auth::Reader;
use crate::body::PostFile;
use crate::path::Id;
use crate::problem::Result;
use crate::schemas;

const PLACE: Place = Place { prefix: "/v1/files/", member: "id" };

/// Upload a file
///
/// The body is the file's bytes, at most 100 MiB.
#[utoipa::path(
    post, path = "/v1/files", operation_id = "upload_file", tag = "files",
    params(("name" = String, Query, min_length = 1, max_length = 255, description = "Its name; a run finds it in `/workspace` under it")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "Any bytes, with their own Content-Type"),
    responses((status = 201, description = "The file", body = schemas::File, headers(("Location" = String, description = "The file")))),
    security(("api_key" = ["files:write"]))
)]
pub(super) async fn upload(State(app): State<App>, post: PostFile) -> Result<Response> {
    let posted = app.platform.upload_file(&post.caller, &post.name, &post.content_type, post.content).await?;
    answer::posted(posted, StatusCode::CREATED, Some(&PLACE))
}

/// Get a file's description
#[utoipa::path(
    get, path = "/v1/files/{id}", operation_id = "get_file", tag = "files",
    params(("id" = schemas::FileId, Path, description = "The file")),
    responses((status = 200, description = "The file without its content", body = schemas::File)),
    security(("api_key" = ["files:read"]))
)]
pub(super) async fn get(
    State(app): State<App>,
    Reader(principal): Reader,
    Id(id): Id<FileId>,
) -> Result<Json<FileView>> {
    Ok(Json(app.platform.get_file(&principal, id).await?))
}

/// Download a file
#[utoipa::path(
    get, path = "/v1/files/{id}/content", operation_id = "download_file", tag = "files",
    params(("id" = schemas::FileId, Path, description = "The file")),
    responses((status = 200, description = "Its bytes, with the Content-Type it was uploaded with", content_type = "application/octet-stream", body = Vec<u8>)),
    security(("api_key" = ["files:read"]))
)]
pub(super) async fn download(
    State(app): State<App>,
    Reader(principal): Reader,
    Id(id): Id<FileId>,
) -> Result<Response> {
    let (file, content) = app.platform.download_file(&principal, id).await?;
    let mut headers = content_headers(&file);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(file.bytes));
    Ok((headers, Body::from_stream(pieces(content))).into_response())
}

/// A failure in the middle breaks the connection: the client has the length and sees that something is missing.
fn pieces(content: Content) -> impl Stream<Item = std::result::Result<Bytes, Failure>> {
    futures_util::stream::unfold(content, async |mut content| content.next().await.map(|piece| (piece, content)))
}

/// A stranger's bytes are for saving, never for showing: always an attachment, never sniffed.
fn content_headers(file: &FileView) -> HeaderMap {
    let fallback = HeaderValue::from_static("application/octet-stream");
    let name = utf8_percent_encode(&file.name, NON_ALPHANUMERIC);
    let disposition = HeaderValue::try_from(format!("attachment; filename*=UTF-8''{name}"));
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::try_from(&file.content_type).unwrap_or(fallback));
    headers.insert(CONTENT_DISPOSITION, disposition.unwrap_or_else(|_| HeaderValue::from_static("attachment")));
    headers.extend(HeaderValue::try_from(format!("\"{}\"", file.sha256)).map(|tag| (ETAG, tag)));
    headers
}
