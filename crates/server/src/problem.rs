//! Problem documents (RFC 9457): the one place where an error meets an HTTP status.
//!
//! A [`Problem`] travels inside its response until [`edge`](crate::edge) writes it out with the request's id. What caused it
//! is logged there, once, and never sent.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use livery_core::{Error, FieldError};

/// Every code this crate and the domain error can answer with, and its title. Each has a page in `docs/errors/`.
pub const CODES: &[(&str, &str)] = &[
    ("approval_closed", "The approval can no longer be decided"),
    ("conflict", "The state of things does not allow this now"),
    ("duplicate_name", "The name is taken"),
    ("forbidden", "The API key lacks a right"),
    ("headers_too_large", "The request's header is too large"),
    ("idempotency_in_progress", "The first request with this Idempotency-Key is still running"),
    ("idempotency_mismatch", "This Idempotency-Key belongs to another request"),
    ("image_unavailable", "This server does not have the image"),
    ("internal", "Livery failed"),
    ("invalid_agent", "The agent is not valid"),
    ("invalid_cursor", "The cursor cannot be used"),
    ("invalid_header", "A header field is not valid"),
    ("invalid_input", "The input does not fit the agent's schema"),
    ("invalid_parameter", "A query parameter is not valid"),
    ("invalid_policy", "The text is no policy"),
    ("invalid_signature", "The message is not signed as it should be"),
    ("invalid_value", "A value is not valid"),
    ("malformed_json", "The body is not JSON"),
    ("malformed_request", "The request is not HTTP"),
    ("method_not_allowed", "The route does not have this method"),
    ("no_sandbox", "The run has no sandbox now"),
    ("no_shell", "The sandbox has no shell"),
    ("not_acceptable", "No such representation"),
    ("not_found", "There is no such thing"),
    ("quota_exceeded", "A quota is used up"),
    ("rate_limited", "Too many requests"),
    ("request_timeout", "The request did not arrive in time"),
    ("run_elsewhere", "Another node works on the run"),
    ("run_over", "The run is over"),
    ("shell_failed", "The shell could not be started"),
    ("tier_below_minimum", "A stronger sandbox is demanded"),
    ("tier_unavailable", "This server does not have the tier"),
    ("too_large", "The body is too large"),
    ("too_many_shells", "The run has too many shells"),
    ("unauthenticated", "No valid API key"),
    ("unavailable", "Not available now"),
    ("unknown_field", "The body has a field nobody knows"),
    ("unknown_parameter", "The query has a parameter nobody knows"),
    ("unsupported_media_type", "The body has the wrong type"),
    ("upgrade_required", "The route is a WebSocket"),
    ("uri_too_long", "The address is too long"),
];

/// Shorthand for what handlers return.
pub(crate) type Result<T, E = Problem> = std::result::Result<T, E>;

/// An answer that is an error. Boxed: it travels through every handler's result.
#[derive(Debug, Clone)]
pub(crate) struct Problem(Box<Parts>);

