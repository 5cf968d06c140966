//! The SQLite engine: opening, migrating, binding, stepping. The only file that names the driver.
//!
//! Calls are synchronous: a statement costs two microseconds here, a thread hop per statement would cost fifty. Who calls
//! from where is `writer`'s and `reader`'s business.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{ErrorCode, OpenFlags, ffi};

use crate::error::{DISK_FAILS, DISK_FULL, DISK_READ_ONLY, Error, LOCKED, Result};
use crate::migrations::{MIGRATIONS, Pending, pending};
use crate::sql::{Arg, Cell, FromRow, Row, Rows, Statement};

/// How long a connection waits for a lock that another connection holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Page cache of a reader, in KiB. What it does not hold comes from the system's own cache.
const READER_CACHE_KIB: i64 = 2 * 1024;
/// Page cache of the writer: the pages one batch touches.
const WRITER_CACHE_KIB: i64 = 8 * 1024;
/// Prepared statements kept per connection.
const STATEMENT_CACHE_MAX: usize = 96;
/// Pages in the write-ahead log before a commit moves them into the database (4 KiB each).
const CHECKPOINT_PAGES: i64 = 2000;
/// The write-ahead log file is cut back to this size after a checkpoint.
const WAL_BYTES_KEPT_MAX: i64 = 16 * 1024 * 1024;

/// How long one query of a reader may take.
const QUERY_TIME_MAX: Duration = if cfg!(test) { Duration::from_millis(300) } else { Duration::from_secs(5) };
/// Steps of the database's machine between two looks at the clock.
const STEPS_PER_LOOK: i32 = 20_000;

/// What a connection may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// The writer's own connection.
    Write,
    /// A reader: the database refuses it every write.
    Read,
}

/// One connection with its prepared statements.
pub(crate) struct Connection {
    inner: rusqlite::Connection,
    /// When a reader's running query has to end. The writer's statements are bounded by what they are.
    deadline: Arc<Mutex<Option<Instant>>>,
}

