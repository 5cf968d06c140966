//! Livery is killed, and what is left of it is looked at: the crash matrix and the chaos run, on real processes.
//!
//! Everything started here is stopped by its process id, by a keeper that outlives even this program.
//!
//! Walk on: [`matrix`] kills one process at every place around every effect; [`run`] kills many at random; [`node`] starts, kills and pauses the real
//! binary; [`upstream`] is the model and the webhook receiver everything ends at.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

pub mod check;
pub mod draw;
pub mod http;
pub mod matrix;
pub mod node;
pub mod run;
pub mod upstream;
