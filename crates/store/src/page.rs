//! Pages of a list: a limit, an opaque cursor, newest first, stable under insertion.
//!
//! A cursor names the last row seen (its creation time and id) and is bound to the list it came from: tenant, kind and
//! filter. One that was altered or comes from elsewhere is refused, so it can never widen what a caller sees.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use livery_core::Timestamp;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::sql::Rows;

/// Most rows of one page.
pub const PAGE_LIMIT_MAX: u32 = 200;
/// Rows of a page when the caller does not say.
pub const PAGE_LIMIT_DEFAULT: u32 = 50;

const TAG_LEN: usize = 8;
const CURSOR_LEN: usize = 8 + 16 + TAG_LEN;

/// Which part of a list.
#[derive(Debug, Clone)]
pub struct Page {
    /// Most rows wanted; 1 to [`PAGE_LIMIT_MAX`], others are clamped. A page of very large rows holds fewer.
    pub limit: u32,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl Default for Page {
    fn default() -> Self {
        Self { limit: PAGE_LIMIT_DEFAULT, cursor: None }
    }
}

/// A page of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct List<T> {
    /// The rows, newest first.
    pub data: Vec<T>,
    /// For the next page; `None` at the end.
    pub next_cursor: Option<String>,
}

/// Where a page starts: strictly before this row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Position {
    pub(crate) created_at: Timestamp,
    pub(crate) id_bits: u128,
}

impl Position {
    /// Before everything: the first page.
    const TOP: Self = Self { created_at: Timestamp::from_micros(i64::MAX), id_bits: u128::MAX };
}

/// A list's identity: what a cursor is bound to.
pub(crate) struct Scope(Sha256);

impl Scope {
    pub(crate) fn new(kind: &str, org: livery_core::id::OrgId) -> Self {
        Self(Sha256::new()).with(kind).with(&org.to_string())
    }

    /// Binds one more part of the filter.
    pub(crate) fn with(mut self, part: &str) -> Self {
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
        self
    }

    fn tag(&self, position: &[u8]) -> [u8; TAG_LEN] {
        let digest = self.0.clone().chain_update(position).finalize();
        let mut tag = [0; TAG_LEN];
        tag.copy_from_slice(&digest[..TAG_LEN]);
        tag
    }

    fn encode(&self, position: Position) -> String {
        let mut bytes = Vec::with_capacity(CURSOR_LEN);
        bytes.extend(position.created_at.as_micros().to_be_bytes());
        bytes.extend(position.id_bits.to_be_bytes());
        bytes.extend(self.tag(&bytes));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn decode(&self, cursor: &str) -> Result<Position> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| Error::InvalidCursor)?;
        let bytes: [u8; CURSOR_LEN] = bytes.try_into().map_err(|_| Error::InvalidCursor)?;
        let (position, tag) = bytes.split_at(CURSOR_LEN - TAG_LEN);
        if tag != self.tag(position) {
            return Err(Error::InvalidCursor);
        }
        let (created_at, id) = position.split_at(8);
        let (Ok(created_at), Ok(id)) = (created_at.try_into(), id.try_into()) else {
            return Err(Error::InvalidCursor);
        };
        Ok(Position {
            created_at: Timestamp::from_micros(i64::from_be_bytes(created_at)),
            id_bits: u128::from_be_bytes(id),
        })
    }
}

impl Page {
    /// Where to start, and how many rows to fetch: one more than wanted, to know whether there is a next page.
    pub(crate) fn start(&self, scope: &Scope) -> Result<(Position, u32)> {
        let position = match &self.cursor {
            Some(cursor) => scope.decode(cursor)?,
            None => Position::TOP,
        };
        Ok((position, self.limit.clamp(1, PAGE_LIMIT_MAX) + 1))
    }

    /// Cuts the surplus row off and makes the next cursor from the last one kept.
    pub(crate) fn finish<T>(&self, scope: &Scope, fetched: Rows<T>, position: impl Fn(&T) -> Position) -> List<T> {
        let limit = self.limit.clamp(1, PAGE_LIMIT_MAX) as usize;
        let Rows { mut rows, cut } = fetched;
        let more = cut || rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows.last().filter(|_| more).map(|last| scope.encode(position(last)));
        List { data: rows, next_cursor }
    }
}

#[cfg(test)]
mod tests;
