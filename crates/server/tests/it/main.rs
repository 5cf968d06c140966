//! The server as its callers meet it: through the whole edge, and over real sockets where framing matters. Every test has
//! a platform of its own on a temporary directory.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a test may panic and needs no documentation")]

mod access;
mod answers;
mod bad_input;
mod connections;
mod events;
mod idempotency;
mod minimum_tiers;
mod oauth;
mod pages;
mod policies;
mod providers;
mod schedules;
mod shells;
mod site;
mod sockets;
mod triggers;
mod webhooks;
mod webhooks_in_time;
