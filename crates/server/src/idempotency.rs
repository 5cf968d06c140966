//! The `Idempotency-Key` field (draft-ietf-httpapi-idempotency-key-header): how it is read and what it is bound to.
//!
//! The draft has it as a quoted structured-field string, practice sends it bare; both mean the same key. What a key
//! answered, and for how long, is `platform`'s.

use http::{HeaderMap, HeaderValue};
use livery_platform::Idempotency;
use sha2::{Digest as _, Sha256};

use crate::options::IDEMPOTENCY_KEY_BYTES_MAX;
use crate::problem::{Problem, Result};

/// The field's name.
pub(crate) const FIELD: &str = "idempotency-key";
const SHOWN: &str = "Idempotency-Key";

/// The key of a request, if it has one.
///
/// # Errors
/// More than one field, an empty or too long key, or one that is no plain text.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<String>> {
    let mut fields = headers.get_all(FIELD).iter();
    let Some(field) = fields.next() else { return Ok(None) };
    if fields.next().is_some() {
        return Err(Problem::invalid_header(SHOWN, "is there more than once"));
    }
    let key = read(field).ok_or_else(|| Problem::invalid_header(SHOWN, "is no text of visible characters"))?;
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        return Err(Problem::invalid_header(SHOWN, "must have 1 to 255 characters"));
    }
    Ok(Some(key))
}

fn read(field: &HeaderValue) -> Option<String> {
    let text = field.to_str().ok()?.trim();
    let Some(quoted) = text.strip_prefix('"') else {
        return text.bytes().all(|byte| (b' '..=b'~').contains(&byte)).then(|| text.to_owned());
    };
    // A structured-field string (RFC 9651 §3.3.3): only `\"` and `\\` are escapes, nothing follows the closing quote.
    let mut key = String::with_capacity(quoted.len());
    let mut letters = quoted.chars();
    loop {
        match letters.next()? {
            '"' => return letters.next().is_none().then_some(key),
            '\\' => match letters.next()? {
                letter @ ('"' | '\\') => key.push(letter),
                _ => return None,
            },
            letter @ ' '..='~' => key.push(letter),
            _ => return None,
        }
    }
}

/// What a key is bound to: the request it came with.
pub(crate) struct Request<'a> {
    /// Method and route, such as `POST /v1/runs`.
    pub(crate) route: &'static str,
    /// Path and query as sent.
    pub(crate) target: &'a str,
    /// The end user it acts for: another end user's answer is never replayed.
    pub(crate) on_behalf_of: Option<String>,
    /// Digest of the canonical body.
    pub(crate) body: [u8; 32],
}

impl Request<'_> {
    /// The key with its fingerprint.
    pub(crate) fn bind(&self, key: String) -> Idempotency {
        let mut hasher = Sha256::new();
        for part in [self.route, self.target, self.on_behalf_of.as_deref().unwrap_or("")] {
            hasher.update(part);
            // No part can hold a line feed, so no two requests give the same text.
            hasher.update(b"\n");
        }
        hasher.update(self.body);
        Idempotency { key, route: self.route, fingerprint: hex(&hasher.finalize()) }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
