//! The schema, step by step, for both engines. Forward only: a released text never changes, a later one does.
//!
//! A step must be safe while the version before it still runs: it adds tables, indexes and nullable columns; what it takes
//! away was unused for a version.

use crate::error::{Error, Result};

/// One step.
pub(crate) struct Migration {
    pub(crate) name: &'static str,
    pub(crate) sqlite: &'static str,
    pub(crate) postgres: &'static str,
}

macro_rules! migrations {
    ($($name:literal),* $(,)?) => {
        &[$(Migration {
            name: $name,
            sqlite: include_str!(concat!("../migrations/sqlite/", $name, ".sql")),
            postgres: include_str!(concat!("../migrations/postgres/", $name, ".sql")),
        }),*]
    };
}

/// All of them, in order; the place in the list is the version.
pub(crate) const MIGRATIONS: &[Migration] =
    migrations!["0001_house", "0002_schedules", "0003_webhooks", "0004_nodes", "0005_proofs", "0006_retention",];

/// Steps by version and name, in order.
pub(crate) type Pending = Vec<(u32, &'static str)>;

/// The steps after the last one that was `applied`.
pub(crate) fn pending(applied: i64) -> Result<Pending> {
    if i64::try_from(MIGRATIONS.len()).is_ok_and(|known| applied > known) {
        return Err(Error::Unavailable {
            reason: format!(
                "the database has schema {applied}, this version knows {}: use a newer Livery",
                MIGRATIONS.len()
            ),
        });
    }
    let steps = (1..).zip(MIGRATIONS.iter().map(|migration| migration.name));
    Ok(steps.skip_while(|(version, _)| i64::from(*version) <= applied).collect())
}

#[cfg(test)]
mod tests;
