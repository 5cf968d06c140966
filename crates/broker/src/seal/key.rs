//! A 256-bit key, its id, and the two operations every key has. [`Kek`] and [`Dek`] are the same key with different duties,
//! kept apart by type so that a root key never seals a field.

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::format::{self, NONCE_LEN, TAG_LEN};
use super::{Aad, PLAINTEXT_BYTES_MAX, SealError};
use crate::Secret;

pub(super) const KEY_LEN: usize = 32;

/// The root key: wraps data keys and nothing else.
pub struct Kek(pub(super) Key);

impl Kek {
    /// A key of exactly 32 bytes.
    ///
    /// # Errors
    /// [`SealError::Malformed`] for any other length.
    pub fn from_bytes(bytes: Secret) -> Result<Self, SealError> {
        Key::from_bytes(bytes).map(Self)
    }

    /// A new key from the operating system's random source.
    ///
    /// # Errors
    /// [`SealError::NoRandomness`].
    pub fn generate() -> Result<Self, SealError> {
        Key::generate().map(Self)
    }

    /// The key itself, as base64: for the place that keeps it.
    pub(crate) fn to_base64(&self) -> Secret {
        use base64::Engine as _;
        Secret::from(base64::engine::general_purpose::STANDARD.encode(self.0.material().expose_secret()))
    }

    /// Its id: 16 hex digits, derived from the key one way, safe to show.
    pub fn kid(&self) -> &str {
        &self.0.kid
    }
}

/// A tenant's data key: seals and opens that tenant's fields.
pub struct Dek(pub(super) Key);

impl Dek {
    /// Its id: 16 hex digits, safe to show.
    pub fn kid(&self) -> &str {
        &self.0.kid
    }

    /// Seals one field.
    ///
    /// # Errors
    /// [`SealError::TooLarge`], [`SealError::NoRandomness`].
    pub fn seal(&self, aad: &Aad<'_>, plaintext: &Secret) -> Result<String, SealError> {
        self.0.seal(&aad.encode(), plaintext.expose_secret())
    }

    /// Opens one field sealed under this key for exactly this place.
    ///
    /// # Errors
    /// [`SealError::Malformed`], [`SealError::UnknownKey`] when another key made it, [`SealError::Tampered`].
    pub fn open(&self, aad: &Aad<'_>, sealed: &str) -> Result<Secret, SealError> {
        self.0.open(&aad.encode(), sealed)
    }
}

/// Key material with its id.
pub(super) struct Key {
    bytes: Secret,
    kid: String,
}

impl Key {
    pub(super) fn from_bytes(bytes: Secret) -> Result<Self, SealError> {
        if bytes.len() != KEY_LEN {
            return Err(SealError::Malformed);
        }
        let kid = key_id(bytes.expose_secret())?;
        Ok(Self { bytes, kid })
    }

    pub(super) fn generate() -> Result<Self, SealError> {
        let mut bytes = vec![0u8; KEY_LEN];
        getrandom::fill(&mut bytes).map_err(|_| SealError::NoRandomness)?;
        Self::from_bytes(Secret::new(bytes))
    }

    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    pub(super) fn material(&self) -> &Secret {
        &self.bytes
    }

    pub(super) fn seal(&self, aad: &[u8], plaintext: &[u8]) -> Result<String, SealError> {
        let mut nonce = [0u8; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|_| SealError::NoRandomness)?;
        self.seal_with_nonce(aad, plaintext, &nonce)
    }

    /// With a given nonce: the test vectors need it, nothing else may.
    pub(super) fn seal_with_nonce(
        &self,
        aad: &[u8],
        plaintext: &[u8],
        nonce: &[u8; NONCE_LEN],
    ) -> Result<String, SealError> {
        if plaintext.len() > PLAINTEXT_BYTES_MAX {
            return Err(SealError::TooLarge);
        }
        let mut buffer = Zeroizing::new(Vec::with_capacity(plaintext.len() + TAG_LEN));
        buffer.extend_from_slice(plaintext);
        let tag = self
            .cipher()?
            .encrypt_inout_detached(&XNonce::from(*nonce), &self.bind(aad), buffer.as_mut_slice().into())
            .map_err(|_| SealError::TooLarge)?;
        buffer.extend_from_slice(&tag);
        Ok(format::print(&self.kid, nonce, &buffer))
    }

    pub(super) fn open(&self, aad: &[u8], sealed: &str) -> Result<Secret, SealError> {
        let mut parsed = format::parse(sealed)?;
        if parsed.kid != self.kid {
            return Err(SealError::UnknownKey { kid: parsed.kid.to_owned() });
        }
        let body = parsed.ciphertext.len().checked_sub(TAG_LEN).ok_or(SealError::Malformed)?;
        let tag = Tag::try_from(&parsed.ciphertext[body..]).map_err(|_| SealError::Malformed)?;
        parsed.ciphertext.truncate(body);
        let mut plaintext = Secret::new(parsed.ciphertext);
        self.cipher()?
            .decrypt_inout_detached(&XNonce::from(parsed.nonce), &self.bind(aad), plaintext.bytes_mut().into(), &tag)
            .map_err(|_| SealError::Tampered)?;
        Ok(plaintext)
    }

    fn cipher(&self) -> Result<XChaCha20Poly1305, SealError> {
        XChaCha20Poly1305::new_from_slice(self.bytes.expose_secret()).map_err(|_| SealError::Malformed)
    }

    /// The associated data with the header it travels under: version and key id are authenticated too.
    fn bind(&self, aad: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(aad.len() + 64);
        super::push_part(&mut out, format::VERSION.as_bytes());
        super::push_part(&mut out, self.kid.as_bytes());
        out.extend_from_slice(aad);
        out
    }
}

/// The first 8 bytes of HMAC-SHA256(key, constant), as hex. One way, so it may stand in clear beside the ciphertext, and
/// the same key has the same id wherever it is loaded.
fn key_id(key: &[u8]) -> Result<String, SealError> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| SealError::Malformed)?;
    mac.update(b"livery.seal.kid.v1");
    let digest = mac.finalize().into_bytes();
    Ok(digest.iter().take(format::KID_LEN / 2).map(|byte| format!("{byte:02x}")).collect())
}
