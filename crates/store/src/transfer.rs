//! Moving everything from one database to another, whatever the engines: every table of the schema, row by row.
//!
//! The list of tables is the database's own, parents before children, so a table that is added later moves without being
//! named here. An export sees one moment. An import is one transaction that ends with the counts compared, so one that is
//! interrupted leaves the target as it was.
//!
//! A row is a line: a JSON array of its values in the order of the columns' names; bytes are `{"base64": …}`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::error::{Error, Result};
use crate::lock::DatabaseLock;
use crate::migrations::{MIGRATIONS, Place};
use crate::postgres;
use crate::sql::{Arg, Cell};
use crate::sqlite::{Access, Connection};
use crate::store::Store;

/// Bytes of lines after which a piece is sent on; a row is never cut.
const PIECE_BYTES: usize = 1024 * 1024;
/// Tables that are no data.
pub(crate) const LEFT_OUT: [&str; 1] = ["schema_migrations"];
/// Tables a fresh database has no rows in, even after its first start.
pub(crate) const EMPTY_WHEN_FRESH: [&str; 3] = ["agents", "files", "runs"];

/// Some rows of one table, one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    /// The table.
    pub table: String,
    /// The lines, each with its line feed.
    pub lines: String,
}

/// What an import is given, in order.
#[derive(Debug)]
pub enum Piece {
    /// Rows, tables in the order of the export.
    Rows(Rows),
    /// The end: what the export counted. Without it nothing is kept.
    End(Manifest),
}

/// What an export holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The schema's steps; the target has to have the same.
    pub schema: Vec<String>,
    /// Every table, in the order its rows come.
    pub tables: Vec<Counted>,
}

/// One table of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counted {
    /// Its name.
    pub name: String,
    /// Its columns, in the order of the values in a line.
    pub columns: Vec<String>,
    /// Its rows.
    pub rows: u64,
    /// SHA-256 over its lines, hex.
    pub sha256: String,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Int,
    Text,
    Blob,
}

/// A table as its database describes it.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) name: String,
    /// By name.
    pub(crate) columns: BTreeMap<String, Kind>,
    /// The tables it refers to.
    pub(crate) parents: Vec<String>,
}

impl Table {
    /// The columns as a statement names them.
    pub(crate) fn column_list(&self) -> String {
        self.columns.keys().map(|column| format!("\"{column}\"")).collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn select(&self) -> String {
        format!("select {} from \"{}\"", self.column_list(), self.name)
    }
}

/// Tables from (table, column, type) and (table, table it refers to), parents first.
pub(crate) fn tables(columns: Vec<[String; 3]>, references: Vec<[String; 2]>) -> Result<Vec<Table>> {
    let mut found: BTreeMap<String, Table> = BTreeMap::new();
    for [table, column, kind] in columns {
        let kind = match kind.as_str() {
            "integer" | "bigint" => Kind::Int,
            "text" => Kind::Text,
            "blob" | "bytea" => Kind::Blob,
            other => return Err(Error::bug(format!("{table}.{column} is {other}"))),
        };
        let empty = || Table { name: table.clone(), columns: BTreeMap::new(), parents: Vec::new() };
        found.entry(table.clone()).or_insert_with(empty).columns.insert(column, kind);
    }
    for [table, parent] in references {
        if let Some(table) = found.get_mut(&table).filter(|table| table.name != parent) {
            table.parents.push(parent);
        }
    }
    let mut waiting: Vec<Table> =
        found.into_values().filter(|table| !LEFT_OUT.contains(&table.name.as_str())).collect();
    let mut ordered: Vec<Table> = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let there = |name: &String| ordered.iter().any(|table| table.name == *name);
        let (ready, rest): (Vec<Table>, Vec<Table>) =
            waiting.into_iter().partition(|table| table.parents.iter().all(there));
        if ready.is_empty() {
            return Err(Error::bug("tables refer to each other in a circle"));
        }
        ordered.extend(ready);
        waiting = rest;
    }
    Ok(ordered)
}

