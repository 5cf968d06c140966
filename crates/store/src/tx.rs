//! A write in progress: what the closure given to [`Store::write`](crate::Store::write) works on.
//!
//! The typed functions live beside their tables (`runs`, `agents`, …) as further `impl Tx` blocks. What a write wants to
//! tell readers is noted here and rung by the writer after the commit, never before.

use livery_core::id::RunId;

use crate::error::{Error, Result};
use crate::postgres::Transaction;
use crate::sql::{Arg, FromRow, Statement};
use crate::sqlite::Connection;

/// One operation. On SQLite it shares its transaction: other operations' uncommitted rows are visible to it. On Postgres it
/// has its own (READ COMMITTED), beside others that run at the same time. Readers see nothing before the commit.
///
/// After an error of the database the operation is undone, whatever it answers.
pub struct Tx {
    engine: Engine,
    pub(crate) rings: Rings,
}

enum Engine {
    Sqlite(Connection),
    Postgres(Transaction),
}

/// Which doorbells a commit has to ring.
#[derive(Debug, Default)]
pub(crate) struct Rings {
    pub(crate) runs: Vec<RunId>,
    pub(crate) queue: bool,
    pub(crate) deliveries: bool,
    /// One was rotated or revoked.
    pub(crate) connections: bool,
}

impl Tx {
    pub(crate) fn on_sqlite(connection: Connection) -> Self {
        Self { engine: Engine::Sqlite(connection), rings: Rings::default() }
    }

    pub(crate) fn on_postgres(transaction: Transaction) -> Self {
        Self { engine: Engine::Postgres(transaction), rings: Rings::default() }
    }

    /// The writer's own connection.
    pub(crate) fn sqlite(&self) -> Result<&Connection> {
        match &self.engine {
            Engine::Sqlite(connection) => Ok(connection),
            Engine::Postgres(_) => Err(Error::bug("a Postgres transaction in the SQLite writer")),
        }
    }

    pub(crate) fn into_sqlite(self) -> (Option<Connection>, Rings) {
        match self.engine {
            Engine::Sqlite(connection) => (Some(connection), self.rings),
            Engine::Postgres(_) => (None, self.rings),
        }
    }

    /// Commits a Postgres transaction; what to ring.
    pub(crate) async fn commit(self) -> Result<Rings> {
        if let Engine::Postgres(transaction) = self.engine {
            transaction.commit().await?;
        }
        Ok(self.rings)
    }

    /// Undoes a Postgres transaction.
    pub(crate) async fn rollback(self) {
        if let Engine::Postgres(transaction) = self.engine {
            transaction.rollback().await;
        }
    }

    pub(crate) async fn execute(&mut self, statement: Statement, args: Vec<Arg>) -> Result<u64> {
        match &mut self.engine {
            Engine::Sqlite(connection) => connection.execute(statement, &args),
            Engine::Postgres(transaction) => transaction.execute(statement, args).await,
        }
    }

    /// The same for a statement whose answer changes nothing in what the operation does next. Its error may come later,
    /// at the latest with the commit; either way the operation fails with it. Saves Postgres a round trip.
    pub(crate) async fn execute_ahead(&mut self, statement: Statement, args: Vec<Arg>) -> Result<()> {
        match &mut self.engine {
            Engine::Sqlite(connection) => connection.execute(statement, &args).map(drop),
            Engine::Postgres(transaction) => transaction.defer(statement, args).await,
        }
    }

    pub(crate) async fn fetch_optional<T: FromRow>(
        &mut self,
        statement: Statement,
        args: Vec<Arg>,
    ) -> Result<Option<T>> {
        match &mut self.engine {
            Engine::Sqlite(connection) => connection.fetch_optional(statement, &args),
            Engine::Postgres(transaction) => transaction.fetch_optional(statement, args).await,
        }
    }

    /// The first row of the same statement for each of these arguments.
    pub(crate) async fn fetch_each<T: FromRow>(
        &mut self,
        statement: Statement,
        args: Vec<Vec<Arg>>,
    ) -> Result<Vec<Option<T>>> {
        match &mut self.engine {
            Engine::Sqlite(connection) => {
                args.into_iter().map(|args| connection.fetch_optional(statement, &args)).collect()
            }
            Engine::Postgres(transaction) => transaction.fetch_each(statement, args).await,
        }
    }

    pub(crate) async fn fetch_all<T: FromRow>(&mut self, statement: Statement, args: Vec<Arg>) -> Result<Vec<T>> {
        match &mut self.engine {
            Engine::Sqlite(connection) => connection.fetch_all(statement, &args),
            Engine::Postgres(transaction) => transaction.fetch_all(statement, args).await,
        }
    }
}
