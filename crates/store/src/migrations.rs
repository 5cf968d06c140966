//! The schema, step by step, for both engines. Forward only: a released text never changes, a later one does.
//!
//! A step must be safe while the version before it still runs: it adds tables, indexes and nullable columns; what it takes
//! away was unused for a version.

/// One step.
pub(crate) struct Migration {
    pub(crate) name: &'static str,
    pub(crate) sqlite: &'static str,
    #[expect(dead_code, reason = "read by the Postgres engine")]
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
