//! The codecs against recorded traffic of real providers, and against golden transcripts of our own.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod decode;
mod encode;
mod errors;
mod naive;
mod recordings;
mod tokens;
