//! The fakes over real sockets, read with the product's own decoders.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod chaos;
mod client;
mod model;
mod webhooks;
