//! Brings a Postgres schema up to date: under one lock, so that many nodes may start at once; one transaction per step.

use std::time::Duration;

use futures_util::future::{Either, select};
use std::pin::pin;
use tokio::time::timeout;
use tokio_postgres::Client;

use super::{CONNECT_TIME_MAX, PostgresOptions, errors};
use crate::error::{Error, Result};
use crate::migrations::{MIGRATIONS, Pending, pending};

/// The advisory lock of this schema: "livery" in ASCII.
const LOCK: i64 = 0x6c69_7665_7279;
/// How long a node waits for another one's migration.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(300);
/// How long a step waits for a table that running nodes use. Waiting longer would hold up their writes behind it.
const TABLE_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long all steps may take together.
const MIGRATION_TIME_MAX: Duration = Duration::from_secs(3600);

/// The steps this database lacks, in order. Changes nothing.
pub(crate) async fn plan(options: &PostgresOptions) -> Result<Pending> {
    with_client(options, async |client| pending(applied(client).await?)).await
}

/// Applies what is pending; the steps applied.
pub(crate) async fn up(options: &PostgresOptions) -> Result<Pending> {
    with_client(options, async |client| {
        // The ordinary start: nothing to do, no lock, no right to change the schema needed.
        let seen = pending(applied(client).await?)?;
        if seen.is_empty() {
            return Ok(seen);
        }
        let settings = format!("set lock_timeout = {}", LOCK_WAIT_MAX.as_millis());
        ask(client.batch_execute(&settings).await)?;
        ask(client.execute("select pg_advisory_lock($1)", &[&LOCK]).await)?;
        let settings = format!("set lock_timeout = {}", TABLE_WAIT_MAX.as_millis());
        ask(client.batch_execute(&settings).await)?;
        ask(client
            .batch_execute(
                "create table if not exists schema_migrations (version bigint primary key, name text not null)",
            )
            .await)?;
        let steps = pending(applied(client).await?)?;
        for (version, name) in &steps {
            apply(client, *version).await.map_err(|error| match error {
                Error::Busy { .. } | Error::Unavailable { .. } => error,
                error => Error::Unavailable { reason: format!("schema step {name} failed and was undone: {error}") },
            })?;
            tracing::info!(step = name, "schema step applied");
        }
        // The lock goes with the connection.
        Ok(steps)
    })
    .await
}

/// How many connections the server takes from ordinary users.
pub(super) async fn room(options: &PostgresOptions) -> Result<usize> {
    let asked = "select current_setting('max_connections')::bigint
        - current_setting('superuser_reserved_connections')::bigint";
    let room: i64 =
        with_client(options, async |client| ask(ask(client.query_one(asked, &[]).await)?.try_get(0))).await?;
    Ok(usize::try_from(room).unwrap_or(0))
}

async fn apply(client: &mut Client, version: u32) -> Result<()> {
    let Some(step) = MIGRATIONS.get(version as usize - 1) else {
        return Err(Error::bug("an unknown schema step"));
    };
    let transaction = ask(client.transaction().await)?;
    ask(transaction.batch_execute(step.postgres).await)?;
    let done = "insert into schema_migrations (version, name) values ($1, $2)";
    ask(transaction.execute(done, &[&i64::from(version), &step.name]).await)?;
    ask(transaction.commit().await)
}

/// The last step this database has.
async fn applied(client: &Client) -> Result<i64> {
    let there = ask(client.query_one("select to_regclass('schema_migrations') is not null", &[]).await)?;
    if !ask(there.try_get::<_, bool>(0))? {
        return Ok(0);
    }
    let row = ask(client.query_one("select coalesce(max(version), 0) from schema_migrations", &[]).await)?;
    ask(row.try_get(0))
}

pub(super) fn ask<T>(answer: std::result::Result<T, tokio_postgres::Error>) -> Result<T> {
    answer.map_err(|error| errors::translate(&error))
}

pub(super) async fn with_client<T>(
    options: &PostgresOptions,
    work: impl AsyncFnOnce(&mut Client) -> Result<T>,
) -> Result<T> {
    let dialed = timeout(CONNECT_TIME_MAX, options.config().connect(options.tls()?)).await;
    let late = |_| Error::Unavailable { reason: "the database did not answer in time".into() };
    let (mut client, connection) = errors::of_connect(dialed.map_err(late)?)?;
    let work = timeout(MIGRATION_TIME_MAX, work(&mut client));
    // The connection has to be driven for anything to be answered; it ends only when it is lost.
    match select(pin!(work), pin!(connection)).await {
        Either::Left((done, _)) => done.map_err(late)?,
        Either::Right(_) => Err(Error::Unavailable { reason: "the connection to the database was lost".into() }),
    }
}
