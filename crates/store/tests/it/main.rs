//! The conformance suite: what every engine has to do. Each test is written against a [`world::World`] and runs once per
//! engine, as `NAME::sqlite` and `NAME::postgres`. The Postgres is the tests' own, a database for each.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]

mod agents;
mod approvals;
mod connection_tokens;
mod connections;
mod crash;
mod deliveries;
mod delivery_queue;
mod events;
mod idempotency;
mod lists;
mod minimum_tiers;
mod nodes;
mod postgres;
mod queue;
mod receipt_keys;
mod rows;
mod runs;
mod schedules;
mod server;
mod tenancy;
mod transfer;
mod triggers;
mod vault;
mod workspaces;
mod world;
mod writes;

/// Declares tests that run on every engine.
macro_rules! conformance {
    ($($(#[$doc:meta])* async fn $name:ident($world:ident) $body:block)*) => {
        $(
            $(#[$doc])*
            mod $name {
                #[allow(unused_imports, reason = "not every test uses all that its file imports")]
                use super::*;

                #[tokio::test(flavor = "multi_thread")]
                async fn sqlite() {
                    let $world = $crate::world::World::sqlite().await;
                    $body
                }

                #[tokio::test(flavor = "multi_thread")]
                async fn postgres() {
                    let Some($world) = $crate::world::World::postgres().await else { return };
                    $body
                }
            }
        )*
    };
}
pub(crate) use conformance;
