//! Files, health and problems.

use utoipa::ToSchema;

use super::{FileId, Time};

/// A file without its content.
#[derive(ToSchema)]
pub(crate) struct File {
    id: FileId,
    name: String,
    bytes: u64,
    /// Of the content, hexadecimal.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    sha256: String,
    /// As uploaded.
    content_type: String,
    created_at: Time,
}

/// The process lives.
#[derive(ToSchema)]
pub(crate) struct Health {
    /// `ok`.
    status: String,
}

/// The node can take requests.
#[derive(ToSchema)]
pub(crate) struct Readiness {
    ready: bool,
    #[schema(inline)]
    checks: Vec<Check>,
}

/// One thing a node needs.
#[derive(ToSchema)]
struct Check {
    name: String,
    ok: bool,
    detail: String,
}

/// A problem document (RFC 9457). `type` leads to a page about the code.
#[derive(ToSchema)]
pub(crate) struct Problem {
    /// `/docs/errors/{code}`.
    #[schema(rename = "type")]
    kind: String,
    title: String,
    /// The HTTP status.
    status: u16,
    /// What is wrong here and how to put it right.
    detail: String,
    /// Stable: branch on this.
    code: String,
    /// Finds the request in the server's log.
    request_id: String,
    /// Each place that is wrong, where that can be said.
    #[schema(inline)]
    errors: Vec<FieldError>,
    /// Seconds until it is worth another try.
    retry_after: Option<u64>,
}

/// One place that is wrong.
#[derive(ToSchema)]
pub(crate) struct FieldError {
    /// JSON Pointer into the body, `?name` for a query parameter, `file:line:column` for a file of an agent.
    pointer: String,
    /// Stable.
    code: String,
    detail: String,
}

/// Which part of a list.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// Items of a page (50).
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[param(min_length = 1)]
    cursor: Option<String>,
}
