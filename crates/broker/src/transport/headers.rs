//! The two header policies: what a caller may send, and what of an answer comes back.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::outbound::CREDENTIAL_BYTES_MAX;
use super::sigv4::{self, AccessKey, Signed};
use super::{Credential, Finding, Limits, Outbound, Place, Relayed, Slot, Speech, Upload};
use crate::guard::Target;
use crate::scrub::Matcher;
use crate::{Error, Result, Secret};

/// Methods that are sent. `CONNECT`, `TRACE` and inventions are not.
const METHODS: &[Method] = &[Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// Never taken from a caller, `_` read as `-`: authentication, hop-by-hop, framing, forwarding, ranges; and what some servers
/// take for the method, the path or the host instead of those that were judged.
const STRIPPED: &[&str] = &[
    "authorization",
    "proxy-authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "x-auth-token",
    "private-token",
    "cookie",
    "cookie2",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "host",
    "content-length",
    "expect",
    "accept-encoding",
    "grpc-accept-encoding",
    "connect-accept-encoding",
    "forwarded",
    "via",
    "x-real-ip",
    "alt-svc",
    "alt-used",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
    "x-original-host",
    "x-host",
    "x-http-host-override",
    "range",
    "if-range",
    "http2-settings",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-accept",
    "sec-websocket-extensions",
];

/// Never hop-by-hop, whatever `Connection` says: without them a body means something else.
const OF_THE_BODY: &[&str] = &["content-type", "content-encoding"];

/// Query parameters that authenticate; removed when the broker brings its own credential.
const STRIPPED_PARAMETERS: &[&str] = &["key", "api_key", "apikey", "access_token", "token", "auth", "sig"];

/// What of a model provider's head comes back.
const RELAYED_PROVIDER: &[&str] = &[
    "content-type",
    "content-language",
    "date",
    "last-modified",
    "link",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
    "request-id",
    "x-request-id",
    "apim-request-id",
    "cf-ray",
    "openai-processing-ms",
    "ratelimit",
    "ratelimit-policy",
    "ratelimit-limit",
    "ratelimit-remaining",
    "ratelimit-reset",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
    "anthropic-ratelimit-requests-limit",
    "anthropic-ratelimit-requests-remaining",
    "anthropic-ratelimit-requests-reset",
    "anthropic-ratelimit-tokens-limit",
    "anthropic-ratelimit-tokens-remaining",
    "anthropic-ratelimit-tokens-reset",
    "anthropic-ratelimit-input-tokens-limit",
    "anthropic-ratelimit-input-tokens-remaining",
    "anthropic-ratelimit-input-tokens-reset",
    "anthropic-ratelimit-output-tokens-limit",
    "anthropic-ratelimit-output-tokens-remaining",
    "anthropic-ratelimit-output-tokens-reset",
];

/// What of any API's head comes back. Without `etag` and `content-length`: they tell something of the body before it was
/// scrubbed.
const RELAYED_API: &[&str] = &[
    "content-type",
    "content-language",
    "content-disposition",
    "date",
    "last-modified",
    "link",
    "location",
    "retry-after",
    "allow",
    "deprecation",
    "sunset",
    "request-id",
    "x-request-id",
    "x-total-count",
    "ratelimit",
    "ratelimit-policy",
    "ratelimit-limit",
    "ratelimit-remaining",
    "ratelimit-reset",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-ratelimit-used",
    "x-ratelimit-resource",
];

/// What never comes back, whatever else does: the connection's own headers, and what would send its reader elsewhere next time.
const KEPT_BACK: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-encoding",
    "alt-svc",
    "strict-transport-security",
];

/// What describes the bytes of a body, which are others once it was scrubbed.
const OF_THE_BYTES: &[&str] = &["content-length", "content-md5", "digest", "repr-digest", "content-digest", "etag"];

impl Relayed {
    /// Whether a header comes back. `scrubbed`: the body may have changed on the way.
    fn takes(self, name: &str, scrubbed: bool) -> bool {
        match self {
            Self::Projected => RELAYED_PROVIDER.contains(&name),
            Self::Api => RELAYED_API.contains(&name),
            Self::All if scrubbed && OF_THE_BYTES.contains(&name) => false,
            Self::All => !KEPT_BACK.contains(&name),
        }
    }
}

const AGENT: &str = concat!("livery/", env!("CARGO_PKG_VERSION"));

