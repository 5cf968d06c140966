//! What the caller wants to read: a stream of events or a page of them (RFC 9110 §12.5.1).

use http::HeaderMap;
use http::header::ACCEPT;

use crate::problem::{Problem, Result};

/// How events are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Stream,
    Page,
}

/// Reads `Accept`: a stream only for those who name it, a page for everyone else who can read JSON.
///
/// # Errors
/// Neither is accepted.
pub(crate) fn wanted(headers: &HeaderMap) -> Result<Wanted> {
    let fields: Vec<_> = headers.get_all(ACCEPT).iter().filter_map(|field| field.to_str().ok()).collect();
    if fields.is_empty() {
        return Ok(Wanted::Page);
    }
    let (mut stream, mut page, mut any) = (0, None, None);
    for range in fields.iter().flat_map(|field| field.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or("").to_ascii_lowercase();
        let weight =
            parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="))).map_or(1000, weight);
        match media.as_str() {
            "text/event-stream" => stream = weight,
            "application/json" => page = Some(weight),
            "*/*" | "application/*" => any = any.max(Some(weight)),
            _ => {}
        }
    }
    let page = page.or(any).unwrap_or(0);
    match (stream, page) {
        (0, 0) => Err(Problem::not_acceptable("text/event-stream or application/json")),
        (stream, page) if stream >= page => Ok(Wanted::Stream),
        _ => Ok(Wanted::Page),
    }
}

/// A weight in thousandths; what is none counts as full.
fn weight(text: &str) -> u32 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let thousandths = format!("{fraction:0<3}").get(..3).and_then(|digits| digits.parse::<u32>().ok());
    match (whole, thousandths) {
        ("0", Some(thousandths)) => thousandths,
        _ => 1000,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    fn of(accept: &str) -> Option<Wanted> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(accept).unwrap());
        wanted(&headers).ok()
    }

    #[test]
    fn a_stream_is_for_those_who_name_it() {
        assert_eq!(wanted(&HeaderMap::new()).ok(), Some(Wanted::Page));
        for (accept, expected) in [
            ("text/event-stream", Some(Wanted::Stream)),
            ("application/json, text/event-stream", Some(Wanted::Stream)),
            ("text/event-stream, */*;q=0.1", Some(Wanted::Stream)),
            ("text/event-stream;q=0.5, application/json", Some(Wanted::Page)),
            ("text/event-stream; q=0, */*", Some(Wanted::Page)),
            ("*/*", Some(Wanted::Page)),
            ("application/json", Some(Wanted::Page)),
            ("text/html", None),
            ("text/event-stream;q=0.000", None),
            ("", None),
        ] {
            assert_eq!(of(accept), expected, "{accept}");
        }
    }
}
