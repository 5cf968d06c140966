//! The engine-neutral words between typed functions and a driver: a statement, its arguments, a row.
//!
//! A statement is one `&'static str` with `$1` placeholders and belongs to a catalogue, so that a test can prepare every
//! one of them on every engine. Arguments are typed even when they are null, because Postgres wants to know.
//!
//! Read next: `arguments` and `columns` say which types go in and come out, `sqlite` and `postgres` are what knows a driver.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

mod arguments;
mod columns;
mod ids;
mod words;

/// One SQL text and its name in the catalogue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Statement {
    pub(crate) name: &'static str,
    pub(crate) sql: &'static str,
    /// What Postgres gets instead. The few that have one are listed in `catalogue`, each with its reason.
    postgres: Option<&'static str>,
}

impl Statement {
    pub(crate) const fn new(name: &'static str, sql: &'static str) -> Self {
        Self { name, sql, postgres: None }
    }

    /// The same with a text of its own for Postgres.
    pub(crate) const fn on_postgres(self, text: &'static str) -> Self {
        Self { postgres: Some(text), ..self }
    }

    /// What Postgres is asked.
    pub(crate) fn postgres_sql(&self) -> &'static str {
        self.postgres.unwrap_or(self.sql)
    }

    /// Whether Postgres gets a text of its own.
    #[cfg(test)]
    pub(crate) fn has_own_postgres_text(&self) -> bool {
        self.postgres.is_some()
    }
}

/// Declares statements as constants and lists them in `STATEMENTS` for the catalogue. `NAME = "…" => postgres "…";` gives
/// Postgres a text of its own.
macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr $(=> postgres $postgres:expr)?;)*) => {
        $($(#[$doc])* const $name: $crate::sql::Statement =
            $crate::sql::Statement::new(stringify!($name), $sql)$(.on_postgres($postgres))?;)*
        /// Every statement of this file.
        #[cfg(test)]
        pub(crate) const STATEMENTS: &[$crate::sql::Statement] = &[$($name),*];
    };
}
pub(crate) use statements;

/// Arguments in `$1`, `$2`, … order.
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::sql::Arg::from($value)),*] };
}
pub(crate) use args;
pub(crate) use words::words;

/// One argument. `None` is null of that type.
#[derive(Debug, Clone)]
pub(crate) enum Arg {
    Int(Option<i64>),
    Text(Option<Cow<'static, str>>),
    Blob(Option<Vec<u8>>),
}

/// One value of a row, borrowed from the driver.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cell<'r> {
    Null,
    Int(i64),
    Text(&'r str),
    Blob(&'r [u8]),
}

/// A row read left to right: the order of the `select` list is the order of the fields.
pub(crate) trait Row {
    /// The next value.
    fn cell(&mut self) -> Result<Cell<'_>>;

    /// The next value as its type.
    fn take<T: Column>(&mut self) -> Result<T>
    where
        Self: Sized,
    {
        T::read(self.cell()?)
    }

    /// The next value, JSON text of a type.
    fn json<T: DeserializeOwned>(&mut self, what: &'static str) -> Result<T>
    where
        Self: Sized,
    {
        match self.cell()? {
            Cell::Text(text) => serde_json::from_str(text).map_err(|error| unreadable(what, error)),
            _ => Err(unreadable(what, "no text")),
        }
    }
}

/// A struct made of one row.
pub(crate) trait FromRow: Sized {
    /// Reads its fields in the order of the `select` list.
    fn from_row(row: &mut impl Row) -> Result<Self>;

    /// Bytes of the parts a tenant chose the size of. A page is cut when the sum grows too large.
    fn weight(&self) -> usize {
        0
    }
}

/// Rows up to a budget of [`FromRow::weight`].
#[derive(Debug)]
pub(crate) struct Rows<T> {
    pub(crate) rows: Vec<T>,
    /// Further rows were left out for their size.
    pub(crate) cut: bool,
}

/// A value made of one cell.
pub(crate) trait Column: Sized {
    /// Reads it, or says that it cannot.
    fn read(cell: Cell<'_>) -> Result<Self>;
}

/// A stored value that this version cannot read.
fn unreadable(what: &'static str, detail: impl std::fmt::Display) -> Error {
    Error::Corrupt { what, detail: detail.to_string() }
}