/// The request's head as it goes out: checked, stripped, and with the credential in its slot. Beside it, what was made of the
/// credential for this request alone.
pub(super) fn request(call: &mut Outbound, limits: &Limits) -> Result<(Request<()>, Option<Secret>)> {
    if !METHODS.contains(&call.method) {
        return Err(Error::BadRequest { why: "the method is not allowed" });
    }
    if call.body.length().is_some_and(|length| length > limits.request_body_bytes_max as u64) {
        return Err(Error::TooLarge { what: "the request body" });
    }
    let mut headers = caller_headers(&call.headers, limits)?;
    if let Some(key) = &call.idempotency_key {
        headers.insert(HeaderName::from_static("idempotency-key"), value(key.as_bytes())?);
    }
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if call.speech == Speech::Grpc {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(HeaderName::from_static("grpc-accept-encoding"), HeaderValue::from_static("identity"));
    }
    headers.insert(HOST, value(call.target.authority().as_bytes())?);
    let mut derived = None;
    if let Some(credential) = &call.credential {
        strip_parameters(&mut call.target, credential);
        derived = match &credential.slot {
            Slot::Sigv4 { region, service } => {
                // Whoever sends has read it whole: see `Broker::begin`.
                let Upload::Whole(body) = &call.body else {
                    return Err(Error::BadRequest { why: "only a whole body can be signed" });
                };
                let (method, target) = (call.method.as_str(), &call.target);
                let request = Signed { method, target, body, region, service, at: credential.at };
                Some(sign(&mut headers, &request, credential)?)
            }
            _ => inject(&mut headers, &mut call.target, credential).map(|()| None)?,
        };
    }
    let mut request = Request::new(());
    *request.method_mut() = call.method.clone();
    *request.uri_mut() =
        call.target.path_and_query().parse().map_err(|_| Error::BadRequest { why: "the path cannot be sent" })?;
    *request.headers_mut() = headers;
    Ok((request, derived))
}

/// Removes what somebody else signed, then signs.
fn sign(headers: &mut HeaderMap, request: &Signed<'_>, credential: &Credential) -> Result<Secret> {
    let malformed = Error::BadRequest { why: "the credential is no access key of AWS" };
    let key = AccessKey::parse(credential.secret.expose_secret()).ok_or(malformed)?;
    sigv4::sign(headers, request, &key)
}

fn caller_headers(given: &[(String, String)], limits: &Limits) -> Result<HeaderMap> {
    let bytes: usize = given.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    if given.len() > limits.request_headers_max || bytes > limits.request_head_bytes_max {
        return Err(Error::TooLarge { what: "the request head" });
    }
    let is_taken = taken(given);
    let mut headers = HeaderMap::with_capacity(given.len() + 6);
    for (name, text) in given {
        let is_taken = is_taken(name);
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| Error::BadRequest { why: "a header name is malformed" })?;
        if is_taken {
            headers.append(name, value(text.as_bytes())?);
        }
    }
    Ok(headers)
}

/// Which of a caller's headers are sent: not what is stripped, nor what they name in `Connection`, hop-by-hop by the sender's
/// own word. Whoever judges a request asks this first, so that what is judged is what is sent.
pub(crate) fn taken(given: &[(String, String)]) -> impl Fn(&str) -> bool + use<> {
    let nominated: HashSet<String> = given
        .iter()
        .filter(|(name, _)| folded(name) == "connection")
        .flat_map(|(_, value)| value.split(',').map(|name| folded(name.trim())))
        .filter(|name| !OF_THE_BODY.contains(&name.as_str()))
        .collect();
    move |name| {
        let name = folded(name);
        let is_stripped = STRIPPED.contains(&name.as_str()) || name.starts_with("x-forwarded-");
        !is_stripped && !nominated.contains(&name)
    }
}

