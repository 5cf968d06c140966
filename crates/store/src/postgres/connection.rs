//! One connection, lent from a pool: preparing, binding, reading. A connection in doubt never goes back.

use std::fmt;
use std::pin::pin;

use bytes::BytesMut;
use deadpool_postgres::{Client, Object};
use futures_util::TryStreamExt;
use tokio::time::timeout;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type};

use super::{ANSWER_WAIT_MAX, WRITE_STATEMENT_TIME_MAX, errors};
use crate::error::{Error, Result};
use crate::sql::{Arg, Cell, FromRow, Row, Rows, Statement};

/// A lent connection. Given back when its work ended well; closed when it was dropped in the middle, so that nobody
/// inherits an open transaction or an answer that is still on its way.
pub(crate) struct Lent {
    client: Option<Client>,
    /// Something was asked whose answer has not been read to its end.
    asking: bool,
}

impl Lent {
    pub(super) fn new(client: Client) -> Self {
        Self { client: Some(client), asking: false }
    }

    pub(super) fn client(&self) -> Result<&Client> {
        self.client.as_ref().ok_or_else(|| Error::bug("the connection was given back"))
    }

    /// From here on, being dropped closes the connection.
    pub(super) fn begin(&mut self) {
        self.asking = true;
    }

    /// All that was asked is answered and no transaction is open.
    pub(super) fn end(&mut self) {
        self.asking = false;
    }

    pub(super) async fn prepared(&self, statement: Statement, args: &[Arg]) -> Result<tokio_postgres::Statement> {
        let types: Vec<Type> = args.iter().map(type_of).collect();
        let prepared = self.client()?.prepare_typed_cached(statement.postgres_sql(), &types).await;
        prepared.map_err(|error| errors::of_statement(statement, &error))
    }

    /// Asks one statement outside a transaction; rows until they weigh more than `budget`, and at least one.
    pub(super) async fn fetch_up_to<T: FromRow>(
        mut self,
        budget: usize,
        statement: Statement,
        args: &[Arg],
    ) -> Result<Rows<T>> {
        self.begin();
        let answer = timeout(WRITE_STATEMENT_TIME_MAX + ANSWER_WAIT_MAX, self.stream(budget, statement, args)).await;
        let Ok(answer) = answer else {
            return Err(Error::Unavailable { reason: "the database did not answer in time".into() });
        };
        // What was cut off is still on its way: such a connection is closed, which also ends the server's work.
        if !matches!(&answer, Ok(Rows { cut: true, .. })) {
            self.end();
        }
        answer
    }

    async fn stream<T: FromRow>(&self, budget: usize, statement: Statement, args: &[Arg]) -> Result<Rows<T>> {
        let prepared = self.prepared(statement, args).await?;
        let named = |error: tokio_postgres::Error| errors::of_statement(statement, &error);
        let stream = self.client()?.query_raw(&prepared, args.iter().map(Bound)).await.map_err(named)?;
        let mut stream = pin!(stream);
        let (mut rows, mut weight) = (Vec::new(), 0usize);
        while let Some(row) = stream.try_next().await.map_err(named)? {
            let row: T = read(&row)?;
            weight = weight.saturating_add(row.weight());
            if weight > budget && !rows.is_empty() {
                return Ok(Rows { rows, cut: true });
            }
            rows.push(row);
        }
        Ok(Rows { rows, cut: false })
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(client) = self.client.take()
            && self.asking
        {
            // Out of the pool, and closed.
            drop(Object::take(client));
        }
    }
}

/// A row as the typed functions read it.
pub(super) fn read<T: FromRow>(row: &tokio_postgres::Row) -> Result<T> {
    T::from_row(&mut Cursor::new(row))
}

pub(super) struct Cursor<'r> {
    row: &'r tokio_postgres::Row,
    next: usize,
}

impl<'r> Cursor<'r> {
    pub(super) fn new(row: &'r tokio_postgres::Row) -> Self {
        Self { row, next: 0 }
    }
}

impl Row for Cursor<'_> {
    fn cell(&mut self) -> Result<Cell<'_>> {
        let place = self.next;
        self.next += 1;
        self.row.try_get(place).map_err(|error| Error::bug(error.to_string()))
    }
}

impl<'r> FromSql<'r> for Cell<'r> {
    fn from_sql(kind: &Type, raw: &'r [u8]) -> std::result::Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(match *kind {
            Type::INT8 => Self::Int(i64::from_sql(kind, raw)?),
            Type::INT4 => Self::Int(i32::from_sql(kind, raw)?.into()),
            Type::BYTEA => Self::Blob(raw),
            _ => Self::Text(std::str::from_utf8(raw)?),
        })
    }

    fn from_sql_null(_: &Type) -> std::result::Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self::Null)
    }

    fn accepts(kind: &Type) -> bool {
        matches!(*kind, Type::INT8 | Type::INT4 | Type::TEXT | Type::BYTEA)
    }
}

fn type_of(arg: &Arg) -> Type {
    match arg {
        Arg::Int(_) => Type::INT8,
        Arg::Text(_) => Type::TEXT,
        Arg::Blob(_) => Type::BYTEA,
    }
}

/// An argument on its way; silent about its value, because drivers print what they send.
pub(super) struct Bound<'a>(pub(super) &'a Arg);

impl fmt::Debug for Bound<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// A value that its statement does not take.
#[derive(Debug, thiserror::Error)]
#[error("an argument is no {0}")]
pub(super) struct Unsendable(Type);

impl ToSql for Bound<'_> {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        if *kind != type_of(self.0) {
            return Err(Box::new(Unsendable(kind.clone())));
        }
        match self.0 {
            Arg::Int(value) => value.to_sql(kind, out),
            Arg::Text(text) => text.as_deref().to_sql(kind, out),
            Arg::Blob(bytes) => bytes.as_deref().to_sql(kind, out),
        }
    }

    fn accepts(kind: &Type) -> bool {
        matches!(*kind, Type::INT8 | Type::TEXT | Type::BYTEA)
    }

    tokio_postgres::types::to_sql_checked!();
}
