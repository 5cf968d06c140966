//! Every statement of the crate in one list, for the test that prepares each on each engine.
//!
//! One text serves both engines. The few that have another for Postgres are listed here, each with its reason.

use crate::sql::Statement;

/// All statements, by file.
pub(crate) const ALL: &[(&str, &[Statement])] = &[
    ("agents", crate::agents::STATEMENTS),
    ("approvals", crate::approvals::STATEMENTS),
    ("circuits", crate::circuits::STATEMENTS),
    ("backup", crate::backup::STATEMENTS),
    ("connection_authorizations", crate::connection_authorizations::STATEMENTS),
    ("connection_tokens", crate::connection_tokens::STATEMENTS),
    ("connections", crate::connections::STATEMENTS),
    ("deliveries", crate::deliveries::STATEMENTS),
    ("delivery_queue", crate::delivery_queue::STATEMENTS),
    ("duties", crate::duties::STATEMENTS),
    ("event_rows", crate::event_rows::STATEMENTS),
    ("events", crate::events::STATEMENTS),
    ("files", crate::files::STATEMENTS),
    ("idempotency", crate::idempotency::STATEMENTS),
    ("images", crate::images::STATEMENTS),
    ("keys", crate::keys::STATEMENTS),
    ("meta", crate::meta::STATEMENTS),
    ("nodes", crate::nodes::STATEMENTS),
    ("policies", crate::policies::STATEMENTS),
    ("progress", crate::progress::STATEMENTS),
    ("providers", crate::providers::STATEMENTS),
    ("queue", crate::queue::STATEMENTS),
    ("receipt_keys", crate::receipt_keys::STATEMENTS),
    ("resealing", crate::resealing::STATEMENTS),
    ("retention", crate::retention::STATEMENTS),
    ("run_list", crate::run_list::STATEMENTS),
    ("runs", crate::runs::STATEMENTS),
    ("schedules", crate::schedules::STATEMENTS),
    ("snapshots", crate::snapshots::STATEMENTS),
    ("tenants", crate::tenants::STATEMENTS),
    ("triggers", crate::triggers::STATEMENTS),
    ("vault", crate::vault::STATEMENTS),
    ("webhooks", crate::webhooks::STATEMENTS),
    ("workspaces", crate::workspaces::STATEMENTS),
];

/// The statements with a text of their own for Postgres, and why one text does not do. Sorted.
pub(crate) const ON_POSTGRES: &[(&str, &str)] = &[
    ("idempotency::PURGE", "nodes that purge at once skip each other's rows"),
    ("queue::CLAIM_EXPIRED", "claimants skip what another one is just taking"),
    ("queue::CLAIM_QUEUED", "claimants skip what another one is just taking"),
    ("queue::ENQUEUE", "a run that is just being claimed is not queued once more"),
    ("queue::LOCK_ROOM", "a tenant's limit is counted by one node at a time; SQLite has one writer"),
    ("tenants::LOCK_ORGANIZATION", "what is counted before it is written; SQLite has one writer"),
];

#[cfg(test)]
mod tests;
