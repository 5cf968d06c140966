//! Text in, text out: encodes a request to, and decodes a stream from, each provider's wire format.
//!
//! Pure: bytes in, events out. Keys and outbound sockets are absent: `broker` owns transport and keys.
//!
//! Walk on: [`message`] is the transcript every provider is translated to and from, [`request`] what is asked,
//! [`stream`] what comes back.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

pub mod message;
pub mod request;
pub mod stream;
