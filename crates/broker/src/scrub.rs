//! Scrubbing: the answer without the key, in whatever spelling it comes back.
//!
//! ```text
//! secret ─▶ images (raw, reversed, hex, base64 ×3, UTF-16 ×2) ─▶ eight-byte anchors ─▶ Matcher, cached per version
//! answer ─▶ readings (as it stands · percent · JSON and unwrapped · HTML; the joined payloads of events likewise)
//!        ─▶ marks ─▶ [REDACTED:owner]
//! ```
//!
//! **What counts as the key**: any run of 16 bytes of it (or the same stretch of one of its images), so a prefix, a suffix
//! or the middle is redacted too. Overlapping and touching runs become one marker whose length says nothing about the key.
//!
//! **What is held back** never depends on the key, or the delay itself would answer guesses. A body without frames keeps
//! back a fixed [`HOLD_BACK_BYTES`] until it ends. A body of frames (server-sent events, JSON lines) keeps back the frame
//! that is not complete yet and releases it whole: a token is delayed by nothing a parser would not wait for anyway.
//!
//! **Not claimed**: a key cut into pieces shorter than 16 bytes that are delivered in different events, hashes and
//! encryptions of it, ciphers of the upstream's choosing, and keys shorter than [`SECRET_BYTES_MIN`] (see
//! [`is_scrubbable`]). A matcher holds the key's images for as long as it is cached, in memory that is not zeroed.
//!
//! Read next: `scrub/matcher.rs`, then `scrub/stream.rs`.

mod cache;
mod decode;
mod frame;
mod image;
mod lane;
mod marks;
mod matcher;
mod stream;
mod traced;
mod variant;

pub(crate) use cache::{MatcherCache, belongs_to, shown};
pub use frame::Framing;
pub use matcher::Matcher;
pub use stream::Scrubber;
pub use variant::{Variant, Variants};

use crate::Secret;

/// Shortest key that is searched for. Anything shorter would redact ordinary words.
pub const SECRET_BYTES_MIN: usize = 16;

/// What an unframed body keeps back until its end, in bytes, whatever the key is.
pub const HOLD_BACK_BYTES: usize = 1024;

/// Largest frame in bytes: an event beyond it is an error, not a reason to deliver unscanned bytes.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Whether answers to a call with this key can be scrubbed of it. A key that is not is neither stored nor used; local model
/// servers that take any key take a longer one too.
pub fn is_scrubbable(secret: &Secret) -> bool {
    secret.len() >= SECRET_BYTES_MIN
}

#[cfg(test)]
mod tests;
