//! The engine-neutral words between typed functions and a driver: a statement, its arguments, a row.
//!
//! A statement is one `&'static str` with `$1` placeholders and belongs to a catalogue, so that a test can prepare every
//! one of them on every engine. Arguments are typed even when they are null, because Postgres wants to know.
//!
//! Read next: `sqlite`, the one file that knows the driver.

use std::borrow::Cow;
use std::str::FromStr;

use livery_core::id::{
    AgentId, AppId, DeliveryId, EndUserId, FileId, KeyId, OrgId, ProviderId, RunId, WebhookEventId, WebhookId,
};
use livery_core::run::{Pricing, RunError};
use livery_core::{RunStatus, Timestamp, Usd};
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::json::Json;

/// One SQL text and its name in the catalogue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Statement {
    pub(crate) name: &'static str,
    pub(crate) sql: &'static str,
}

/// Declares statements as constants and lists them in `STATEMENTS` for the catalogue.
macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)*) => {
        $($(#[$doc])* const $name: $crate::sql::Statement = $crate::sql::Statement { name: stringify!($name), sql: $sql };)*
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

/// One argument. `None` is null of that type.
#[derive(Debug, Clone)]
pub(crate) enum Arg {
    Int(Option<i64>),
    Text(Option<Cow<'static, str>>),
    Blob(Option<Vec<u8>>),
}

impl From<i64> for Arg {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<u32> for Arg {
    fn from(value: u32) -> Self {
        Self::Int(Some(value.into()))
    }
}

impl From<Option<u32>> for Arg {
    fn from(value: Option<u32>) -> Self {
        Self::Int(value.map(Into::into))
    }
}

impl From<u16> for Arg {
    fn from(value: u16) -> Self {
        Self::Int(Some(value.into()))
    }
}

impl From<Option<u16>> for Arg {
    fn from(value: Option<u16>) -> Self {
        Self::Int(value.map(Into::into))
    }
}

impl From<Option<i64>> for Arg {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}

/// Counts and sequences are far below 2⁶³; a larger number saturates rather than wraps.
impl From<u64> for Arg {
    fn from(value: u64) -> Self {
        Self::Int(Some(i64::try_from(value).unwrap_or(i64::MAX)))
    }
}

impl From<usize> for Arg {
    fn from(value: usize) -> Self {
        Self::Int(Some(i64::try_from(value).unwrap_or(i64::MAX)))
    }
}

impl From<bool> for Arg {
    fn from(value: bool) -> Self {
        Self::Int(Some(value.into()))
    }
}

impl From<Timestamp> for Arg {
    fn from(value: Timestamp) -> Self {
        Self::Int(Some(value.as_micros()))
    }
}

impl From<Option<Timestamp>> for Arg {
    fn from(value: Option<Timestamp>) -> Self {
        Self::Int(value.map(Timestamp::as_micros))
    }
}

impl From<Usd> for Arg {
    fn from(value: Usd) -> Self {
        Self::Int(Some(value.as_micros()))
    }
}

impl From<Option<Usd>> for Arg {
    fn from(value: Option<Usd>) -> Self {
        Self::Int(value.map(Usd::as_micros))
    }
}

impl From<&'static str> for Arg {
    fn from(value: &'static str) -> Self {
        Self::Text(Some(Cow::Borrowed(value)))
    }
}

impl From<String> for Arg {
    fn from(value: String) -> Self {
        Self::Text(Some(Cow::Owned(value)))
    }
}

impl From<&String> for Arg {
    fn from(value: &String) -> Self {
        Self::Text(Some(Cow::Owned(value.clone())))
    }
}

impl From<Option<String>> for Arg {
    fn from(value: Option<String>) -> Self {
        Self::Text(value.map(Cow::Owned))
    }
}

impl From<&Option<String>> for Arg {
    fn from(value: &Option<String>) -> Self {
        Self::Text(value.clone().map(Cow::Owned))
    }
}

impl From<&Json> for Arg {
    fn from(value: &Json) -> Self {
        Self::Text(Some(Cow::Owned(value.as_str().to_owned())))
    }
}

impl From<&Option<Json>> for Arg {
    fn from(value: &Option<Json>) -> Self {
        Self::Text(value.as_ref().map(|json| Cow::Owned(json.as_str().to_owned())))
    }
}

impl From<Option<Json>> for Arg {
    fn from(value: Option<Json>) -> Self {
        Self::Text(value.map(|json| Cow::Owned(json.into_string())))
    }
}

impl From<RunStatus> for Arg {
    fn from(value: RunStatus) -> Self {
        Self::Text(Some(Cow::Borrowed(value.as_str())))
    }
}

impl From<Option<RunStatus>> for Arg {
    fn from(value: Option<RunStatus>) -> Self {
        Self::Text(value.map(|status| Cow::Borrowed(status.as_str())))
    }
}

impl From<Vec<u8>> for Arg {
    fn from(value: Vec<u8>) -> Self {
        Self::Blob(Some(value))
    }
}

impl From<Option<Vec<u8>>> for Arg {
    fn from(value: Option<Vec<u8>>) -> Self {
        Self::Blob(value)
    }
}

impl From<&[u8; 32]> for Arg {
    fn from(value: &[u8; 32]) -> Self {
        Self::Blob(Some(value.to_vec()))
    }
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

fn unreadable(what: &'static str, detail: impl std::fmt::Display) -> Error {
    Error::Corrupt { what, detail: detail.to_string() }
}

impl<T: Column> Column for Option<T> {
    fn read(cell: Cell<'_>) -> Result<Self> {
        match cell {
            Cell::Null => Ok(None),
            cell => T::read(cell).map(Some),
        }
    }
}

/// A row of one value.
impl<T: Column> FromRow for (T,) {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok((row.take()?,))
    }
}

/// A row of two values.
impl<A: Column, B: Column> FromRow for (A, B) {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok((row.take()?, row.take()?))
    }
}

/// A row of three values.
impl<A: Column, B: Column, C: Column> FromRow for (A, B, C) {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok((row.take()?, row.take()?, row.take()?))
    }
}

impl Column for i64 {
    fn read(cell: Cell<'_>) -> Result<Self> {
        match cell {
            Cell::Int(value) => Ok(value),
            _ => Err(unreadable("number", "no integer")),
        }
    }
}

macro_rules! narrower_integers {
    ($($kind:ty),*) => {$(
        impl Column for $kind {
            fn read(cell: Cell<'_>) -> Result<Self> {
                Self::try_from(i64::read(cell)?).map_err(|error| unreadable("number", error))
            }
        }
    )*};
}
narrower_integers!(u64, u32, u16);

impl Column for bool {
    fn read(cell: Cell<'_>) -> Result<Self> {
        Ok(i64::read(cell)? != 0)
    }
}

impl Column for Timestamp {
    fn read(cell: Cell<'_>) -> Result<Self> {
        i64::read(cell).map(Self::from_micros)
    }
}

impl Column for Usd {
    fn read(cell: Cell<'_>) -> Result<Self> {
        i64::read(cell).map(Self::from_micros)
    }
}

impl Column for String {
    fn read(cell: Cell<'_>) -> Result<Self> {
        match cell {
            Cell::Text(text) => Ok(text.to_owned()),
            _ => Err(unreadable("text", "no text")),
        }
    }
}

impl Column for Vec<u8> {
    fn read(cell: Cell<'_>) -> Result<Self> {
        match cell {
            Cell::Blob(bytes) => Ok(bytes.to_vec()),
            _ => Err(unreadable("bytes", "no bytes")),
        }
    }
}

impl Column for Json {
    fn read(cell: Cell<'_>) -> Result<Self> {
        Self::from_text(String::read(cell)?)
    }
}

fn parse<T: FromStr<Err: std::fmt::Display>>(what: &'static str, cell: Cell<'_>) -> Result<T> {
    match cell {
        Cell::Text(text) => text.parse().map_err(|error| unreadable(what, error)),
        _ => Err(unreadable(what, "no text")),
    }
}

fn decode<T: DeserializeOwned>(what: &'static str, cell: Cell<'_>) -> Result<T> {
    match cell {
        Cell::Text(text) => serde_json::from_str(text).map_err(|error| unreadable(what, error)),
        _ => Err(unreadable(what, "no text")),
    }
}

impl Column for RunStatus {
    fn read(cell: Cell<'_>) -> Result<Self> {
        parse("status", cell)
    }
}

impl Column for RunError {
    fn read(cell: Cell<'_>) -> Result<Self> {
        decode("error", cell)
    }
}

impl Column for Pricing {
    fn read(cell: Cell<'_>) -> Result<Self> {
        decode("pricing", cell)
    }
}

macro_rules! id_columns {
    ($($id:ty),* $(,)?) => {$(
        impl From<$id> for Arg {
            fn from(id: $id) -> Self {
                Self::Text(Some(Cow::Owned(id.to_string())))
            }
        }

        impl From<Option<$id>> for Arg {
            fn from(id: Option<$id>) -> Self {
                Self::Text(id.map(|id| Cow::Owned(id.to_string())))
            }
        }

        impl Column for $id {
            fn read(cell: Cell<'_>) -> Result<Self> {
                parse("id", cell)
            }
        }
    )*};
}
id_columns!(
    AgentId, AppId, DeliveryId, EndUserId, FileId, KeyId, OrgId, ProviderId, RunId, WebhookEventId, WebhookId,
);
