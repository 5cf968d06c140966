//! Answers that are no errors: what was created, what was found, one page of a list.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, LINK, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use livery_core::Error;
use livery_platform::{Page, Posted};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use crate::problem::Result;

/// Set on an answer that was given before.
const REPLAYED: &str = "idempotent-replayed";

/// Everything but unreserved characters (RFC 3986 §2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where a new thing can be found.
pub(crate) struct Place {
    /// What comes before its name.
    pub(crate) prefix: &'static str,
    /// Which member of the body names it.
    pub(crate) member: &'static str,
}

/// The answer to a POST that made something: with `status` and, where it has one, its place.
///
/// # Errors
/// A body that is no JSON object, which is a bug.
pub(crate) fn posted<T: Serialize>(posted: Posted<T>, status: StatusCode, place: Option<&Place>) -> Result<Response> {
    let (body, replayed) = match posted {
        Posted::Fresh(view) => (serde_json::to_string(&view).map_err(Error::internal)?, false),
        Posted::Replayed(body) => (body, true),
    };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    if let Some(place) = place {
        headers.insert(LOCATION, location(place, &body)?);
    }
    Ok((status, headers, body).into_response())
}

fn location(place: &Place, body: &str) -> Result<HeaderValue> {
    // Borrowed values: nothing but the one member is copied.
    let members: std::collections::BTreeMap<&str, &serde_json::value::RawValue> =
        serde_json::from_str(body).map_err(Error::internal)?;
    let member =
        members.get(place.member).ok_or_else(|| Error::internal(format!("no {} in an answer", place.member)))?;
    let name: String = serde_json::from_str(member.get()).map_err(Error::internal)?;
    let path = format!("{}{}", place.prefix, utf8_percent_encode(&name, ENCODED));
    Ok(HeaderValue::try_from(path).map_err(Error::internal)?)
}

/// One page of a list, with the next one as a `Link` (RFC 8288).
///
/// # Errors
/// A cursor that fits no header field, which is a bug.
pub(crate) fn page<T: Serialize>(uri: &Uri, page: Page<T>) -> Result<Response> {
    let mut headers = HeaderMap::new();
    if let Some(cursor) = &page.next_cursor {
        let kept = uri.query().unwrap_or("").split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
        let query: String = kept.map(|pair| format!("{pair}&")).collect();
        let next = format!("<{}?{query}cursor={}>; rel=\"next\"", uri.path(), utf8_percent_encode(cursor, ENCODED));
        headers.insert(LINK, HeaderValue::try_from(next).map_err(Error::internal)?);
    }
    Ok((headers, Json(page)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_keeps_the_other_parameters() {
        let uri: Uri = "/v1/runs?status=failed&cursor=old&limit=2".parse().unwrap();
        let next = Page { data: vec![1], next_cursor: Some("a+b/c".to_owned()) };
        let response = page(&uri, next).unwrap();
        assert_eq!(response.headers()[LINK], "</v1/runs?status=failed&limit=2&cursor=a%2Bb%2Fc>; rel=\"next\"");
        let last = page(&uri, Page { data: vec![1], next_cursor: None }).unwrap();
        assert!(!last.headers().contains_key(LINK));
    }

    #[test]
    fn a_replayed_answer_is_sent_as_stored() {
        let place = Place { prefix: "/v1/runs/", member: "id" };
        let stored = r#"{"nested":{"id":"no"},"id":"run_1"}"#.to_owned();
        let response = posted::<()>(Posted::Replayed(stored), StatusCode::ACCEPTED, Some(&place)).unwrap();
        assert_eq!(response.headers()[LOCATION], "/v1/runs/run_1");
        assert_eq!(response.headers()[REPLAYED], "true");
    }
}
