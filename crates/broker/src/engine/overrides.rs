//! One method in the clothes of another: a field `_method` by which some frameworks take a `POST` for a `DELETE`. The header
//! overrides are stripped with the others; a field changes what the request says, so it is refused.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use url::form_urlencoded;

use super::Refusal;
use crate::guard::CanonicalRequest;
use crate::transport::{Upload, folded};

/// The field.
const METHOD_FIELD: &str = "_method";
const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data";
const DISPOSITION: &[u8] = b"content-disposition";

/// Refuses a request that says it is another, in its query or in its body.
///
/// # Errors
/// [`Refusal::MethodOverride`]; [`Refusal::LargeForm`] for a form whose end is not here yet.
pub(super) fn refuse_method_overrides(
    request: &CanonicalRequest,
    headers: &[(String, String)],
    body: &Upload,
) -> Result<(), Refusal> {
    let essences: Vec<String> = headers
        .iter()
        .filter(|(name, _)| folded(name) == "content-type")
        .map(|(_, value)| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
        .collect();
    let is = |kind: &str| essences.iter().any(|essence| essence == kind);
    // A server that is told nothing may take it for a form.
    let is_form = is(FORM) || (essences.is_empty() && request.method().as_str() == "POST");
    let (bytes, is_whole) = match body {
        Upload::Whole(bytes) => (bytes, true),
        Upload::Pieces { .. } if is_form => return Err(Refusal::LargeForm),
        Upload::Pieces { first, .. } => (first, false),
    };
    let in_query = request.query_keys().iter().any(|name| is_override(name));
    let in_body = (is_form && form_urlencoded::parse(bytes).any(|(name, _)| is_override(&name)))
        || (is(MULTIPART) && has_part(bytes))
        || (is_whole && has_key(bytes));
    if in_body || in_query { Err(Refusal::MethodOverride) } else { Ok(()) }
}

/// Also as PHP reads a name: without blanks before it, and with `_` for `.`, ` ` and `[`.
fn is_override(name: &str) -> bool {
    name.trim_start().replace(['.', ' ', '['], "_").eq_ignore_ascii_case(METHOD_FIELD)
}

/// Whether a part of a multipart form has that name. Boundaries are not looked for: what any reader could take for the head of
/// a part is one.
fn has_part(bytes: &[u8]) -> bool {
    let lower = bytes.to_ascii_lowercase();
    let mut rest = lower.as_slice();
    while let Some(at) = memchr::memmem::find(rest, DISPOSITION) {
        rest = &rest[at + DISPOSITION.len()..];
        let end = end_of_head(rest);
        if is_named(&rest[..end]) {
            return true;
        }
        rest = &rest[end..];
    }
    false
}

/// Where a head ends: before an empty line, or with the text. Looks no further than that, so that many heads take no longer than
/// one of their length.
fn end_of_head(text: &[u8]) -> usize {
    let is_empty_next = |at: &usize| matches!(text[at + 1..], [b'\n', ..] | [b'\r', b'\n', ..]);
    memchr::memchr_iter(b'\n', text).find(is_empty_next).unwrap_or(text.len())
}

/// `name="_method"`, `name=_method`, `name*=utf-8''%5fmethod` and the like, in the head of a part.
fn is_named(head: &[u8]) -> bool {
    let plain: Vec<u8> = head
        .iter()
        .filter(|byte| !matches!(byte, b'"' | b'\'' | b'\\' | b' ' | b'\t' | b'\r'))
        .map(|byte| if *byte == b'\n' { b';' } else { *byte })
        .collect();
    let plain = String::from_utf8_lossy(&plain);
    plain.split(';').any(|field| {
        let Some((name, value)) = field.split_once('=') else { return false };
        let value = form_urlencoded::parse(value.as_bytes()).next().map(|(value, _)| value).unwrap_or_default();
        match name.trim_end_matches(|last: char| last == '*' || last.is_ascii_digit()) {
            "name" if name == "name" => is_override(&value),
            // Behind a character set and a language, whose quotes are gone.
            "name" => value.to_ascii_lowercase().ends_with(METHOD_FIELD),
            _ => false,
        }
    })
}

/// Whether it is a JSON object with that key, whatever it is called.
fn has_key(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return false;
    }
    let mut found = false;
    // What is wrong with it behind the key is for its reader to say.
    let _ = serde_json::Deserializer::from_slice(bytes).deserialize_map(Keys { found: &mut found });
    found
}

struct Keys<'a> {
    found: &'a mut bool,
}

impl<'de> Visitor<'de> for Keys<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(name) = fields.next_key::<String>()? {
            *self.found |= is_override(&name);
            fields.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// D2: heads of parts are looked at once each, however many there seem to be and whichever end they have.
    #[test]
    fn d2_a_form_of_many_parts_takes_no_longer_than_its_length() {
        let request = CanonicalRequest::at("POST", "https://api.stripe.com/v1/x").unwrap();
        let headers = [("content-type".to_owned(), "multipart/form-data; boundary=b".to_owned())];
        let took = |ends: [&str; 2]| {
            let parts = ends.map(|end| format!("content-disposition: form-data; name=a{end}")).concat().repeat(50_000);
            let begun = Instant::now();
            for (last, is_fine) in [("", true), ("content-disposition: form-data; name=_method\r\n\r\nPUT", false)] {
                let body = format!("{parts}{last}").into();
                assert_eq!(refuse_method_overrides(&request, &headers, &body).is_ok(), is_fine, "{ends:?}");
            }
            begun.elapsed()
        };
        let both = took(["\n\n", "\r\n\r\n"]);
        for end in ["\n\n", "\r\n\r\n"] {
            let one = took([end, end]);
            assert!(one < both * 10 + Duration::from_secs(10), "{end:?}: {one:?} instead of {both:?}");
        }
    }
}
