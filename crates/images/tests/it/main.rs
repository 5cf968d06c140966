//! The store from outside: real archives in, roots out, and archives built to do harm.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod hostile;
mod kit;
mod pull;
mod store;