/// A header's name as the most careless server reads it: lower case, `_` as `-`.
pub(crate) fn folded(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

/// Removes what is stripped anyway, under every spelling of the slot's own name too, then puts the credential in.
fn inject(headers: &mut HeaderMap, target: &mut Target, credential: &Credential) -> Result<()> {
    if credential.slot == Slot::ClientCertificate {
        // It is in the handshake, and in no byte of the request.
        return Ok(());
    }
    if credential.slot == Slot::Postgres {
        return Err(Error::BadRequest { why: "the credential logs in to a database and is sent with no request" });
    }
    let secret = credential.secret.expose_secret();
    if secret.len() > CREDENTIAL_BYTES_MAX {
        return Err(Error::TooLarge { what: "the credential" });
    }
    // Visible ASCII: no line break can end the header early, and no space can split the value in two.
    if secret.is_empty() || !secret.iter().all(u8::is_ascii_graphic) {
        return Err(Error::BadRequest { why: "the credential holds characters that no header can carry" });
    }
    match &credential.slot {
        Slot::Header { name, prefix } => put(headers, name, &[prefix.as_bytes(), secret]),
        Slot::Basic => put(headers, &AUTHORIZATION, &[b"Basic ", Zeroizing::new(STANDARD.encode(secret)).as_bytes()]),
        Slot::BasicToken { username } => {
            let pair = Zeroizing::new([username.as_bytes(), b":", secret].concat());
            put(headers, &AUTHORIZATION, &[b"Basic ", Zeroizing::new(STANDARD.encode(&*pair)).as_bytes()])
        }
        // Both were dealt with before.
        Slot::Sigv4 { .. } | Slot::ClientCertificate | Slot::Postgres | Slot::Smtp => Ok(()),
        Slot::Query { name } => {
            let mut query = Zeroizing::new(target.query().map(|query| format!("{query}&")).unwrap_or_default());
            query.extend(form_urlencoded::byte_serialize(name.as_bytes()));
            query.push('=');
            query.extend(form_urlencoded::byte_serialize(secret));
            target.set_query(Some(std::mem::take(&mut *query)));
            Ok(())
        }
    }
}

fn put(headers: &mut HeaderMap, name: &HeaderName, parts: &[&[u8]]) -> Result<()> {
    let same: Vec<HeaderName> =
        headers.keys().filter(|key| key.as_str().replace('_', "-") == name.as_str()).cloned().collect();
    for key in same {
        headers.remove(key);
    }
    let mut value = value(&Zeroizing::new(parts.concat()))?;
    value.set_sensitive(true);
    headers.insert(name.clone(), value);
    Ok(())
}

/// Removes parameters that authenticate, and every spelling of the slot's own.
fn strip_parameters(target: &mut Target, credential: &Credential) {
    let Some(query) = target.query() else { return };
    let own = match &credential.slot {
        Slot::Query { name } => Some(name.as_str()),
        _ => None,
    };
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| {
            let name = pair.split('=').next().unwrap_or(pair);
            let name = decode_name(name);
            !is_authentication_parameter(&name) && !own.is_some_and(|own| own.eq_ignore_ascii_case(&name))
        })
        .collect();
    let kept = if kept.is_empty() { None } else { Some(kept.join("&")) };
    target.set_query(kept);
}

/// Whether a parameter of this name authenticates, so that none but the broker may send it beside a credential.
pub(crate) fn is_authentication_parameter(name: &str) -> bool {
    STRIPPED_PARAMETERS.iter().chain(sigv4::PRESIGNED).any(|stripped| stripped.eq_ignore_ascii_case(name))
}

/// `%6bey` is `key` to the server that reads it.
fn decode_name(name: &str) -> String {
    form_urlencoded::parse(name.as_bytes()).next().map(|(name, _)| name.into_owned()).unwrap_or_default()
}

fn value(bytes: &[u8]) -> Result<HeaderValue> {
    HeaderValue::from_bytes(bytes).map_err(|_| Error::BadRequest { why: "a header value is malformed" })
}

/// Refuses heads that are not one plain HTTP answer: upgrades, framing with two readings. A WebSocket that was asked for was
/// judged before.
pub(super) fn check_head(status: StatusCode, headers: &HeaderMap, bytes_max: u64) -> Result<()> {
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Error::BadGateway { why: "an upgrade nobody asked for" });
    }
    let lengths = headers.get_all(CONTENT_LENGTH).iter().count();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let chunked = codings.next().map(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if lengths > 1 || chunked == Some(false) || codings.next().is_some() || (chunked.is_some() && lengths > 0) {
        return Err(Error::BadGateway { why: "an answer whose length can be read in two ways" });
    }
    let announced =
        headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    if announced.is_some_and(|length: u64| length > bytes_max) {
        return Err(Error::TooLarge { what: "the upstream's answer" });
    }
    Ok(())
}

/// Removes what describes the bytes of a body that was decoded.
pub(super) fn forget_bytes(headers: &mut HeaderMap) {
    for name in OF_THE_BYTES {
        headers.remove(*name);
    }
}

/// The projection of an answer's headers, scrubbed, and what was found in them.
pub(super) fn project(received: &HeaderMap, relayed: Relayed, matcher: Option<&Matcher>) -> (HeaderMap, Vec<Finding>) {
    let mut headers = HeaderMap::new();
    let mut findings = Vec::new();
    for (name, value) in received {
        if !relayed.takes(name.as_str(), matcher.is_some()) {
            continue;
        }
        if let Some(variants) = matcher.and_then(|matcher| matcher.found_in_name(name.as_str())) {
            findings.push(Finding { place: Place::HeaderName, variants });
            continue;
        }
        let scrubbed = matcher.and_then(|matcher| matcher.scrub_noting(value.as_bytes()));
        let value = match scrubbed {
            Some((bytes, variants)) => {
                findings.push(Finding { place: Place::Header(name.clone()), variants });
                HeaderValue::from_bytes(&bytes).ok()
            }
            None => Some(value.clone()),
        };
        if let Some(value) = value {
            headers.append(name.clone(), value);
        }
    }
    (headers, findings)
}
