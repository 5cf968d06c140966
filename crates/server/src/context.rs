//! What belongs to one request from its first byte to its last: its id, its trace, its rate.

use std::sync::OnceLock;

use axum::extract::MatchedPath;
use http::{HeaderMap, HeaderValue};
use livery_core::id::RequestId;
use livery_platform::traces::TraceContext;

use crate::options::REQUEST_ID_BYTES_MAX;
use crate::rate::Allowance;

/// The field that carries a request's id in and out.
pub(crate) const REQUEST_ID: &str = "request-id";

/// One request. Shared by the edge, which made it, and the extractors, which find it in the extensions.
#[derive(Debug)]
pub(crate) struct Context {
    /// Livery's own id: the caller's when that is one of ours, else a new one.
    pub(crate) id: RequestId,
    /// What the caller is shown: its own id if it sent a sane one, else ours.
    pub(crate) shown: HeaderValue,
    /// The trace the caller is in (W3C Trace Context).
    pub(crate) caller_trace: Option<TraceContext>,
    /// What the caller's key has left, once the key is known.
    pub(crate) allowance: OnceLock<Allowance>,
    /// The template of the route it took, once there is one.
    pub(crate) route: OnceLock<MatchedPath>,
}

impl Context {
    /// Reads the head of a request; `mint` makes a new id.
    pub(crate) fn of(headers: &HeaderMap, mint: impl FnOnce() -> RequestId) -> Self {
        let theirs = headers.get(REQUEST_ID).filter(|value| is_sane(value));
        let id = theirs.and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok()).unwrap_or_else(mint);
        let shown = theirs.cloned().unwrap_or_else(|| own_value(id));
        let caller_trace = headers.get("traceparent").and_then(|value| TraceContext::parse(value.to_str().ok()?));
        Self { id, shown, caller_trace, allowance: OnceLock::new(), route: OnceLock::new() }
    }

    /// The route's template; `none` for an address that no route has.
    pub(crate) fn route(&self) -> &str {
        self.route.get().map_or("none", MatchedPath::as_str)
    }

    /// The caller's trace, for the log.
    pub(crate) fn trace_id(&self) -> Option<String> {
        self.caller_trace.map(|trace| format!("{:032x}", trace.trace_id))
    }

    /// The id the caller is shown, as text.
    pub(crate) fn shown(&self) -> &str {
        self.shown.to_str().unwrap_or("")
    }
}

fn own_value(id: RequestId) -> HeaderValue {
    HeaderValue::try_from(id.to_string()).unwrap_or_else(|_| HeaderValue::from_static("req_"))
}

/// An id is repeated in answers and logs, so it is a short word of plain letters or it is ignored.
fn is_sane(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    !bytes.is_empty()
        && bytes.len() <= REQUEST_ID_BYTES_MAX
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:".contains(byte))
}

#[cfg(test)]
mod tests;
