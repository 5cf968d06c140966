//! The loop from outside: inputs in, records and effects out. `run` is the driver every table goes through.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod answers;
mod api;
mod bundles;
mod calls;
mod invariants;
mod keys;
mod limits;
mod recovery;
mod replay;
mod retries;
mod run;
mod transcript;
