//! The agent loop as a serialisable state machine: what a run does next, given what has happened.
//!
//! ```text
//! log ─▶ records ─▶ State::apply* ─▶ State ─┐
//!                                           ├─▶ Loop::decide(state, input) ─▶ records (commit, apply) + effects (perform)
//! Setup (from run.queued) ─▶ Loop ──────────┘                                                    │
//!                    ▲                                                                           │
//!                    └──────────────── the next Input is what an effect led to ◀─────────────────┘
//! ```
//!
//! Pure: the same state and input give the same records and effects, today and in a replay years later. Absent on purpose:
//! I/O, clocks, randomness, and any decision about money or permission; those are `platform`'s, which answers with an
//! [`Input`] like everybody else.
//!
//! Walk on: [`setup`] is what does not change during a run, [`state`] what does, [`record`] what the log stores,
//! [`effect`] what goes in and comes out, [`decide`] the rules, [`tools`] what the model may call, [`text`] how results look,
//! [`replay`] the same again from a log.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

pub mod decide;
pub mod effect;
pub mod idempotency;
pub mod outcome;
pub mod prompt;
pub mod record;
pub mod replay;
pub mod request_digest;
pub mod setup;
pub mod state;
pub mod text;
pub mod tools;

pub use effect::{Decision, Effect, Input, Request, Terminal};
pub use outcome::ToolOutcome;
pub use record::{Record, Recovery, SandboxFate};
pub use setup::{Loop, Setup};
pub use state::State;
pub use tools::Invocation;
