//! What belongs to one request from its first byte to its last: its id, its trace, its rate.

use std::sync::OnceLock;

use axum::extract::MatchedPath;
use http::{HeaderMap, HeaderValue};
use livery_core::id::RequestId;

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
    /// The trace the caller is in (W3C Trace Context), for the log alone.
    pub(crate) trace_id: Option<Box<str>>,
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
        let trace_id = headers.get("traceparent").and_then(|value| trace_id(value.as_bytes())).map(Box::from);
        Self { id, shown, trace_id, allowance: OnceLock::new(), route: OnceLock::new() }
    }

    /// The route's template; `none` for an address that no route has.
    pub(crate) fn route(&self) -> &str {
        self.route.get().map_or("none", MatchedPath::as_str)
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

/// The trace id of a valid `traceparent` (W3C Trace Context, level 1 §3.2), of this or a later version.
fn trace_id(header: &[u8]) -> Option<&str> {
    const LENGTH: usize = 55;
    let text = std::str::from_utf8(header).ok()?;
    let hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    let (known, rest) = (text.get(..LENGTH)?, text.get(LENGTH..)?);
    let mut parts = known.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let shape =
        version.len() == 2 && trace.len() == 32 && parent.len() == 16 && flags.len() == 2 && parts.next().is_none();
    let later = version != "00" && (rest.is_empty() || rest.starts_with('-'));
    let ends = rest.is_empty() || later;
    let valid = shape && ends && version != "ff" && [version, trace, parent, flags].into_iter().all(hex);
    (valid && !zero(trace) && !zero(parent)).then_some(trace)
}

#[cfg(test)]
mod tests;
