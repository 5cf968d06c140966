//! One page of a list: `{data, next_cursor}`, newest first.

use serde::Serialize;

/// Rows per page when the caller does not say.
pub const PAGE_DEFAULT: u32 = 50;
/// Most rows per page.
pub const PAGE_MAX: u32 = 200;

/// What part of a list is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// 1..=[`PAGE_MAX`].
    pub limit: u32,
    /// From the page before.
    pub cursor: Option<String>,
}

impl Default for PageRequest {
    fn default() -> Self {
        Self { limit: PAGE_DEFAULT, cursor: None }
    }
}

/// One page.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Page<T> {
    /// Newest first.
    pub data: Vec<T>,
    /// For the next page; null at the end.
    pub next_cursor: Option<String>,
}
