//! Pure values every other room agrees on: ids, times, money, the agent manifest, run states, events and the domain error.
//!
//! Absent on purpose: async, sockets, SQL, clocks, randomness and the environment. A function here gives the same answer
//! for the same arguments, today and when a log is replayed years later.
//!
//! Walk on: [`id`] and [`event`] name what the log is made of, [`run`] what a run is, [`agent`] what ships.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

pub mod agent;
pub mod canonical;
pub mod connector;
pub mod error;
pub mod event;
pub mod finding;
pub mod id;
pub mod inbound;
pub mod money;
pub mod receipt;
pub mod run;
pub mod schema;
pub mod terminal;
pub mod time;
pub mod yaml;

pub use error::{Error, FieldError, Result};
pub use event::{Event, EventType};
pub use money::Usd;
pub use run::{ErrorCode, RunError, RunStatus};
pub use time::Timestamp;