pub(crate) fn arg_of(cell: Cell<'_>, kind: Kind) -> Result<Arg> {
    Ok(match (cell, kind) {
        (Cell::Null, Kind::Int) => Arg::Int(None),
        (Cell::Null, Kind::Text) => Arg::Text(None),
        (Cell::Null, Kind::Blob) => Arg::Blob(None),
        (Cell::Int(value), Kind::Int) => Arg::Int(Some(value)),
        (Cell::Text(text), Kind::Text) => Arg::from(text.to_owned()),
        (Cell::Blob(bytes), Kind::Blob) => Arg::from(bytes.to_vec()),
        _ => return Err(Error::Corrupt { what: "row", detail: "a value of another type than its column's".into() }),
    })
}

fn line_of(values: &[Arg]) -> String {
    let values: Vec<Value> = values
        .iter()
        .map(|value| match value {
            Arg::Int(Some(number)) => Value::from(*number),
            Arg::Text(Some(text)) => Value::from(text.as_ref()),
            Arg::Blob(Some(bytes)) => serde_json::json!({"base64": STANDARD.encode(bytes)}),
            Arg::Int(None) | Arg::Text(None) | Arg::Blob(None) => Value::Null,
        })
        .collect();
    format!("{}\n", Value::from(values))
}

fn values_of(line: &str, table: &Table) -> Result<Vec<Arg>> {
    let damaged = || Error::Corrupt { what: "export", detail: format!("a row of {}", table.name) };
    let values: Vec<Value> = serde_json::from_str(line).map_err(|_| damaged())?;
    if values.len() != table.columns.len() {
        return Err(damaged());
    }
    let read = |(value, kind): (Value, &Kind)| match (value, kind) {
        (Value::Null, Kind::Int) => Some(Arg::Int(None)),
        (Value::Null, Kind::Text) => Some(Arg::Text(None)),
        (Value::Null, Kind::Blob) => Some(Arg::Blob(None)),
        (Value::Number(number), Kind::Int) => number.as_i64().map(Arg::from),
        (Value::String(text), Kind::Text) => Some(Arg::from(text)),
        (Value::Object(object), Kind::Blob) => STANDARD.decode(object.get("base64")?.as_str()?).ok().map(Arg::from),
        _ => None,
    };
    values.into_iter().zip(table.columns.values()).map(|pair| read(pair).ok_or_else(damaged)).collect()
}

/// Counts and digests the lines of one table.
struct Tally {
    rows: u64,
    hash: Sha256,
}

impl Tally {
    fn new() -> Self {
        Self { rows: 0, hash: Sha256::new() }
    }

    fn add(&mut self, lines: &str, rows: u64) {
        self.rows += rows;
        self.hash.update(lines);
    }

    fn of(self, table: &Table) -> Counted {
        let sha256 = self.hash.finalize().iter().fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a String cannot fail.
            write!(hex, "{byte:02x}").unwrap_or_default();
            hex
        });
        Counted { name: table.name.clone(), columns: table.columns.keys().cloned().collect(), rows: self.rows, sha256 }
    }
}

/// Makes pieces of one table's rows.
pub(crate) struct Packer<'a> {
    table: &'a Table,
    tally: Tally,
    lines: String,
}

impl<'a> Packer<'a> {
    pub(crate) fn new(table: &'a Table) -> Self {
        Self { table, tally: Tally::new(), lines: String::new() }
    }

    /// Takes a row; a piece when one is full.
    pub(crate) fn add(&mut self, values: &[Arg]) -> Option<Rows> {
        let line = line_of(values);
        self.tally.add(&line, 1);
        self.lines.push_str(&line);
        (self.lines.len() >= PIECE_BYTES).then(|| self.take())
    }

    fn take(&mut self) -> Rows {
        Rows { table: self.table.name.clone(), lines: std::mem::take(&mut self.lines) }
    }

    /// What is left, and what there was in all.
    pub(crate) fn finish(mut self) -> (Option<Rows>, Counted) {
        let rest = (!self.lines.is_empty()).then(|| self.take());
        (rest, self.tally.of(self.table))
    }
}

/// Checks the pieces of an import against its manifest.
pub(crate) struct Unpacker {
    tables: Vec<Table>,
    tallies: BTreeMap<String, Tally>,
}

