//! `livery-core` from outside: the examples that ship.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod examples;
mod reconcile;
