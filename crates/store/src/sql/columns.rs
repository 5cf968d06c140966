//! Which types a row gives, and from what. Ids are in `ids`.

use std::str::FromStr;

use livery_core::agent::Tier;
use livery_core::agent::sandbox::MinimumTier;
use livery_core::run::{Pricing, RunError};
use livery_core::{RunStatus, Timestamp, Usd};
use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::json::Json;
use crate::sql::{Cell, Column, FromRow, Row, unreadable};

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

impl Column for Tier {
    fn read(cell: Cell<'_>) -> Result<Self> {
        String::read(cell)?.parse().map_err(|error| unreadable("tier", error))
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

pub(super) fn parse<T: FromStr<Err: std::fmt::Display>>(what: &'static str, cell: Cell<'_>) -> Result<T> {
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

impl Column for MinimumTier {
    fn read(cell: Cell<'_>) -> Result<Self> {
        decode("minimum tier", cell)
    }
}

impl Column for Pricing {
    fn read(cell: Cell<'_>) -> Result<Self> {
        decode("pricing", cell)
    }
}
