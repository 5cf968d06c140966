//! Sealing at rest: a root key wraps one data key per tenant, the data key seals fields.
//!
//! ```text
//! root key (Kek, a 0400 file or given bytes) ──wraps──▶ data key (Dek, one per tenant, kept by `platform` as text)
//!                                                         └──seals──▶ field, text  v1:kid:nonce:ciphertext
//! ```
//!
//! Everything sealed is one line of ASCII: `v1`, the id of the key that made it (16 hex digits), a 24-byte nonce and the
//! ciphertext with its tag, the last two in unpadded base64url, joined by `:`. The cipher is XChaCha20-Poly1305; the
//! associated data binds tenant, owner, field and version, so a value moved to another row does not open.
//!
//! Refused: a second root. A missing or wrong root key while sealed values exist is an error that stops the start, never a
//! reason to make a new key.
//!
//! Read next: [`Sealer`] in `seal/sealer.rs`, then `seal/root.rs` for where the root key comes from.

mod format;
mod key;
mod root;
mod sealer;

pub use format::sealed_kid;
pub use key::{Dek, Kek};
pub use root::{Existing, KekSource, KeyError, new_key_file, replace_key_file};
pub use sealer::{Sealer, TenantKeys};

use livery_core::id::OrgId;

/// Longest plaintext that can be sealed, in bytes. A PEM bundle fits; a file does not.
pub const PLAINTEXT_BYTES_MAX: usize = 64 * 1024;

/// Why something did not seal or open. Says nothing about the plaintext.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The text is not of the form `v1:kid:nonce:ciphertext`.
    #[error("not a sealed value of a known version")]
    Malformed,
    /// It was sealed under a key that is not among the readable ones.
    #[error("sealed under key {kid}, which is not available")]
    UnknownKey {
        /// Id of the key that is needed.
        kid: String,
    },
    /// The tag does not match: altered, or bound to another tenant, owner, field or version.
    #[error("the sealed value does not belong here or was altered")]
    Tampered,
    /// The plaintext is longer than [`PLAINTEXT_BYTES_MAX`].
    #[error("the value is longer than {PLAINTEXT_BYTES_MAX} bytes")]
    TooLarge,
    /// The operating system gave no random bytes.
    #[error("no random bytes from the operating system")]
    NoRandomness,
}

/// What a sealed value is bound to. Opening needs exactly the same four values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aad<'a> {
    /// The tenant whose data key seals it.
    pub tenant: OrgId,
    /// The row it belongs to: `con_…`, `prv_…`, `whk_…`.
    pub owner: &'a str,
    /// The column: `api_key`, `signing_secret`, …
    pub field: &'a str,
    /// Version of the secret, counted up by rotation.
    pub version: u32,
}

impl Aad<'_> {
    /// Unambiguous bytes: a domain, then each part with its length in front.
    fn encode(&self) -> Vec<u8> {
        let mut out = domain("livery.seal.field.v1");
        push_part(&mut out, self.tenant.to_string().as_bytes());
        push_part(&mut out, self.owner.as_bytes());
        push_part(&mut out, self.field.as_bytes());
        push_part(&mut out, &self.version.to_be_bytes());
        out
    }
}

fn domain(name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    push_part(&mut out, name.as_bytes());
    out
}

fn push_part(out: &mut Vec<u8>, part: &[u8]) {
    out.extend_from_slice(&(part.len() as u64).to_be_bytes());
    out.extend_from_slice(part);
}

#[cfg(test)]
mod tests;
