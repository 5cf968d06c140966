//! Answers of the proxy itself: words of rules and constants, so that nothing of a request or an upstream is in them.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Full};

use super::placeholder::Misplaced;
use super::serve::OutBody;
use crate::Error;

/// Why a request is not sent, or has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No rule allows the host.
    Host,
    /// A request that is not one for a proxy, or that could be read in two ways.
    Malformed(&'static str),
    /// Another host than the tunnel's.
    OtherName,
    /// A placeholder where it does not belong.
    Placeholder(Misplaced),
    /// A request below a connection's name without its placeholder.
    NoPlaceholder,
    /// A body beyond its limit.
    TooLarge,
    /// Too much at once.
    Busy,
    /// The client stopped in the middle of its body.
    BrokenOff,
    /// A rule of the run's says no.
    Denied {
        /// The rule's stable name.
        rule: &'static str,
        /// Its words.
        reason: String,
    },
    /// More requests than a run may make in a time.
    TooMany,
    /// There is no credential to send it with.
    Unavailable {
        /// Why.
        why: &'static str,
    },
    /// What came of sending it.
    Upstream(Error),
}

impl Refusal {
    /// The status of the answer.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Host | Self::Placeholder(_) | Self::Denied { .. } | Self::Unavailable { .. } => StatusCode::FORBIDDEN,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Malformed(_) | Self::BrokenOff => StatusCode::BAD_REQUEST,
            Self::OtherName => StatusCode::MISDIRECTED_REQUEST,
            Self::NoPlaceholder => StatusCode::UNAUTHORIZED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Upstream(Error::Denied { .. }) => StatusCode::FORBIDDEN,
            Self::Upstream(Error::BadRequest { .. }) => StatusCode::BAD_REQUEST,
            Self::Upstream(Error::Busy) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Upstream(Error::Timeout { .. }) => StatusCode::GATEWAY_TIMEOUT,
            Self::Upstream(_) => StatusCode::BAD_GATEWAY,
        }
    }

    /// A stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Host => "host_not_allowed",
            Self::Malformed(_) | Self::BrokenOff => "bad_request",
            Self::OtherName => "name_mismatch",
            Self::Placeholder(_) => "placeholder_misplaced",
            Self::NoPlaceholder => "placeholder_missing",
            Self::TooLarge => "too_large",
            Self::Busy => "busy",
            Self::Denied { rule, .. } => rule,
            Self::TooMany => "rate_limited",
            Self::Unavailable { .. } => "credential_unavailable",
            Self::Upstream(error) => error.kind(),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Host => "no rule of this run allows the host".to_owned(),
            Self::Malformed(why) => (*why).to_owned(),
            Self::OtherName => "the request is for another host than its connection".to_owned(),
            Self::Placeholder(_) => "a placeholder belongs in its own header to its own host only".to_owned(),
            Self::NoPlaceholder => "send the connection's placeholder where its key would be".to_owned(),
            Self::TooLarge => "the request body is larger than the limit".to_owned(),
            Self::Busy => "too many requests at once".to_owned(),
            Self::BrokenOff => "the request body broke off".to_owned(),
            Self::Denied { reason, .. } => reason.clone(),
            Self::TooMany => "too many requests in a short time; wait a second".to_owned(),
            Self::Unavailable { why } => format!("{why}; nothing was sent"),
            Self::Upstream(error) => error.to_string(),
        }
    }

    /// As an answer, after which the connection closes: whoever is refused does not get to go on in the same breath.
    pub(super) fn response(self) -> Response<OutBody> {
        let text = format!(
            "{{\"error\":{{\"code\":\"{}\",\"message\":\"livery: {}\"}}}}\n",
            self.code(),
            quoted(&self.text())
        );
        let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
        let mut response = Response::new(body);
        *response.status_mut() = self.status();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        response
    }
}

/// As it stands in a JSON text.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '"' | '\\' => out.extend(['\\', one]),
            one if one.is_control() => out.push(' '),
            one => out.push(one),
        }
    }
    out
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Upstream(error)
    }
}
