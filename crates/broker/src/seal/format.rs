//! The text form `v1:kid:nonce:ciphertext`: printing and strict parsing, no cryptography.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{PLAINTEXT_BYTES_MAX, SealError};

pub(super) const VERSION: &str = "v1";
pub(super) const KID_LEN: usize = 16;
pub(super) const NONCE_LEN: usize = 24;
pub(super) const TAG_LEN: usize = 16;
/// Longest sealed text looked at: base64 grows by 4/3, the frame is short.
const SEALED_CHARS_MAX: usize = (PLAINTEXT_BYTES_MAX + TAG_LEN) / 3 * 4 + 128;

pub(super) struct Sealed<'a> {
    pub(super) kid: &'a str,
    pub(super) nonce: [u8; NONCE_LEN],
    /// Ciphertext with the tag at its end.
    pub(super) ciphertext: Vec<u8>,
}

pub(super) fn print(kid: &str, nonce: &[u8; NONCE_LEN], ciphertext: &[u8]) -> String {
    format!("{VERSION}:{kid}:{}:{}", URL_SAFE_NO_PAD.encode(nonce), URL_SAFE_NO_PAD.encode(ciphertext))
}

pub(super) fn parse(text: &str) -> Result<Sealed<'_>, SealError> {
    if text.len() > SEALED_CHARS_MAX {
        return Err(SealError::Malformed);
    }
    let mut parts = text.split(':');
    let (Some(VERSION), Some(kid), Some(nonce), Some(ciphertext), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(SealError::Malformed);
    };
    if !is_kid(kid) {
        return Err(SealError::Malformed);
    }
    // The engine refuses padding and non-zero spare bits, so one value has one spelling.
    let nonce = URL_SAFE_NO_PAD.decode(nonce).map_err(|_| SealError::Malformed)?;
    let nonce = <[u8; NONCE_LEN]>::try_from(nonce).map_err(|_| SealError::Malformed)?;
    let ciphertext = URL_SAFE_NO_PAD.decode(ciphertext).map_err(|_| SealError::Malformed)?;
    if ciphertext.len() < TAG_LEN {
        return Err(SealError::Malformed);
    }
    Ok(Sealed { kid, nonce, ciphertext })
}

fn is_kid(text: &str) -> bool {
    text.len() == KID_LEN && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The id of the key a sealed text names, without opening it. For progress counters of a rotation.
///
/// # Errors
/// [`SealError::Malformed`].
pub fn sealed_kid(text: &str) -> Result<&str, SealError> {
    parse(text).map(|sealed| sealed.kid)
}
