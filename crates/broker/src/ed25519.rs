//! Ed25519 (RFC 8032): one key pair, made from 32 random bytes. Signs asymmetric webhooks and receipts.
//!
//! The private half is a [`Secret`] like every other: no `Debug`, no `Clone`, zeroed on drop. The public half is a value with
//! a text form, standard base64 with padding.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::Secret;

/// Bytes of the seed a key pair is made from.
pub const SEED_BYTES: usize = 32;
/// Bytes of a public key.
pub const PUBLIC_KEY_BYTES: usize = 32;
/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;

/// Characters of a public key's text: 32 bytes in padded base64.
const PUBLIC_KEY_CHARS: usize = 44;

/// Why bytes are no key. Says nothing about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefused {
    /// A seed or public key of another length.
    #[error("an Ed25519 key has 32 bytes")]
    Length,
    /// The text of a public key is not padded standard base64.
    #[error("an Ed25519 public key is written in padded standard base64")]
    Encoding,
    /// The operating system gave no random bytes.
    #[error("no random bytes from the operating system")]
    NoRandomness,
}

/// The signature is not of these bytes under this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not match")]
pub struct SignatureRefused;

/// The private half. Deliberately without any trait that would print, copy or compare it.
pub struct SigningKey {
    seed: Secret,
    pair: Ed25519KeyPair,
}

impl SigningKey {
    /// A new key pair.
    ///
    /// # Errors
    /// [`KeyRefused::NoRandomness`].
    pub fn generate() -> Result<Self, KeyRefused> {
        let mut seed = Secret::new(vec![0; SEED_BYTES]);
        getrandom::fill(seed.bytes_mut()).map_err(|_| KeyRefused::NoRandomness)?;
        Self::from_secret(seed)
    }

    /// The key pair of a seed.
    ///
    /// # Errors
    /// None in practice: every 32 bytes are a seed.
    pub fn from_seed(seed: &[u8; SEED_BYTES]) -> Result<Self, KeyRefused> {
        Self::from_secret(Secret::new(seed.to_vec()))
    }

    /// The key pair of a seed that [`SigningKey::seed`] gave and the vault kept.
    ///
    /// # Errors
    /// [`KeyRefused::Length`] for other than [`SEED_BYTES`] bytes.
    pub fn from_secret(seed: Secret) -> Result<Self, KeyRefused> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose_secret()).map_err(|_| KeyRefused::Length)?;
        Ok(Self { seed, pair })
    }

    /// What to seal: the key pair is made of it again by [`SigningKey::from_secret`].
    pub fn seed(&self) -> &Secret {
        &self.seed
    }

    /// Signs; the same bytes always give the same signature.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        let mut signature = [0; SIGNATURE_BYTES];
        signature.copy_from_slice(self.pair.sign(message).as_ref());
        signature
    }

    /// The public half.
    pub fn public(&self) -> VerifyingKey {
        let mut bytes = [0; PUBLIC_KEY_BYTES];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        VerifyingKey(bytes)
    }
}

/// The public half. Its text (`Display`, `FromStr`) is padded standard base64 of its 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VerifyingKey([u8; PUBLIC_KEY_BYTES]);

impl VerifyingKey {
    /// From its bytes. Bytes that are no point of the curve verify nothing.
    pub const fn from_bytes(bytes: [u8; PUBLIC_KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; PUBLIC_KEY_BYTES] {
        &self.0
    }

    /// Checks a signature.
    ///
    /// # Errors
    /// [`SignatureRefused`] for another message, another key, or a signature that is none.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureRefused> {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).map_err(|_| SignatureRefused)
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl FromStr for VerifyingKey {
    type Err = KeyRefused;

    fn from_str(text: &str) -> Result<Self, KeyRefused> {
        if text.len() != PUBLIC_KEY_CHARS {
            return Err(KeyRefused::Length);
        }
        let bytes = STANDARD.decode(text).map_err(|_| KeyRefused::Encoding)?;
        bytes.try_into().map(Self).map_err(|_| KeyRefused::Length)
    }
}

#[cfg(test)]
mod tests;
