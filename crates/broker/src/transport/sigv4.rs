//! AWS Signature Version 4: the request signed by a key that is never sent.
//!
//! Whatever the caller signed was stripped before. Region and service come from the connection, the time from whoever opened
//! the key. Every header that AWS reads is signed; those that a proxy on the way may change are not.
//!
//! Refused: bodies too large to be digested before they are sent, and streams that are signed chunk by chunk.

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderName, HeaderValue};
use livery_core::Timestamp;
use percent::{encode, encode_decoded};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::guard::Target;
use crate::{Error, Result, Secret};

/// Largest body that is digested, in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 10 * 1024 * 1024;
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const PAYLOAD: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
/// Parameters of a URL that somebody else signed.
pub(super) const PRESIGNED: &[&str] = &[
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-signedheaders",
    "x-amz-signature",
    "x-amz-security-token",
];

/// An access key in the three lines it is kept in: id, secret and, for a temporary one, its session token.
pub(super) struct AccessKey<'a> {
    id: &'a str,
    pub(super) secret: &'a [u8],
    pub(super) session_token: Option<&'a [u8]>,
}

impl<'a> AccessKey<'a> {
    /// Reads the lines. `None`: one is missing, or holds what no header can carry.
    pub(super) fn parse(lines: &'a [u8]) -> Option<Self> {
        let mut lines = lines.split(|byte| *byte == b'\n');
        let (id, secret, session_token) = (lines.next()?, lines.next()?, lines.next());
        let plain = |line: &[u8]| !line.is_empty() && line.iter().all(u8::is_ascii_graphic);
        let whole = lines.next().is_none() && plain(id) && plain(secret) && session_token.is_none_or(plain);
        whole.then_some(Self { id: std::str::from_utf8(id).ok()?, secret, session_token })
    }
}

/// What is signed beside the headers.
pub(super) struct Signed<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a Target,
    pub(super) body: &'a [u8],
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    pub(super) at: Timestamp,
}

/// Puts date, digest, session token and signature into the headers. Answers the signature: it is a secret of this request.
pub(super) fn sign(headers: &mut HeaderMap, request: &Signed<'_>, key: &AccessKey<'_>) -> Result<Secret> {
    if request.body.len() > BODY_BYTES_MAX {
        return Err(Error::TooLarge { what: "the body of a request to be signed" });
    }
    let coding = headers.get(http::header::CONTENT_ENCODING).map(HeaderValue::as_bytes).unwrap_or_default();
    if coding.to_ascii_lowercase().windows(11).any(|window| window == b"aws-chunked") {
        return Err(Error::BadRequest { why: "a stream signed chunk by chunk; send the body as it is" });
    }
    let digest = hex(&Sha256::digest(request.body));
    let stamp = stamp(request.at)?;
    headers.insert(DATE, text(stamp.as_bytes())?);
    headers.insert(PAYLOAD, text(digest.as_bytes())?);
    headers.remove(TOKEN);
    if let Some(token) = key.session_token {
        let mut value = text(token)?;
        value.set_sensitive(true);
        headers.insert(TOKEN, value);
    }
    let (authorization, signature) = authorization(&signed_headers(headers), request, key, &stamp, &digest);
    let mut value = text(authorization.as_bytes())?;
    value.set_sensitive(true);
    headers.insert(http::header::AUTHORIZATION, value);
    Ok(signature)
}

/// Names and values of the headers that are signed, sorted by name.
fn signed_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let is_signed = |name: &str| matches!(name, "host" | "content-type" | "content-md5") || name.starts_with("x-amz-");
    let mut signed: Vec<(String, String)> = Vec::new();
    for name in headers.keys().map(HeaderName::as_str).filter(|name| is_signed(name)) {
        let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        signed.push((name.to_owned(), values.map(|value| one_spaced(&value)).collect::<Vec<_>>().join(",")));
    }
    signed.sort_unstable();
    signed
}

