//! Reading and filling every table, for `transfer`.

use tokio::sync::mpsc;

use super::{Connection, Cursor, translate};
use crate::error::Result;
use crate::sql::{Arg, Row};
use crate::transfer::{
    EMPTY_WHEN_FRESH, Manifest, Packer, Piece, Rows, Table, Unpacker, arg_of, gone, incomplete, occupied, schema,
    tables,
};

const COLUMNS: &str = "select t.name, c.name, lower(c.type) from sqlite_schema t, pragma_table_info(t.name) c
    where t.type = 'table' and t.name not like 'sqlite_%'";
const REFERENCES: &str = "select distinct t.name, f.\"table\" from sqlite_schema t, pragma_foreign_key_list(t.name) f
    where t.type = 'table'";

impl Connection {
    /// Sends every row; one read transaction, so one moment.
    pub(crate) fn export(&self, rows: &mpsc::Sender<Rows>) -> Result<Manifest> {
        self.control("begin")?;
        let mut counted = Vec::new();
        for table in &self.tables()? {
            let mut packer = Packer::new(table);
            let mut prepared = self.inner.prepare(&table.select()).map_err(translate)?;
            let mut cursor = prepared.raw_query();
            while let Some(row) = cursor.next().map_err(translate)? {
                let mut row = Cursor { row, next: 0 };
                let values =
                    table.columns.values().map(|kind| arg_of(row.cell()?, *kind)).collect::<Result<Vec<_>>>()?;
                if let Some(full) = packer.add(&values) {
                    rows.blocking_send(full).map_err(|_| gone())?;
                }
            }
            let (rest, table) = packer.finish();
            if let Some(rest) = rest {
                rows.blocking_send(rest).map_err(|_| gone())?;
            }
            counted.push(table);
        }
        self.control("commit")?;
        Ok(Manifest { schema: schema(), tables: counted })
    }

    /// Fills an empty database; one transaction.
    pub(crate) fn import(&self, mut pieces: mpsc::Receiver<Piece>) -> Result<Manifest> {
        self.control("begin immediate")?;
        let tables = self.tables()?;
        for name in EMPTY_WHEN_FRESH {
            if self.count(name)? > 0 {
                return Err(occupied(name));
            }
        }
        for table in tables.iter().rev() {
            self.inner.execute(&format!("delete from \"{}\"", table.name), []).map_err(translate)?;
        }
        let mut unpacker = Unpacker::new(tables);
        loop {
            match pieces.blocking_recv() {
                Some(Piece::Rows(piece)) => {
                    let (table, rows) = unpacker.open(&piece)?;
                    self.insert(&table, &rows)?;
                }
                Some(Piece::End(manifest)) => {
                    unpacker.judge(&manifest)?;
                    self.control("commit")?;
                    return Ok(manifest);
                }
                // The connection goes, and the transaction with it.
                None => return Err(incomplete()),
            }
        }
    }

    fn insert(&self, table: &Table, rows: &[Vec<Arg>]) -> Result<()> {
        let places: Vec<String> = (1..=table.columns.len()).map(|place| format!("?{place}")).collect();
        let sql = format!("insert into \"{}\" ({}) values ({})", table.name, table.column_list(), places.join(", "));
        let mut prepared = self.inner.prepare_cached(&sql).map_err(translate)?;
        for row in rows {
            prepared.execute(rusqlite::params_from_iter(row)).map_err(translate)?;
        }
        Ok(())
    }

    fn tables(&self) -> Result<Vec<Table>> {
        tables(self.names(COLUMNS)?, self.names(REFERENCES)?)
    }

    fn names<const N: usize>(&self, sql: &str) -> Result<Vec<[String; N]>> {
        let mut prepared = self.inner.prepare(sql).map_err(translate)?;
        let mut cursor = prepared.raw_query();
        let mut found = Vec::new();
        while let Some(row) = cursor.next().map_err(translate)? {
            let mut names = [const { String::new() }; N];
            for (place, name) in names.iter_mut().enumerate() {
                *name = row.get(place).map_err(translate)?;
            }
            found.push(names);
        }
        Ok(found)
    }

    fn count(&self, table: &str) -> Result<i64> {
        let sql = format!("select count(*) from \"{table}\"");
        self.inner.query_row(&sql, [], |row| row.get(0)).map_err(translate)
    }
}
