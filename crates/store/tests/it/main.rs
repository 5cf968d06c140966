//! The conformance suite: what every engine has to do. Each test is written against a [`world::World`] and runs once per
//! engine; SQLite is the one there is.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod agents;
mod crash;
mod deliveries;
mod events;
mod idempotency;
mod lists;
mod queue;
mod rows;
mod runs;
mod tenancy;
mod world;
mod writes;

/// Declares tests that run on every engine.
macro_rules! conformance {
    ($($(#[$doc:meta])* async fn $name:ident($world:ident) $body:block)*) => {
        $(
            $(#[$doc])*
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let $world = $crate::world::World::sqlite().await;
                $body
            }
        )*
    };
}
pub(crate) use conformance;
