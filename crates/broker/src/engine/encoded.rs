//! A body in a content coding says what it says once it is decoded, and that is what is searched. What is sent stays as it came.
//! One whose messages are compressed each by itself is looked into where it is taken apart, in gRPC over HTTP/2, and else refused.

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderValue};

use super::Refusal;
use crate::grpc;
use crate::proxy::placeholder::Finder;
use crate::transport::{Decoding, Speech, Upload, folded};

/// Most bytes that a body is decoded to.
const DECODED_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// What an encoded body says, in which there is no placeholder; `None` for a body that stands as it is.
///
/// # Errors
/// [`Refusal::Encoded`] for what cannot be decoded whole, here and now; [`Refusal::Placeholder`].
pub(super) fn decoded(headers: &[(String, String)], body: &Upload, speech: Speech) -> Result<Option<Upload>, Refusal> {
    if speech != Speech::Grpc && headers.iter().any(|(name, value)| grpc::hides_messages(name, value.as_bytes())) {
        return Err(Refusal::Encoded);
    }
    let mut codings = HeaderMap::new();
    for (_, value) in headers.iter().filter(|(name, _)| folded(name) == CONTENT_ENCODING.as_str()) {
        codings.append(CONTENT_ENCODING, HeaderValue::from_str(value).map_err(|_| Refusal::Encoded)?);
    }
    let mut decoding = Decoding::of(&codings, DECODED_BYTES_MAX).map_err(|_| Refusal::Encoded)?;
    if !decoding.is_active() {
        return Ok(None);
    }
    let Upload::Whole(bytes) = body else { return Err(Refusal::Encoded) };
    let mut plain = decoding.push(bytes).map_err(|_| Refusal::Encoded)?;
    plain.extend(decoding.finish().map_err(|_| Refusal::Encoded)?);
    if !Finder::all_in(&plain).is_empty() {
        return Err(Refusal::Placeholder);
    }
    Ok(Some(Upload::Whole(Bytes::from(plain))))
}