impl Connection {
    /// Opens the file; a writer creates it.
    pub(crate) fn open(path: &Path, access: Access) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX
            | match access {
                Access::Write => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
                Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
            };
        let inner = rusqlite::Connection::open_with_flags(path, flags).map_err(translate)?;
        inner.busy_timeout(BUSY_TIMEOUT).map_err(translate)?;
        inner.set_prepared_statement_cache_capacity(STATEMENT_CACHE_MAX);
        let connection = Self { inner, deadline: Arc::default() };
        connection.keep_plans()?;
        if access == Access::Read {
            connection.pragma("cache_size", -READER_CACHE_KIB)?;
            connection.give_up_late_queries()?;
        } else {
            connection.pragma("cache_size", -WRITER_CACHE_KIB)?;
            connection.pragma("journal_mode", "wal")?;
            // In WAL mode, FULL is what makes a commit durable; NORMAL may lose the last ones with the power.
            connection.pragma("synchronous", "full")?;
            connection.pragma("foreign_keys", "on")?;
            // Savepoints keep the pages they may restore; in a temporary file that costs a system call for each.
            connection.pragma("temp_store", "memory")?;
            connection.pragma("wal_autocheckpoint", CHECKPOINT_PAGES)?;
            connection.pragma("journal_size_limit", WAL_BYTES_KEPT_MAX)?;
        }
        Ok(connection)
    }

    /// Plans depend on the statement alone: without this, binding another value may plan the statement anew.
    fn keep_plans(&self) -> Result<()> {
        self.inner.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop).map_err(translate)
    }

    fn give_up_late_queries(&self) -> Result<()> {
        let deadline = Arc::clone(&self.deadline);
        let late = move || deadline.lock().is_ok_and(|deadline| deadline.is_some_and(|end| Instant::now() >= end));
        self.inner.progress_handler(STEPS_PER_LOOK, Some(late)).map_err(translate)
    }

    /// Runs `query` with a reader's time limit.
    pub(crate) fn in_time<T>(&self, query: impl FnOnce(&Self) -> T) -> T {
        let set = |end| *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = end;
        set(Some(Instant::now() + QUERY_TIME_MAX));
        let answer = query(self);
        set(None);
        answer
    }

    pub(crate) fn pragma(&self, name: &str, value: impl rusqlite::ToSql) -> Result<()> {
        self.inner.pragma_update(None, name, value).map_err(translate)
    }

    /// Brings the schema up to this version, one transaction per step; the steps applied.
    pub(crate) fn migrate(&mut self) -> Result<Pending> {
        self.control(
            "create table if not exists schema_migrations (version integer primary key, name text not null) strict",
        )?;
        let steps = pending(self.applied()?)?;
        for (version, name) in &steps {
            let Some(migration) = MIGRATIONS.get(*version as usize - 1) else { break };
            let transaction = self.inner.transaction().map_err(translate)?;
            transaction.execute_batch(migration.sqlite).map_err(translate)?;
            transaction
                .execute("insert into schema_migrations (version, name) values (?1, ?2)", (version, name))
                .map_err(translate)?;
            transaction.commit().map_err(translate)?;
        }
        Ok(steps)
    }

    /// The last step this database has.
    pub(crate) fn applied(&self) -> Result<i64> {
        let there = "select count(*) from sqlite_schema where name = 'schema_migrations'";
        if self.inner.query_row(there, [], |row| row.get::<_, i64>(0)).map_err(translate)? == 0 {
            return Ok(0);
        }
        let last = "select coalesce(max(version), 0) from schema_migrations";
        self.inner.query_row(last, [], |row| row.get(0)).map_err(translate)
    }

    /// A word of transaction control, or a pragma that answers nothing.
    pub(crate) fn control(&self, sql: &'static str) -> Result<()> {
        self.inner.prepare_cached(sql).and_then(|mut statement| statement.raw_execute()).map(|_| ()).map_err(translate)
    }

    /// Moves the log into the database file and cuts it to nothing.
    pub(crate) fn checkpoint(&self) -> Result<()> {
        self.inner.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(())).map_err(translate)
    }

    /// Copies the database, as it is now, into a file that does not exist. Other connections go on.
    pub(crate) fn copy_into(&self, target: &Path) -> Result<()> {
        let target = target.to_str().ok_or_else(|| Error::Unavailable { reason: "the path is no UTF-8".into() })?;
        self.inner.execute("vacuum into ?1", [target]).map(drop).map_err(translate)
    }

    /// Looks at every page of the file.
    pub(crate) fn quick_check(&self) -> Result<()> {
        let found: String = self.inner.query_row("pragma quick_check(1)", [], |row| row.get(0)).map_err(translate)?;
        if found == "ok" { Ok(()) } else { Err(Error::Corrupt { what: "database file", detail: found }) }
    }

    /// Whether no transaction is open.
    pub(crate) fn is_idle(&self) -> bool {
        self.inner.is_autocommit()
    }

    /// Runs a statement that answers no rows; says how many it changed.
    pub(crate) fn execute(&self, statement: Statement, args: &[Arg]) -> Result<u64> {
        let mut prepared = self.bound(statement, args)?;
        let changed = prepared.raw_execute().map_err(|error| named(statement, error))?;
        Ok(changed as u64)
    }

    /// The first row, if any.
    pub(crate) fn fetch_optional<T: FromRow>(&self, statement: Statement, args: &[Arg]) -> Result<Option<T>> {
        let mut prepared = self.bound(statement, args)?;
        let mut rows = prepared.raw_query();
        match rows.next().map_err(|error| named(statement, error))? {
            Some(row) => T::from_row(&mut Cursor { row, next: 0 }).map(Some),
            None => Ok(None),
        }
    }

    /// All rows. Every statement bounds its own number of rows.
    pub(crate) fn fetch_all<T: FromRow>(&self, statement: Statement, args: &[Arg]) -> Result<Vec<T>> {
        self.fetch_up_to(usize::MAX, statement, args).map(|fetched| fetched.rows)
    }

    /// Rows until they weigh more than `budget`, and at least one.
    pub(crate) fn fetch_up_to<T: FromRow>(&self, budget: usize, statement: Statement, args: &[Arg]) -> Result<Rows<T>> {
        let mut prepared = self.bound(statement, args)?;
        let mut cursor = prepared.raw_query();
        let (mut rows, mut weight) = (Vec::new(), 0usize);
        while let Some(row) = cursor.next().map_err(|error| named(statement, error))? {
            let row = T::from_row(&mut Cursor { row, next: 0 })?;
            weight = weight.saturating_add(row.weight());
            if weight > budget && !rows.is_empty() {
                return Ok(Rows { rows, cut: true });
            }
            rows.push(row);
        }
        Ok(Rows { rows, cut: false })
    }

    /// Prepares without running; the number of parameters.
    #[cfg(test)]
    pub(crate) fn prepare(&self, statement: Statement) -> Result<usize> {
        let prepared = self.inner.prepare(statement.sql).map_err(|error| named(statement, error))?;
        Ok(prepared.parameter_count())
    }

    /// Rows of any query as texts, for the tests of the schema.
    #[cfg(test)]
    pub(crate) fn texts(&self, sql: &str) -> Vec<Vec<String>> {
        let mut prepared = self.inner.prepare(sql).expect("the query prepares");
        let columns = prepared.column_count();
        let row = |row: &rusqlite::Row<'_>| (0..columns).map(|column| row.get(column)).collect();
        prepared.query_map([], row).expect("the query runs").map(|row| row.expect("texts")).collect()
    }

    /// How the database means to answer, one line per step.
    #[cfg(test)]
    pub(crate) fn explain(&self, statement: Statement) -> Result<String> {
        let sql = format!("explain query plan {}", statement.sql);
        let mut prepared = self.inner.prepare(&sql).map_err(|error| named(statement, error))?;
        let mut rows = prepared.raw_query();
        let mut plan = String::new();
        while let Some(row) = rows.next().map_err(translate)? {
            plan.push_str(&row.get::<_, String>(3).map_err(translate)?);
            plan.push('\n');
        }
        Ok(plan)
    }

    /// How often the statement was planned again after its first planning, over three runs with different values. Its
    /// effects are undone; a run that the database refuses counts like any other.
    #[cfg(test)]
    pub(crate) fn replans(&self, statement: Statement) -> i32 {
        let mut prepared = self.inner.prepare(statement.sql).expect("prepared by another test");
        for value in [1i64, 2, 3] {
            for place in 1..=prepared.parameter_count() {
                prepared.raw_bind_parameter(place, value).expect("a parameter takes a number");
            }
            self.inner.execute_batch("begin").expect("no transaction is open");
            let mut rows = prepared.raw_query();
            while let Ok(Some(_)) = rows.next() {}
            drop(rows);
            self.inner.execute_batch("rollback").expect("the transaction is open");
        }
        prepared.get_status(rusqlite::StatementStatus::RePrepare)
    }

    fn bound(&self, statement: Statement, args: &[Arg]) -> Result<rusqlite::CachedStatement<'_>> {
        let mut prepared = self.inner.prepare_cached(statement.sql).map_err(|error| named(statement, error))?;
        // SQLite numbers `$2` by first appearance, not by its digits; bind each place by the number in its name.
        for place in 1..=prepared.parameter_count() {
            let number = prepared
                .parameter_name(place)
                .and_then(|name| name.strip_prefix('$'))
                .and_then(|digits| digits.parse::<usize>().ok());
            let arg = number
                .and_then(|number| args.get(number.checked_sub(1)?))
                .ok_or_else(|| Error::bug(format!("{}: parameter {place} has no argument", statement.name)))?;
            prepared.raw_bind_parameter(place, arg).map_err(|error| named(statement, error))?;
        }
        Ok(prepared)
    }
}

