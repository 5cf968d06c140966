//! Commands in, effects performed: everything the product does, without a word of HTTP.
//!
//! The only crate that knows `store`, `sandbox`, `broker` and `harness`, which never name each other. Absent: HTTP types and
//! SQL.
//!
//! Walk on: [`runs`] is what callers ask for, `worker` what happens to a run afterwards, [`webhooks`] how the outside
//! learns of it.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

pub mod agents;
pub mod clock;
pub mod config;
pub mod files;
pub mod ids;
pub mod keys;
pub mod organizations;
pub mod page;
pub mod principal;
pub mod providers;
pub mod runs;
pub mod webhooks;

pub use clock::Clock;
pub use config::Config;
pub use page::{Page, PageRequest};
pub use principal::{Caller, Idempotency, Posted, Principal, Scope};
