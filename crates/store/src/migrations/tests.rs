use std::collections::BTreeSet;

use crate::postgres::tests::{engine, texts};
use crate::sqlite::{Access, Connection};

/// Columns as (table, name, type, `null` or `not null`), in SQLite's own words for types.
const SQLITE_COLUMNS: &str = "select t.name, c.name, lower(c.type),
        case when c.\"notnull\" = 1 or c.pk > 0 then 'not null' else 'null' end
    from sqlite_schema t, pragma_table_info(t.name) c
    where t.type = 'table' and t.name not like 'sqlite_%' and t.name <> 'schema_migrations'";
const POSTGRES_COLUMNS: &str = "select table_name::text, column_name::text,
        case data_type when 'bigint' then 'integer' when 'bytea' then 'blob' else data_type::text end,
        case is_nullable when 'YES' then 'null' else 'not null' end
    from information_schema.columns where table_schema = 'public' and table_name <> 'schema_migrations'";

/// Indexes as (table, name, uniqueness, columns, whether partial); the name of a primary key is its engine's own business.
const SQLITE_INDEXES: &str = "select t.name, case i.origin when 'c' then i.name else 'primary key' end,
        case i.\"unique\" when 1 then 'unique' else 'plain' end,
        (select group_concat(x.name, ', ') from (select name from pragma_index_info(i.name) order by seqno) x),
        case i.partial when 1 then 'partial' else 'whole' end
    from sqlite_schema t, pragma_index_list(t.name) i
    where t.type = 'table' and t.name not like 'sqlite_%' and t.name <> 'schema_migrations'";
const POSTGRES_INDEXES: &str = "select t.relname::text, case when i.indisprimary then 'primary key' else x.relname::text end,
        case when i.indisunique then 'unique' else 'plain' end,
        (select string_agg(a.attname::text, ', ' order by k.place) from unnest(i.indkey) with ordinality k (number, place)
            join pg_attribute a on a.attrelid = t.oid and a.attnum = k.number),
        case when i.indpred is null then 'whole' else 'partial' end
    from pg_index i join pg_class t on t.oid = i.indrelid join pg_class x on x.oid = i.indexrelid
    where t.relnamespace = 'public'::regnamespace and t.relname <> 'schema_migrations'";

/// Foreign keys as (table, columns, table referred to, columns, what a deletion does).
const SQLITE_REFERENCES: &str =
    "select t.name, group_concat(f.\"from\", ', '), f.\"table\", group_concat(f.\"to\", ', '),
        lower(f.on_delete)
    from sqlite_schema t, pragma_foreign_key_list(t.name) f
    where t.type = 'table' group by t.name, f.id";
const POSTGRES_REFERENCES: &str = "select t.relname::text,
        (select string_agg(a.attname::text, ', ' order by k.place) from unnest(c.conkey) with ordinality k (number, place)
            join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.number),
        r.relname::text,
        (select string_agg(a.attname::text, ', ' order by k.place) from unnest(c.confkey) with ordinality k (number, place)
            join pg_attribute a on a.attrelid = c.confrelid and a.attnum = k.number),
        case c.confdeltype when 'c' then 'cascade' when 'n' then 'set null' when 'r' then 'restrict' else 'no action' end
    from pg_constraint c join pg_class t on t.oid = c.conrelid join pg_class r on r.oid = c.confrelid
    where c.contype = 'f'";

fn set(rows: Vec<Vec<String>>) -> BTreeSet<Vec<String>> {
    rows.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_engines_have_the_same_tables_columns_indexes_and_references() {
    let Some(engine) = engine().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut sqlite = Connection::open(&folder.path().join("test.db"), Access::Write).unwrap();
    sqlite.migrate().unwrap();
    for (what, on_sqlite, on_postgres) in [
        ("column", SQLITE_COLUMNS, POSTGRES_COLUMNS),
        ("index", SQLITE_INDEXES, POSTGRES_INDEXES),
        ("reference", SQLITE_REFERENCES, POSTGRES_REFERENCES),
    ] {
        let (there, here) = (set(sqlite.texts(on_sqlite)), set(texts(&engine, on_postgres).await));
        assert!(there.len() > 15, "{} of {what}", there.len());
        let missing: Vec<_> = there.difference(&here).collect();
        let extra: Vec<_> = here.difference(&there).collect();
        assert!(missing.is_empty() && extra.is_empty(), "{what}: SQLite alone {missing:#?}, Postgres alone {extra:#?}");
    }
}

/// Order and ranges are those of the bytes, as on SQLite, whatever locale the database has.
#[tokio::test(flavor = "multi_thread")]
async fn every_text_on_postgres_is_compared_byte_by_byte() {
    let Some(engine) = engine().await else { return };
    let others = "select table_name::text, column_name::text from information_schema.columns
        where table_schema = 'public' and table_name <> 'schema_migrations' and data_type = 'text'
        and collation_name is distinct from 'C'";
    let others = texts(&engine, others).await;
    assert!(others.is_empty(), "these have to say `text collate \"C\"`: {others:?}");
}
