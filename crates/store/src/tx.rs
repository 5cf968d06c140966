//! A write in progress: what the closure given to [`Store::write`](crate::Store::write) works on.
//!
//! The typed functions live beside their tables (`runs`, `agents`, …) as further `impl Tx` blocks. What a write wants to
//! tell readers is noted here and rung by the writer after the commit, never before.

use livery_core::id::RunId;

use crate::error::Result;
use crate::sql::{Arg, FromRow, Statement};
use crate::sqlite::Connection;

/// One operation inside the shared transaction. Other operations' uncommitted rows are visible to it; readers see
/// nothing before the commit.
pub struct Tx {
    pub(crate) connection: Connection,
    pub(crate) rings: Rings,
}

/// Which doorbells a commit has to ring.
#[derive(Debug, Default)]
pub(crate) struct Rings {
    pub(crate) runs: Vec<RunId>,
    pub(crate) queue: bool,
    pub(crate) deliveries: bool,
}

// Async although SQLite answers at once: the same functions will await Postgres.
#[expect(clippy::unused_async, reason = "the signature the second engine needs")]
impl Tx {
    pub(crate) async fn execute(&mut self, statement: Statement, args: Vec<Arg>) -> Result<u64> {
        self.connection.execute(statement, &args)
    }

    pub(crate) async fn fetch_optional<T: FromRow>(
        &mut self,
        statement: Statement,
        args: Vec<Arg>,
    ) -> Result<Option<T>> {
        self.connection.fetch_optional(statement, &args)
    }

    pub(crate) async fn fetch_all<T: FromRow>(&mut self, statement: Statement, args: Vec<Arg>) -> Result<Vec<T>> {
        self.connection.fetch_all(statement, &args)
    }
}