impl rusqlite::ToSql for Arg {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Int(Some(value)) => ToSqlOutput::Owned(Value::Integer(*value)),
            Self::Text(Some(text)) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Blob(Some(bytes)) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
            Self::Int(None) | Self::Text(None) | Self::Blob(None) => ToSqlOutput::Owned(Value::Null),
        })
    }
}

mod transfer;

struct Cursor<'r> {
    row: &'r rusqlite::Row<'r>,
    next: usize,
}

impl Row for Cursor<'_> {
    fn cell(&mut self) -> Result<Cell<'_>> {
        let value = self.row.get_ref(self.next).map_err(translate)?;
        self.next += 1;
        Ok(match value {
            ValueRef::Null => Cell::Null,
            ValueRef::Integer(value) => Cell::Int(value),
            ValueRef::Text(text) => Cell::Text(
                std::str::from_utf8(text)
                    .map_err(|error| Error::Corrupt { what: "text", detail: error.to_string() })?,
            ),
            ValueRef::Blob(bytes) => Cell::Blob(bytes),
            ValueRef::Real(_) => return Err(Error::Corrupt { what: "number", detail: "a float".into() }),
        })
    }
}

fn unavailable(what: &str, detail: &str) -> Error {
    Error::Unavailable { reason: format!("{what}: {detail}") }
}

fn named(statement: Statement, error: rusqlite::Error) -> Error {
    match translate(error) {
        Error::Database(cause) => Error::bug(format!("{}: {cause}", statement.name)),
        error => error,
    }
}

/// The driver's error in the store's words.
fn translate(error: rusqlite::Error) -> Error {
    let rusqlite::Error::SqliteFailure(failure, detail) = &error else {
        return Error::bug(error);
    };
    let detail = || detail.clone().unwrap_or_else(|| failure.to_string());
    match failure.code {
        ErrorCode::ConstraintViolation => match failure.extended_code {
            ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY => Error::Exists { constraint: detail() },
            ffi::SQLITE_CONSTRAINT_FOREIGNKEY => Error::NotFound { what: "referenced row" },
            _ => Error::bug(error),
        },
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => unavailable(LOCKED, &detail()),
        ErrorCode::DiskFull => unavailable(DISK_FULL, &detail()),
        ErrorCode::ReadOnly => unavailable(DISK_READ_ONLY, &detail()),
        ErrorCode::SystemIoFailure => unavailable(DISK_FAILS, &detail()),
        ErrorCode::CannotOpen | ErrorCode::OutOfMemory | ErrorCode::PermissionDenied => {
            Error::Unavailable { reason: detail() }
        }
        ErrorCode::OperationInterrupted => Error::Busy { reason: "the query took too long" },
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
            Error::Corrupt { what: "database file", detail: detail() }
        }
        _ => Error::bug(error),
    }
}
