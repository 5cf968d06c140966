//! One page of a list: `{data, next_cursor}`, newest first.

use livery_core::Result;
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

impl<T> Page<T> {
    /// A page of rows as a page of views.
    pub(crate) fn try_from_list<R>(list: livery_store::List<R>, view: impl Fn(R) -> Result<T>) -> Result<Self> {
        Ok(Self { data: list.data.into_iter().map(view).collect::<Result<_>>()?, next_cursor: list.next_cursor })
    }

    /// A list that is never longer than one page.
    pub(crate) fn whole(data: Vec<T>) -> Self {
        Self { data, next_cursor: None }
    }
}

impl From<PageRequest> for livery_store::Page {
    fn from(page: PageRequest) -> Self {
        Self { limit: page.limit, cursor: page.cursor }
    }
}
