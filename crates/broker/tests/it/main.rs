//! The broker against upstreams, certificates and name servers that do not play fair.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod call;
mod dns;
mod engine;
mod kinds;
mod mail;
mod names;
mod pool;
mod postgres;
mod proxy;
mod registry;
mod scrub;
mod shape;
mod slots;
mod slow;
mod tls;
mod upstream;
