//! The key of a model call: the same key is the same request, byte for byte.
//!
//! ```text
//! key = "livery-" ‖ run ‖ "-" ‖ step's name ‖ "-" ‖ first 16 hexadecimal digits of SHA-256(body)
//! ```
//!
//! A provider that honours keys answers a repeated key with the answer it gave before, and refuses one that comes back with
//! another body. What a body is follows from the log, where the request's digest is part of the intent: a restart and a replay
//! derive the same key, for as long as they would send the same bytes. Other words (the notice after a crash), another model, or a new
//! version that encodes differently are another request, and have another key. The step's name keeps apart what a run asks
//! twice on purpose, such as an empty answer asked again.

use std::fmt::Display;

use livery_core::canonical::sha256_hex;

/// Digits of the body's digest in a key: 64 bits, within one step of one run.
const DIGEST_DIGITS: usize = 16;

/// The key of a request of `run` with this encoded body; `step` is the name in [`crate::Effect::CallModel`].
pub fn key(run: impl Display, step: &str, body: &[u8]) -> String {
    let digest = sha256_hex(body);
    format!("livery-{run}-{step}-{}", &digest[..DIGEST_DIGITS])
}
