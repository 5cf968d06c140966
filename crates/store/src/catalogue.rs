//! Every statement of the crate in one list, for the test that prepares each on each engine.
//!
//! The statements that will have a Postgres variant, each for a reason: `CLAIM_QUEUED`, `CLAIM_EXPIRED` and `CLAIM`
//! (`for update skip locked`). All others are one text for both engines.

use crate::sql::Statement;

/// All statements, by file.
pub(crate) const ALL: &[(&str, &[Statement])] = &[
    ("agents", crate::agents::STATEMENTS),
    ("deliveries", crate::deliveries::STATEMENTS),
    ("events", crate::events::STATEMENTS),
    ("files", crate::files::STATEMENTS),
    ("idempotency", crate::idempotency::STATEMENTS),
    ("keys", crate::keys::STATEMENTS),
    ("meta", crate::meta::STATEMENTS),
    ("progress", crate::progress::STATEMENTS),
    ("providers", crate::providers::STATEMENTS),
    ("queue", crate::queue::STATEMENTS),
    ("run_list", crate::run_list::STATEMENTS),
    ("runs", crate::runs::STATEMENTS),
    ("tenants", crate::tenants::STATEMENTS),
    ("vault", crate::vault::STATEMENTS),
    ("webhooks", crate::webhooks::STATEMENTS),
];

#[cfg(test)]
mod tests;
