//! Commands in, effects performed: everything the product does, without a word of HTTP.
//!
//! The only crate that knows `store`, `sandbox`, `broker` and `harness`, which never name each other. Absent: HTTP types and
//! SQL.
//!
//! Walk on: [`runs`] is what callers ask for, `worker` what happens to a run afterwards, [`webhooks`] how the outside
//! learns of it; [`Platform`] holds it all together.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

pub mod agents;
pub mod approvals;
mod audit;
pub mod backup;
pub mod clock;
pub mod config;
pub mod connections;
pub mod crash;
pub mod database;
mod duties;
pub mod effects;
pub mod end_users;
pub mod files;
mod housekeeping;
pub mod ids;
pub mod images;
pub mod keys;
mod live;
pub mod metrics;
pub mod node;
pub mod objects;
pub mod organizations;
pub mod page;
mod patience;
mod platform;
pub mod policies;
pub mod posts;
mod prices;
pub mod principal;
pub mod providers;
pub mod readiness;
pub mod receipts;
pub mod replay;
pub mod retention;
pub mod runs;
pub mod schedules;
pub mod shell;
mod startup;
#[cfg(test)]
mod testing;
pub mod tiers;
pub mod traces;
pub mod triggers;
mod vault;
pub mod webhooks;
mod worker;
pub mod workspaces;

pub use clock::Clock;
pub use config::Config;
pub use database::Database;
pub use livery_core::Timestamp;
pub use node::Roles;
pub use page::{Page, PageRequest};
pub use platform::{Parts, Platform};
pub use principal::{Caller, Idempotency, Posted, Principal, Scope};
pub use readiness::Readiness;
pub use vault::{
    Rewrap, RootKey, RootKeyUse, RootKeys, RotateDataKey, Transit, TransitAccess, TransitRefused, VaultView,
};
