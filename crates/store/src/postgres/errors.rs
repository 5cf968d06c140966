//! The driver's errors in the store's words.

use deadpool_postgres::PoolError;
use tokio_postgres::error::{DbError, SqlState};

use crate::error::{DISK_FULL, Error, Result};
use crate::sql::Statement;

/// An error of a statement: nothing of its transaction is written.
pub(super) fn of_statement(statement: Statement, error: &tokio_postgres::Error) -> Error {
    match translate(error) {
        Error::Database(cause) => Error::bug(format!("{}: {cause}", statement.name)),
        error => error,
    }
}

/// An error of a statement, a connection or a transaction before its commit.
pub(super) fn translate(error: &tokio_postgres::Error) -> Error {
    let Some(failure) = error.as_db_error() else {
        // Closed, timed out, refused, unreadable: the connection is of no use. A value that could not be sent is a bug.
        return match std::error::Error::source(error) {
            Some(cause) if cause.is::<super::connection::Unsendable>() => Error::bug(error.to_string()),
            cause => unavailable(&format_args!("{error}{}", Because(cause))),
        };
    };
    of_server(failure)
}

struct Because<'a>(Option<&'a (dyn std::error::Error + 'static)>);

impl std::fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |cause| write!(f, ": {cause}"))
    }
}

fn of_server(failure: &DbError) -> Error {
    let code = failure.code();
    match *code {
        SqlState::UNIQUE_VIOLATION => {
            Error::Exists { constraint: failure.constraint().unwrap_or_else(|| failure.message()).to_owned() }
        }
        SqlState::FOREIGN_KEY_VIOLATION => Error::NotFound { what: "referenced row" },
        SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => {
            Error::Busy { reason: "two writes stood in each other's way, this one gave way" }
        }
        SqlState::LOCK_NOT_AVAILABLE => Error::Busy { reason: "another write held a row for too long" },
        SqlState::DISK_FULL => unavailable(&format_args!("{DISK_FULL}: {}", failure.message())),
        SqlState::QUERY_CANCELED => Error::Busy { reason: "the query took too long" },
        SqlState::CHARACTER_NOT_IN_REPERTOIRE => Error::Domain(livery_core::Error::invalid_field(
            "",
            "a text holds the character U+0000, which the database cannot keep; leave it out",
        )),
        SqlState::DATA_CORRUPTED | SqlState::INDEX_CORRUPTED => {
            Error::Corrupt { what: "database page", detail: failure.message().to_owned() }
        }
        SqlState::READ_ONLY_SQL_TRANSACTION
        | SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
        | SqlState::INVALID_CATALOG_NAME
        | SqlState::INSUFFICIENT_PRIVILEGE
        | SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE => unavailable(&failure.message()),
        _ => match code.code().get(..2) {
            Some("28") => Error::Refused { reason: failure.message().to_owned() },
            // Connection, resources (disk, memory, connections), operator's hand, system.
            Some("08" | "53" | "57" | "58") => unavailable(&failure.message()),
            _ => Error::bug(format!("{} ({})", failure.message(), code.code())),
        },
    }
}

fn unavailable(reason: &dyn std::fmt::Display) -> Error {
    Error::Unavailable { reason: reason.to_string() }
}

/// What an error of the commit itself means: refused for certain, or nobody knows.
pub(super) fn of_commit(error: &tokio_postgres::Error) -> Error {
    match error.as_db_error() {
        // Constraints checked late, and conflicts: the server says that it did not commit.
        Some(failure) if matches!(failure.code().code().get(..2), Some("23" | "25" | "40")) => of_server(failure),
        _ => Error::Unknown { reason: error.to_string() },
    }
}

/// Why there is no connection.
pub(super) fn of_pool(error: PoolError) -> Error {
    match error {
        PoolError::Timeout(_) => Error::Unavailable { reason: "the database did not answer in time".into() },
        PoolError::Backend(error) => match translate(&error) {
            // A connection that cannot be made is never the statement's fault.
            Error::Database(cause) => Error::Unavailable { reason: cause.to_string() },
            error => error,
        },
        PoolError::Closed => Error::Closed,
        error => Error::Unavailable { reason: error.to_string() },
    }
}

/// The same for connections outside the pools.
pub(super) fn of_connect<T>(result: std::result::Result<T, tokio_postgres::Error>) -> Result<T> {
    result.map_err(|error| of_pool(PoolError::Backend(error)))
}
