//! Livery is killed, and what is left of it is looked at: the crash matrix and the chaos run, on real processes.
//!
//! Everything started here is stopped by its process id, by a keeper that outlives even this program.
//!
//! Walk on: [`matrix`] kills one process at every place around every effect; [`node`] starts, kills and pauses the real
//! binary; [`upstream`] is the model and the webhook receiver everything ends at.

pub mod check;
pub mod http;
pub mod matrix;
pub mod node;
pub mod upstream;