impl Unpacker {
    pub(crate) fn new(tables: Vec<Table>) -> Self {
        Self { tables, tallies: BTreeMap::new() }
    }

    /// The table and the rows to write into it.
    pub(crate) fn open(&mut self, piece: &Rows) -> Result<(Table, Vec<Vec<Arg>>)> {
        let table = self.tables.iter().find(|table| table.name == piece.table).cloned();
        let unknown = || Error::Corrupt { what: "export", detail: "a table this version does not have".into() };
        let table = table.ok_or_else(unknown)?;
        let rows = piece.lines.lines().map(|line| values_of(line, &table)).collect::<Result<Vec<_>>>()?;
        let tally = self.tallies.entry(table.name.clone()).or_insert_with(Tally::new);
        tally.add(&piece.lines, rows.len() as u64);
        Ok((table, rows))
    }

    /// Whether what came is what the export counted.
    pub(crate) fn judge(mut self, manifest: &Manifest) -> Result<()> {
        if manifest.schema != schema() {
            return Err(Error::Unavailable {
                reason: format!("the export has schema {}, this version {}", manifest.schema.len(), MIGRATIONS.len()),
            });
        }
        let came: Vec<Counted> = self
            .tables
            .iter()
            .map(|table| self.tallies.remove(&table.name).unwrap_or_else(Tally::new).of(table))
            .collect();
        let same = |counted: &Counted| came.iter().any(|table| table == counted);
        match manifest.tables.iter().find(|counted| !same(counted)) {
            Some(table) => {
                Err(Error::Corrupt { what: "export", detail: format!("table {} is not what was counted", table.name) })
            }
            None if manifest.tables.len() != came.len() => {
                Err(Error::Corrupt { what: "export", detail: "tables are missing".into() })
            }
            None => Ok(()),
        }
    }
}

pub(crate) fn schema() -> Vec<String> {
    MIGRATIONS.iter().map(|migration| migration.name.to_owned()).collect()
}

pub(crate) fn gone() -> Error {
    Error::Unavailable { reason: "whoever took the export away went away".into() }
}

pub(crate) fn incomplete() -> Error {
    Error::Corrupt { what: "export", detail: "it has no end; nothing was imported".into() }
}

pub(crate) fn occupied(table: &str) -> Error {
    Error::Unavailable {
        reason: format!("the target is not empty: it has {table}; import into a new database, nothing was changed"),
    }
}

impl Store {
    /// Sends every row of a database, as of one moment; what it counted. A SQLite file must not be in use.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be opened or its schema is not this version's.
    pub async fn system_export(place: Place<'_>, rows: mpsc::Sender<Rows>) -> Result<Manifest> {
        let pending = Self::pending_steps(place).await?;
        if !pending.is_empty() {
            return Err(Error::Unavailable {
                reason: "its schema is older than this version: `livery migrate` first".into(),
            });
        }
        match place {
            Place::File(path) => blocking(path, move |connection| connection.export(&rows)).await,
            Place::Postgres(options) => postgres::transfer::export(options, rows).await,
        }
    }

    /// Fills a new database (or one that only had its first start) in one transaction; what came. Anything but
    /// [`Piece::End`] at the end, or other rows than it counted, leaves the target as it was.
    ///
    /// # Errors
    /// `Unavailable` for a target with data in it, `Corrupt` for pieces that are not what was exported.
    pub async fn system_import(place: Place<'_>, pieces: mpsc::Receiver<Piece>) -> Result<Manifest> {
        Self::migrate(place).await?;
        match place {
            Place::File(path) => blocking(path, move |connection| connection.import(pieces)).await,
            Place::Postgres(options) => postgres::transfer::import(options, pieces).await,
        }
    }
}

async fn blocking<T: Send + 'static>(
    path: &std::path::Path,
    work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
) -> Result<T> {
    let path = path.to_owned();
    let work = move || {
        let _lock = DatabaseLock::take(&path)?;
        work(&Connection::open(&path, Access::Write)?)
    };
    tokio::task::spawn_blocking(work).await.map_err(Error::bug)?
}