/// What a problem says.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) detail: Cow<'static, str>,
    pub(crate) errors: Vec<FieldError>,
    pub(crate) retry_after_s: Option<u64>,
    /// For the operator's log only.
    pub(crate) cause: Option<String>,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        let detail = detail.into();
        Self(Box::new(Parts { status, code, detail, errors: Vec::new(), retry_after_s: None, cause: None }))
    }

    fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.0.errors = errors;
        self
    }

    /// The body is no JSON.
    pub(crate) fn malformed_json(detail: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed_json", detail)
    }

    /// The body has a field nobody knows.
    pub(crate) fn unknown_field(error: FieldError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "unknown_field", error.detail.clone()).with_errors(vec![error])
    }

    /// A value in the body does not fit its type.
    pub(crate) fn invalid_value(error: FieldError) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_value", error.detail.clone()).with_errors(vec![error])
    }

    /// The query has a parameter that this route does not know.
    pub(crate) fn unknown_parameter(name: &str) -> Self {
        let detail = format!("this route has no query parameter {}", quoted(name));
        let error = FieldError::new(format!("?{}", cut(name)), "unknown_parameter", detail.clone());
        Self::new(StatusCode::BAD_REQUEST, "unknown_parameter", detail).with_errors(vec![error])
    }

    /// A query parameter has a value that cannot be used.
    pub(crate) fn invalid_parameter(name: &str, what: &str) -> Self {
        let detail = format!("the query parameter {} {what}", quoted(name));
        let error = FieldError::new(format!("?{}", cut(name)), "invalid_parameter", detail.clone());
        Self::new(StatusCode::BAD_REQUEST, "invalid_parameter", detail).with_errors(vec![error])
    }

    /// A header field has a value that cannot be used.
    pub(crate) fn invalid_header(name: &'static str, what: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_header", format!("the header field {name} {what}"))
    }

    /// The route is a WebSocket, and the request opens none.
    pub(crate) fn upgrade_required(detail: &'static str) -> Self {
        Self::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", detail)
    }

    /// The body is of another type than the route reads.
    pub(crate) fn unsupported_media_type(expected: &'static str) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", format!("send {expected}"))
    }

    /// The caller accepts nothing this route can answer with.
    pub(crate) fn not_acceptable(offered: &'static str) -> Self {
        Self::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", format!("this route answers with {offered}"))
    }

    /// The address is too long.
    pub(crate) fn uri_too_long(limit: usize) -> Self {
        Self::new(StatusCode::URI_TOO_LONG, "uri_too_long", format!("the address is longer than {limit} bytes"))
    }

    /// There is no such route.
    pub(crate) fn no_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is no such route; /docs lists all of them")
    }

    /// This node has not the role `api`.
    pub(crate) fn no_api() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "this node does not serve the API; ask one with the role api")
    }

    /// A message to a trigger that is not believed.
    pub(crate) fn invalid_signature(detail: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "invalid_signature", detail)
    }

    /// The body, or the head, did not arrive in time.
    pub(crate) fn request_timeout(what: &'static str) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", format!("{what} did not arrive in time"))
    }

    /// The connection broke, or its framing did, while the body was read.
    pub(crate) fn broken_body() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed_request", "the body could not be read to its end")
    }

    /// The request took longer than its deadline.
    pub(crate) fn deadline() -> Self {
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "this took too long; try again");
        problem.0.retry_after_s = Some(1);
        problem.0.cause = Some("the request's deadline passed".to_owned());
        problem
    }

    /// The node is not ready; each finding is a check that says no.
    pub(crate) fn not_ready(errors: Vec<FieldError>) -> Self {
        let detail = "this node cannot take requests now";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).with_errors(errors).retry_after(1)
    }

    /// A handler panicked.
    pub(crate) fn panicked(message: String) -> Self {
        Error::internal(format!("panic: {message}")).into()
    }

    /// What the framework or the HTTP library answered without a body of ours.
    pub(crate) fn from_status(status: StatusCode) -> Self {
        let (code, detail) = match status {
            StatusCode::NOT_FOUND => return Self::no_route(),
            StatusCode::METHOD_NOT_ALLOWED => ("method_not_allowed", "this route has other methods: see Allow"),
            StatusCode::PAYLOAD_TOO_LARGE => ("too_large", "the body is too large"),
            StatusCode::URI_TOO_LONG => ("uri_too_long", "the address is too long"),
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
                ("headers_too_large", "the header has too many fields, or too long ones")
            }
            StatusCode::UNSUPPORTED_MEDIA_TYPE => ("unsupported_media_type", "the body has the wrong type"),
            StatusCode::REQUEST_TIMEOUT => ("request_timeout", "the request did not arrive in time"),
            _ if status.is_server_error() => ("internal", INTERNAL_DETAIL),
            _ => ("malformed_request", "the request is not valid HTTP"),
        };
        Self::new(status, code, detail)
    }

    /// What it says.
    pub(crate) fn parts(&self) -> &Parts {
        &self.0
    }

    /// The document, as bytes of `application/problem+json`.
    pub(crate) fn document(&self, request_id: &str) -> Vec<u8> {
        let parts = &self.0;
        let document = Document {
            kind: format!("/docs/errors/{}", parts.code),
            title: title(parts.code),
            status: parts.status.as_u16(),
            detail: &parts.detail,
            code: parts.code,
            request_id,
            errors: &parts.errors,
            retry_after: parts.retry_after_s,
        };
        serde_json::to_vec(&document).unwrap_or_else(|_| b"{}".to_vec())
    }
}

#[derive(serde::Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    request_id: &'a str,
    errors: &'a [FieldError],
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

const INTERNAL_DETAIL: &str = "something went wrong on our side; the request id finds it in the log";

/// The title of a code; its words for one nobody listed.
pub(crate) fn title(code: &str) -> &str {
    CODES.iter().find(|(known, _)| *known == code).map_or("The request failed", |(_, title)| *title)
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let code = error.code();
        match error {
            Error::NotFound { what } => Self::new(StatusCode::NOT_FOUND, code, format!("there is no such {what}")),
            Error::Malformed { detail, errors, .. } => {
                Self::new(StatusCode::BAD_REQUEST, code, detail).with_errors(errors)
            }
            // A cursor is part of the address, so this is no matter of the body's schema.
            Error::Invalid { code: "invalid_cursor", detail, errors } => {
                Self::new(StatusCode::BAD_REQUEST, code, detail).with_errors(errors)
            }
            Error::Invalid { detail, errors, .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail).with_errors(errors)
            }
            Error::Unauthenticated { detail } => Self::new(StatusCode::UNAUTHORIZED, code, detail),
            Error::Forbidden { detail } => Self::new(StatusCode::FORBIDDEN, code, detail),
            Error::Conflict { detail, .. } => Self::new(StatusCode::CONFLICT, code, detail),
            Error::IdempotencyMismatch => Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, error.to_string()),
            Error::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, code, error.to_string()),
            Error::Limited { detail, retry_after_s, .. } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, code, detail).retry_after(retry_after_s)
            }
            Error::Unavailable { detail, retry_after_s } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail).retry_after(retry_after_s)
            }
            Error::LeaseLost => Self::internal("a lease was lost while answering a caller".to_owned()),
            Error::Internal { cause } => Self::internal(cause),
        }
    }
}

impl Problem {
    fn internal(cause: String) -> Self {
        let mut problem = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", INTERNAL_DETAIL);
        problem.0.cause = Some(cause);
        problem
    }

    fn retry_after(mut self, seconds: u64) -> Self {
        // Zero would invite a busy loop.
        self.0.retry_after_s = Some(seconds.max(1));
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.0.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Most characters of a caller's own text that an answer repeats.
const QUOTED_CHARS_MAX: usize = 80;

/// A caller's text, fit to be repeated in a sentence.
pub(crate) fn quoted(text: &str) -> String {
    format!("`{}`", cut(text))
}

fn cut(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(QUOTED_CHARS_MAX)
        .map(|letter| if letter.is_control() { '\u{fffd}' } else { letter })
        .collect();
    if text.chars().nth(QUOTED_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests;
