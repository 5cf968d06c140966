//! A copy of the SQLite database as it is at one moment, taken beside a server at work, and what can be checked about one.
//!
//! Synchronous, for commands that have nothing else to do. Reading never holds up the server's writes; its write-ahead log
//! only grows until the copy is made.

use std::path::Path;

use livery_core::id::FileId;

use crate::error::{Error, Result};
use crate::event_rows;
use crate::files::{FileRow, file_columns};
use crate::json::Json;
use crate::migrations::MIGRATIONS;
use crate::sql::{FromRow, Row, Statement, args, statements};
use crate::sqlite::{Access, Connection};

/// Rows read at a time.
const PAGE_ROWS: u32 = 1000;

statements! {
    COUNTS = "select (select count(*) from organizations), (select count(*) from runs), (select count(*) from events),
        (select count(*) from files)";
    FILES = concat!("select ", file_columns!(), " from files f where f.id > $1 order by f.id limit $2");
    LOG = "select e.stream, e.seq, e.digest, p.data
        from events e left join event_payloads p on p.stream = e.stream and p.seq = e.seq
        where (e.stream, e.seq) > ($1, $2) order by e.stream, e.seq limit $3";
    HEADLESS = "select count(*) from runs r
        where r.last_seq <> (select coalesce(max(e.seq), 0) from events e where e.stream = r.id)";
    SCHEMA = "select coalesce(max(version), 0) from schema_migrations";
}

/// A database file that no server works on.
pub struct Snapshot {
    connection: Connection,
}

/// How much is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Organizations.
    pub organizations: u64,
    /// Runs, in any state.
    pub runs: u64,
    /// Events of all streams.
    pub events: u64,
    /// Files.
    pub files: u64,
}

impl FromRow for Counts {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self { organizations: row.take()?, runs: row.take()?, events: row.take()?, files: row.take()? })
    }
}

struct Logged {
    stream: String,
    seq: u64,
    digest: String,
    data: Option<Json>,
}

impl FromRow for Logged {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self { stream: row.take()?, seq: row.take()?, digest: row.take()?, data: row.take()? })
    }
}

impl Snapshot {
    /// Copies the database at `database` into the new file `into`, as of now. A server may be at work on it.
    ///
    /// # Errors
    /// `Unavailable` when either cannot be read or written.
    pub fn take(database: &Path, into: &Path) -> Result<Self> {
        Connection::open(database, Access::Read)?.copy_into(into)?;
        Self::open(into)
    }

    /// Opens a copy.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be read, `Corrupt` when it is no database.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self { connection: Connection::open(path, Access::Read)? })
    }

    /// The version of its schema, when this Livery knows it.
    ///
    /// # Errors
    /// `Unavailable` for a schema of a newer Livery.
    pub fn schema(&self) -> Result<u32> {
        let (schema,) = self.only::<(u32,)>(SCHEMA)?.unwrap_or_default();
        if schema as usize > MIGRATIONS.len() {
            let reason = format!("the backup has schema {schema}, this version knows {}", MIGRATIONS.len());
            return Err(Error::Unavailable { reason });
        }
        Ok(schema)
    }

    /// The one row of a statement without arguments.
    fn only<T: FromRow>(&self, statement: Statement) -> Result<Option<T>> {
        self.connection.fetch_optional(statement, &[])
    }

    /// How much is in it.
    ///
    /// # Errors
    /// Those of the database.
    pub fn counts(&self) -> Result<Counts> {
        self.only(COUNTS)?.ok_or_else(|| Error::bug("no counts"))
    }

    /// The files whose id follows `after`, a page at a time; empty at the end.
    ///
    /// # Errors
    /// Those of the database.
    pub fn files_after(&self, after: Option<FileId>) -> Result<Vec<FileRow>> {
        let args = args![after.unwrap_or(FileId::from_bits(0)), PAGE_ROWS];
        self.connection.fetch_all(FILES, &args)
    }

    /// Checks the pages of the file, and the log: every stream counts from 1 without a gap up to its run's head, and every
    /// payload that is there has the digest of its header.
    ///
    /// # Errors
    /// `Corrupt`, naming the first thing that is wrong.
    pub fn check(&self) -> Result<()> {
        self.connection.quick_check()?;
        let broken = |detail: String| Error::Corrupt { what: "log", detail };
        let (mut stream, mut seq) = (String::new(), 0);
        loop {
            let args = args![stream.clone(), seq, PAGE_ROWS];
            let page: Vec<Logged> = self.connection.fetch_all(LOG, &args)?;
            if page.is_empty() {
                break;
            }
            for event in page {
                let expected = if event.stream == stream { seq + 1 } else { 1 };
                if event.seq != expected {
                    return Err(broken(format!("{} has no event {expected}", event.stream)));
                }
                if event.data.is_some_and(|data| event_rows::digest(&data) != event.digest) {
                    return Err(broken(format!("event {} of {} is not what was written", event.seq, event.stream)));
                }
                (stream, seq) = (event.stream, event.seq);
            }
        }
        match self.only::<(u64,)>(HEADLESS)? {
            Some((0,)) | None => Ok(()),
            Some((runs,)) => Err(broken(format!("{runs} runs do not have the last event their row names"))),
        }
    }
}