fn one_spaced(value: &str) -> String {
    value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// The value of `Authorization`, and the signature in it.
fn authorization(
    headers: &[(String, String)],
    request: &Signed<'_>,
    key: &AccessKey<'_>,
    stamp: &str,
    payload_sha256: &str,
) -> (Zeroizing<String>, Secret) {
    let day = stamp.get(..8).unwrap_or_default();
    let scope = format!("{day}/{}/{}/aws4_request", request.region, request.service);
    let names = headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
    let canonical = canonical(headers, &names, request, payload_sha256);
    let to_sign = format!("{ALGORITHM}\n{stamp}\n{scope}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
    let mut signing_key = Zeroizing::new([b"AWS4", key.secret].concat());
    for part in [day, request.region, request.service, "aws4_request"] {
        signing_key = mac(&signing_key, part);
    }
    let signature = Zeroizing::new(hex(&mac(&signing_key, &to_sign)));
    let value =
        format!("{ALGORITHM} Credential={}/{scope}, SignedHeaders={names}, Signature={}", key.id, signature.as_str());
    (Zeroizing::new(value), Secret::new(signature.as_bytes().to_vec()))
}

/// The request in the one form that is signed. The session token is in it, so it is zeroed.
fn canonical(
    headers: &[(String, String)],
    names: &str,
    request: &Signed<'_>,
    payload_sha256: &str,
) -> Zeroizing<String> {
    let path = request.target.path();
    // S3 reads the path once; all others encode once more what arrives encoded.
    let path = if request.service == "s3" { encode_decoded(path, b"/") } else { encode(path.as_bytes(), b"/") };
    let mut pairs: Vec<(String, String)> = request
        .target
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (form_decoded(name), form_decoded(value)))
        .collect();
    pairs.sort_unstable();
    let query = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
    let mut out = Zeroizing::new(format!("{}\n{path}\n{query}\n", request.method));
    for (name, value) in headers {
        *out += &format!("{name}:{value}\n");
    }
    *out += &format!("\n{names}\n{payload_sha256}");
    out
}

/// One part of a query, decoded as servers read it (`+` is a space) and encoded as AWS does.
fn form_decoded(text: &str) -> String {
    encode_decoded(&text.replace('+', "%20"), b"")
}

fn mac(key: &[u8], text: &str) -> Zeroizing<Vec<u8>> {
    // A MAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Zeroizing::default() };
    mac.update(text.as_bytes());
    Zeroizing::new(mac.finalize().into_bytes().to_vec())
}

/// `20261123T080000Z`.
fn stamp(at: Timestamp) -> Result<String> {
    let shown = at.to_string();
    let plain: String = shown.chars().take(19).filter(|c| !matches!(c, '-' | ':')).collect();
    match plain.len() == 15 && plain.is_ascii() {
        true => Ok(format!("{plain}Z")),
        false => Err(Error::BadRequest { why: "the time is no year of four digits" }),
    }
}

fn text(bytes: &[u8]) -> Result<HeaderValue> {
    HeaderValue::from_bytes(bytes).map_err(|_| Error::BadRequest { why: "a header value is malformed" })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Percent-encoding as AWS does it: everything but letters, digits and `-._~`.
mod percent {
    pub(super) fn encode(bytes: &[u8], kept: &[u8]) -> String {
        let mut out = String::with_capacity(bytes.len());
        for byte in bytes {
            match byte {
                b'-' | b'.' | b'_' | b'~' => out.push(char::from(*byte)),
                byte if byte.is_ascii_alphanumeric() || kept.contains(byte) => out.push(char::from(*byte)),
                byte => out.push_str(&format!("%{byte:02X}")),
            }
        }
        out
    }

    /// Decoded first, so that whatever was encoded is encoded once.
    pub(super) fn encode_decoded(text: &str, kept: &[u8]) -> String {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let Some((first, after)) = rest.split_first() {
            let pair = after.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
            match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).filter(|_| *first == b'%') {
                // What is kept as it is when plain is another thing when encoded: a canonical path has no encoded slash.
                Some(byte) => {
                    bytes.push(byte);
                    rest = &after[2..];
                }
                None => {
                    bytes.push(*first);
                    rest = after;
                }
            }
        }
        encode(&bytes, kept)
    }
}

#[cfg(test)]
mod tests;
