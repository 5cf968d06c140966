//! `livery-core` from outside: the examples that ship and the page about agents.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod examples;
mod page;
mod reconcile;
