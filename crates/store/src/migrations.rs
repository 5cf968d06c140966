//! The schema, step by step, for both engines. Forward only: a released text never changes, a later one does.
//!
//! A step must be safe while the version before it still runs: it adds tables, indexes and nullable columns; what it takes
//! away was unused for a version.

use std::path::Path;

use crate::error::{Error, Result};
use crate::lock::DatabaseLock;
use crate::postgres::{PostgresOptions, migrate};
use crate::sqlite::{Access, Connection};
use crate::store::Store;

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
pub(crate) const MIGRATIONS: &[Migration] = migrations![
    "0001_house",
    "0002_schedules",
    "0003_webhooks",
    "0004_nodes",
    "0005_proofs",
    "0006_retention",
    "0007_given_up",
    "0008_connections",
    "0009_connection_tokens",
    "0010_policies",
    "0011_minimum_tiers",
    "0012_workspaces",
];

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

/// Where a database is, for what is done to it without opening a store.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// A SQLite file that no process has open.
    File(&'a Path),
    /// A Postgres database.
    Postgres(&'a PostgresOptions),
}

impl Store {
    /// The names of the schema steps a database lacks, in order. Changes nothing.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be opened, or a newer version wrote its schema.
    pub async fn pending_steps(place: Place<'_>) -> Result<Vec<&'static str>> {
        let steps = match place {
            Place::File(path) if !path.exists() => pending(0),
            Place::File(path) => on_file(path, |connection| pending(connection.applied()?)).await,
            Place::Postgres(options) => migrate::plan(options).await,
        };
        steps.map(names)
    }

    /// Applies the steps a database lacks, one transaction each; their names. On Postgres running nodes of the version
    /// before go on meanwhile.
    ///
    /// # Errors
    /// As for [`Store::pending_steps`]; a step that fails is undone, those before it stay.
    pub async fn migrate(place: Place<'_>) -> Result<Vec<&'static str>> {
        let steps = match place {
            Place::File(path) => on_file(path, Connection::migrate).await,
            Place::Postgres(options) => migrate::up(options).await,
        };
        steps.map(names)
    }
}

fn names(steps: Pending) -> Vec<&'static str> {
    steps.into_iter().map(|(_, name)| name).collect()
}

async fn on_file<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
) -> Result<T> {
    let path = path.to_owned();
    let work = move || {
        let _lock = DatabaseLock::take(&path)?;
        work(&mut Connection::open(&path, Access::Write)?)
    };
    tokio::task::spawn_blocking(work).await.map_err(Error::bug)?
}

#[cfg(test)]
mod tests;
