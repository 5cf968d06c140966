//! AWS Signature Version 4 as a server checks it, written from the specification: nothing of a client's code is in it.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use super::Keys;
use crate::listener::Received;

/// How far a request's time may be from the server's, in seconds.
const SKEW_S_MAX: u64 = 900;

/// What is wrong with a signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SignatureRefused(pub String);

fn refused(why: impl Into<String>) -> SignatureRefused {
    SignatureRefused(why.into())
}

/// Checks who signed a request, that it was lately, and that the body is the one that was signed.
pub(super) fn check(keys: &Keys, received: &Received, now_s: u64) -> Result<(), SignatureRefused> {
    let header = |name: &str| {
        let value = received.headers.get(name).ok_or_else(|| refused(format!("no {name}")))?;
        value.to_str().map_err(|_| refused(format!("{name} is no text")))
    };
    let date = header("x-amz-date")?;
    let at = seconds_of(date).ok_or_else(|| refused("x-amz-date is no time"))?;
    if at.abs_diff(now_s) > SKEW_S_MAX {
        return Err(refused("RequestTimeTooSkewed"));
    }
    let payload = header("x-amz-content-sha256")?;
    if payload != hex(&Sha256::digest(&received.body)) {
        return Err(refused("the body is not the one that was signed"));
    }
    verify(keys, received, header("authorization")?, date, payload)
}

/// Compares the signature with one of our own.
fn verify(
    keys: &Keys,
    received: &Received,
    authorization: &str,
    date: &str,
    payload: &str,
) -> Result<(), SignatureRefused> {
    let fields = authorization.strip_prefix("AWS4-HMAC-SHA256").ok_or_else(|| refused("another algorithm"))?;
    let field = |name: &str| {
        let found = fields.split(',').find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='));
        found.ok_or_else(|| refused(format!("no {name}")))
    };
    let (day, region) = (date.get(..8).unwrap_or_default(), &keys.region);
    let scope = format!("{day}/{region}/s3/aws4_request");
    if field("Credential")? != format!("{}/{scope}", keys.id) {
        return Err(refused("another key, day or region"));
    }
    let signed = field("SignedHeaders")?;
    for needed in ["host", "x-amz-content-sha256", "x-amz-date"] {
        if !signed.split(';').any(|name| name == needed) {
            return Err(refused(format!("{needed} is not signed")));
        }
    }
    let canonical = canonical(received, signed, payload)?;
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let mut key = format!("AWS4{}", keys.secret).into_bytes();
    for part in [day, region, "s3", "aws4_request"] {
        key = mac(&key, part);
    }
    if field("Signature")? == hex(&mac(&key, &text)) { Ok(()) } else { Err(refused("another signature")) }
}

/// The request in the one form that is signed.
fn canonical(received: &Received, signed: &str, payload: &str) -> Result<String, SignatureRefused> {
    let (path, query) = received.path.split_once('?').unwrap_or((&received.path, ""));
    let mut pairs: Vec<(&str, &str)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect();
    pairs.sort_unstable();
    let query: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut lines = String::new();
    for name in signed.split(';') {
        let values: Vec<&str> = received.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
        if values.is_empty() {
            return Err(refused(format!("{name} is signed and not there")));
        }
        let words = |value: &str| value.split_whitespace().collect::<Vec<_>>().join(" ");
        let values: Vec<String> = values.into_iter().map(words).collect();
        lines.push_str(&format!("{name}:{}\n", values.join(",")));
    }
    Ok(format!("{}\n{path}\n{}\n{lines}\n{signed}\n{payload}", received.method, query.join("&")))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    // A MAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `20130524T000000Z` as seconds since 1970.
fn seconds_of(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    if bytes.len() != 16 || !text.is_ascii() || bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    let number = |range: std::ops::Range<usize>| text[range].parse::<u64>().ok();
    let (year, month, day) = (number(0..4)?, number(4..6)?, number(6..8)?);
    // Days before a month in a year that begins in March, so that the leap day is its last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    let days = days.checked_sub(719_469)?;
    Some(days * 86_400 + number(9..11)? * 3_600 + number(11..13)? * 60 + number(13..15)?)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderName, HeaderValue, Method};
    use std::time::Duration;

    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const DATE: &str = "20130524T000000Z";

    fn keys() -> Keys {
        Keys {
            id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            region: "us-east-1".into(),
        }
    }

    /// A request of the specification's own examples.
    fn example(path: &str, more: &[(&str, &str)], signature: &str) -> Received {
        let mut headers = HeaderMap::new();
        let mut all =
            vec![("host", "examplebucket.s3.amazonaws.com"), ("x-amz-content-sha256", EMPTY), ("x-amz-date", DATE)];
        all.extend_from_slice(more);
        let mut names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders={},Signature={signature}",
            names.join(";")
        );
        all.push(("authorization", &authorization));
        for (name, value) in all {
            headers.insert(HeaderName::try_from(name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        Received { method: Method::GET, path: path.into(), headers, body: Bytes::new(), at: Duration::ZERO }
    }

    #[test]
    fn the_examples_of_the_specification_are_right() {
        let now = 1_369_353_600;
        assert_eq!(seconds_of(DATE), Some(now));
        let get = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        let list = "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7";
        let lifecycle = "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543";
        assert_eq!(check(&keys(), &example("/test.txt", &[("range", "bytes=0-9")], get), now), Ok(()));
        assert_eq!(check(&keys(), &example("/?max-keys=2&prefix=J", &[], list), now), Ok(()));
        assert_eq!(check(&keys(), &example("/?lifecycle", &[], lifecycle), now), Ok(()));
        // And anything else is wrong.
        assert!(check(&keys(), &example("/other.txt", &[("range", "bytes=0-9")], get), now).is_err());
        assert!(check(&keys(), &example("/?max-keys=3&prefix=J", &[], list), now).is_err());
        assert!(check(&keys(), &example("/test.txt", &[("range", "bytes=0-9")], get), now + 901).is_err());
        let other = Keys { secret: "x".into(), ..keys() };
        assert!(check(&other, &example("/test.txt", &[("range", "bytes=0-9")], get), now).is_err());
        let mut body = example("/test.txt", &[("range", "bytes=0-9")], get);
        body.body = Bytes::from_static(b"x");
        assert!(check(&keys(), &body, now).is_err());
    }
}
