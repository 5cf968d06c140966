//! Reading and filling every table, for `transfer`.

use std::pin::pin;

use futures_util::TryStreamExt;
use tokio::sync::mpsc;
use tokio_postgres::Client;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::Type;

use super::PostgresOptions;
use super::connection::{Bound, Cursor};
use super::migrate::{ask, with_client};
use crate::error::{Error, Result};
use crate::sql::{Arg, Row};
use crate::transfer::{
    EMPTY_WHEN_FRESH, Kind, Manifest, Packer, Piece, Rows, Table, Unpacker, arg_of, gone, incomplete, occupied, schema,
    tables,
};

const COLUMNS: &str = "select table_name::text, column_name::text, data_type::text from information_schema.columns
    where table_schema = current_schema()";
const REFERENCES: &str = "select distinct t.relname::text, r.relname::text from pg_constraint c
    join pg_class t on t.oid = c.conrelid join pg_class r on r.oid = c.confrelid
    where c.contype = 'f' and t.relnamespace = current_schema()::regnamespace";

/// Sends every row; one snapshot, so one moment.
pub(crate) async fn export(options: &PostgresOptions, rows: mpsc::Sender<Rows>) -> Result<Manifest> {
    with_client(options, async |client| {
        ask(client.batch_execute("begin isolation level repeatable read, read only").await)?;
        let mut counted = Vec::new();
        for table in &all_tables(client).await? {
            let mut packer = Packer::new(table);
            let none: [&Arg; 0] = [];
            let stream = ask(client.query_raw(&table.select(), none.into_iter().map(Bound)).await)?;
            let mut stream = pin!(stream);
            while let Some(row) = ask(stream.try_next().await)? {
                let mut row = Cursor::new(&row);
                let values =
                    table.columns.values().map(|kind| arg_of(row.cell()?, *kind)).collect::<Result<Vec<_>>>()?;
                if let Some(full) = packer.add(&values) {
                    rows.send(full).await.map_err(|_| gone())?;
                }
            }
            let (rest, table) = packer.finish();
            if let Some(rest) = rest {
                rows.send(rest).await.map_err(|_| gone())?;
            }
            counted.push(table);
        }
        ask(client.batch_execute("commit").await)?;
        Ok(Manifest { schema: schema(), tables: counted })
    })
    .await
}

/// Fills an empty database; one transaction, and nobody else in it meanwhile.
pub(crate) async fn import(options: &PostgresOptions, mut pieces: mpsc::Receiver<Piece>) -> Result<Manifest> {
    with_client(options, async |client| {
        ask(client.batch_execute("begin").await)?;
        let tables = all_tables(client).await?;
        for table in tables.iter().rev() {
            ask(client.batch_execute(&format!("lock table \"{}\" in access exclusive mode nowait", table.name)).await)?;
        }
        for name in EMPTY_WHEN_FRESH {
            if !ask(client.query(&format!("select 1 from \"{name}\" limit 1"), &[]).await)?.is_empty() {
                return Err(occupied(name));
            }
        }
        for table in tables.iter().rev() {
            ask(client.batch_execute(&format!("delete from \"{}\"", table.name)).await)?;
        }
        let mut unpacker = Unpacker::new(tables);
        loop {
            match pieces.recv().await {
                Some(Piece::Rows(piece)) => {
                    let (table, rows) = unpacker.open(&piece)?;
                    copy(client, &table, &rows).await?;
                }
                Some(Piece::End(manifest)) => {
                    unpacker.judge(&manifest)?;
                    ask(client.batch_execute("commit").await)?;
                    return Ok(manifest);
                }
                // The connection goes, and the transaction with it.
                None => return Err(incomplete()),
            }
        }
    })
    .await
}

async fn copy(client: &Client, table: &Table, rows: &[Vec<Arg>]) -> Result<()> {
    let sql = format!("copy \"{}\" ({}) from stdin binary", table.name, table.column_list());
    let types: Vec<Type> = table
        .columns
        .values()
        .map(|kind| match kind {
            Kind::Int => Type::INT8,
            Kind::Text => Type::TEXT,
            Kind::Blob => Type::BYTEA,
        })
        .collect();
    let sink = ask(client.copy_in(&sql).await)?;
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
    for row in rows {
        ask(writer.as_mut().write_raw(row.iter().map(Bound)).await)?;
    }
    let written = ask(writer.finish().await)?;
    if written == rows.len() as u64 {
        Ok(())
    } else {
        Err(Error::bug(format!("{written} rows of {} arrived", table.name)))
    }
}

async fn all_tables(client: &Client) -> Result<Vec<Table>> {
    tables(names(client, COLUMNS).await?, names(client, REFERENCES).await?)
}

async fn names<const N: usize>(client: &Client, sql: &str) -> Result<Vec<[String; N]>> {
    let rows = ask(client.query(sql, &[]).await)?;
    let name = |row: &tokio_postgres::Row, place: usize| ask(row.try_get::<_, String>(place));
    rows.iter()
        .map(|row| {
            let mut names = [const { String::new() }; N];
            for (place, slot) in names.iter_mut().enumerate() {
                *slot = name(row, place)?;
            }
            Ok(names)
        })
        .collect()
}
