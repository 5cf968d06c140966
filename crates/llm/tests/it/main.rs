//! The codecs against recorded traffic of real providers, and against golden transcripts of our own.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::print_stdout, reason = "counts are part of what these tests show")]

mod decode;
mod encode;
mod errors;
mod naive;
mod recordings;
