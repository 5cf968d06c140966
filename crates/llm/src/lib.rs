//! Text in, text out: encodes a request to, and decodes a stream from, each provider's wire format.
//!
//! Pure: bytes in, events out. Keys, sockets, clocks and randomness are absent: `broker` owns transport and keys, and
//! the current time is an argument.
//!
//! Walk on: [`message`] is the transcript every provider is translated to and from, [`request`] what is asked,
//! [`stream`] what comes back; [`provider`] translates, over [`sse`]; [`script`] is a model that plays a file.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

pub mod estimate;
pub mod message;
pub mod provider;
pub mod request;
pub mod script;
pub mod sse;
pub mod stream;
