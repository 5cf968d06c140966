//! What a text of SQL does, as far as it has to be known before it is sent to a database.
//!
//! ```text
//! text ─▶ words, quoted names, constants, marks (by PostgreSQL's own lexical rules) ─▶ statements ─▶ a class for each
//! ```
//!
//! Two walls stand before a database. The first is the server's: a role with few rights, `default_transaction_read_only`,
//! `statement_timeout`, said at the login. The second is here: what could lift the first one, what reaches files, programs or
//! other servers, and what runs text that nobody looked at, is refused. What cannot be read is refused too: nothing is guessed.
//!
//! This is no grammar. A statement is judged by its first words and by every name in it, so some that are harmless are refused
//! (an unquoted column named `update` in a `SELECT` of a read-only connection); the refusal says what to write in its place.
//!
//! Not claimed: what functions, views and operators do that are in the database already. That is the role's to limit.
//!
//! Read next: `sql/lex.rs`, then `sql/judge.rs`, `sql/names.rs`.

mod judge;
mod lex;
mod names;

pub(crate) use names::is_settable;

pub use judge::{Class, Judged, Rules, judge};
pub use lex::{Token, tokens};

/// Longest text that is looked at, in bytes.
pub const TEXT_BYTES_MAX: usize = 256 * 1024;
/// Most statements of one text.
pub const STATEMENTS_MAX: usize = 256;

/// Why a text is not sent. For whoever wrote it: it says what is not done, and repeats names of ours alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It cannot be read without a doubt.
    #[error("the statement cannot be read: {0}")]
    Unreadable(&'static str),
    /// It would do what is never done.
    #[error("{0}")]
    Never(String),
    /// It would change something, on a connection that changes nothing.
    #[error("this connection is read-only, and {0}")]
    ReadOnly(String),
}

impl Refused {
    /// Stable name of the rule.
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "sql_unreadable",
            Self::Never(_) => "sql_never",
            Self::ReadOnly(_) => "sql_read_only",
        }
    }
}

#[cfg(test)]
mod tests;
