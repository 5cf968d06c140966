//! The receiver's side of Standard Webhooks 1.0, symmetric (`v1`): HMAC-SHA256 over id, timestamp and body.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How far a timestamp may be off, either way, in seconds.
pub const TOLERANCE_S: u64 = 300;

/// The most items of one `webhook-signature` that are tried.
const SIGNATURES_MAX: usize = 16;

/// Why a delivery is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// A header is absent.
    #[error("the header {0} is missing")]
    Missing(&'static str),
    /// The secret is not `whsec_` and standard base64 with padding of 24 to 64 bytes.
    #[error("the secret must be whsec_ and standard base64 of 24 to 64 bytes")]
    Secret,
    /// The timestamp is no whole number of seconds.
    #[error("the timestamp is not a whole number of seconds")]
    Timestamp,
    /// The timestamp is more than [`TOLERANCE_S`] from now.
    #[error("the timestamp is {0} seconds from now")]
    Stale(u64),
    /// No `v1` item is the signature of these bytes.
    #[error("no v1 signature matches")]
    Mismatch,
}

/// Checks a delivery received at `now_s` (seconds since 1970).
///
/// # Errors
/// Why it is not believed.
pub fn verify(
    secret: &str,
    id: &str,
    timestamp: &str,
    body: &[u8],
    signatures: &str,
    now_s: u64,
) -> Result<(), SignatureError> {
    let sent: u64 = timestamp.parse().map_err(|_| SignatureError::Timestamp)?;
    let off = now_s.abs_diff(sent);
    if off > TOLERANCE_S {
        return Err(SignatureError::Stale(off));
    }
    let key =
        secret.strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok()).ok_or(SignatureError::Secret)?;
    if !(24..=64).contains(&key.len()) {
        return Err(SignatureError::Secret);
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|_| SignatureError::Secret)?;
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    let given = signatures.split(' ').filter_map(|item| item.strip_prefix("v1,")).take(SIGNATURES_MAX);
    // `verify_slice` takes the same time whichever byte differs.
    let matches = |item: &str| STANDARD.decode(item).is_ok_and(|bytes| mac.clone().verify_slice(&bytes).is_ok());
    if given.into_iter().any(matches) { Ok(()) } else { Err(SignatureError::Mismatch) }
}
