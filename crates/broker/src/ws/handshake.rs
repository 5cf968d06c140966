//! The opening: what a program must ask for, what the broker asks for, and the one answer that opens anything.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version};

use crate::{Error, Result};

/// What every accept value is made with (RFC 6455 §1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Bytes of a key.
const KEY_BYTES: usize = 16;
/// Most subprotocols of one opening.
const PROTOCOLS_MAX: usize = 16;

/// The accept value of the key in a request that asks for a WebSocket; `None`: it asks for none.
///
/// # Errors
/// What is wrong with one that does.
pub fn asked<B>(request: &Request<B>) -> Result<Option<HeaderValue>, &'static str> {
    let headers = request.headers();
    if !tokens(headers, &UPGRADE).any(|token| token.eq_ignore_ascii_case("websocket")) {
        return Ok(None);
    }
    let is_upgrade = request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && tokens(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"))
        && headers.get_all(UPGRADE).iter().count() == 1;
    if !is_upgrade {
        return Err("a WebSocket is opened by GET over HTTP/1.1 with one Upgrade");
    }
    let is_empty = |value: &HeaderValue| value.as_bytes() == b"0";
    if headers.contains_key(TRANSFER_ENCODING) || !headers.get_all(CONTENT_LENGTH).iter().all(is_empty) {
        return Err("the opening of a WebSocket has no body");
    }
    if only(headers, &SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err("only version 13 of WebSockets is spoken");
    }
    let key = only(headers, &SEC_WEBSOCKET_KEY).ok_or("the opening of a WebSocket has one key")?;
    if STANDARD.decode(key).map(|bytes| bytes.len()) != Ok(KEY_BYTES) {
        return Err("the key of a WebSocket is 16 bytes in base64");
    }
    if tokens(headers, &SEC_WEBSOCKET_PROTOCOL).count() > PROTOCOLS_MAX {
        return Err("too many subprotocols");
    }
    accept(key).map(Some).ok_or("the key of a WebSocket is 16 bytes in base64")
}

/// What a client asks with; made for one opening.
#[derive(Debug)]
pub struct Opening {
    key: String,
    /// The subprotocols the request names.
    offered: Vec<String>,
}

impl Opening {
    /// With a key of its own.
    ///
    /// # Errors
    /// There is no randomness.
    pub fn new() -> Result<Self> {
        let mut bytes = [0; KEY_BYTES];
        getrandom::fill(&mut bytes).map_err(|_| Error::BadRequest { why: "no key can be made for a WebSocket" })?;
        Ok(Self { key: STANDARD.encode(bytes), offered: Vec::new() })
    }

    /// Puts it into a request, and notes the subprotocols named there. Extensions are never offered.
    ///
    /// # Errors
    /// None that can be met: the key is text.
    pub fn put(&mut self, headers: &mut HeaderMap) -> Result<()> {
        let key = HeaderValue::from_str(&self.key).map_err(|_| Error::BadRequest { why: "a key that is none" })?;
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        headers.insert(SEC_WEBSOCKET_KEY, key);
        self.offered = tokens(headers, &SEC_WEBSOCKET_PROTOCOL).map(str::to_owned).collect();
        Ok(())
    }

    /// Whether a `101` with these headers answers it.
    ///
    /// # Errors
    /// Another upgrade, another key's answer, or an extension or subprotocol that was not offered.
    pub fn check(&self, answer: &HeaderMap) -> Result<()> {
        let refused = |why| Err(Error::BadGateway { why });
        let is_websocket = only(answer, &UPGRADE).is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
            && tokens(answer, &CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"));
        if !is_websocket {
            return refused("an upgrade to something else than a WebSocket");
        }
        let expected = accept(&self.key);
        if expected.is_none()
            || expected.as_ref().map(HeaderValue::as_bytes) != only_bytes(answer, &SEC_WEBSOCKET_ACCEPT)
        {
            return refused("an upgrade that does not answer the key it was asked with");
        }
        if tokens(answer, &SEC_WEBSOCKET_EXTENSIONS).next().is_some() {
            return refused("a WebSocket with an extension nobody offered");
        }
        match (answer.contains_key(SEC_WEBSOCKET_PROTOCOL), only(answer, &SEC_WEBSOCKET_PROTOCOL)) {
            (false, _) => Ok(()),
            (true, Some(chosen)) if self.offered.iter().any(|own| own == chosen) => Ok(()),
            (true, _) => refused("a WebSocket with a subprotocol nobody offered"),
        }
    }
}

/// The answer to a program's own opening, instead of whatever the upstream said about this.
pub(crate) fn answer(headers: &mut HeaderMap, accept: HeaderValue) {
    headers.remove(SEC_WEBSOCKET_EXTENSIONS);
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
}

/// What a server says to a client's key.
pub fn accept(key: &str) -> Option<HeaderValue> {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
    HeaderValue::from_str(&STANDARD.encode(hash)).ok()
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    std::str::from_utf8(only_bytes(headers, name)?).ok().map(str::trim)
}

/// The value of a header that stands there once.
fn only_bytes<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then(|| first.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455 §1.3.
    #[test]
    fn a_key_has_the_accept_value_of_the_standard() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ==").unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
