use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use livery_testkit::postgres::{Error as ServerError, Options};
use tokio::sync::OnceCell;
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::types::Type;

use super::{Postgres, PostgresOptions};
use crate::Error;
use crate::doorbell::Doorbells;
use crate::reader::Lane;
use crate::sql::Statement;

static SERVER: OnceCell<Option<livery_testkit::Postgres>> = OnceCell::const_new();

/// An engine on an empty database with the schema. `None`, after saying so, without a server on this machine.
pub(crate) async fn engine() -> Option<Arc<Postgres>> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let start = || livery_testkit::Postgres::start_with(Options { fsync: false, ..Options::default() });
    let server = SERVER
        .get_or_init(async || match tokio::task::spawn_blocking(start).await.unwrap() {
            Ok(server) => Some(server),
            Err(error @ ServerError::NotInstalled) => {
                eprintln!("SKIPPED: {error}");
                None
            }
            Err(error) => panic!("{error}"),
        })
        .await
        .as_ref()?;
    let name = format!("unit_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let url = tokio::task::spawn_blocking(move || server.create_database(&name)).await.unwrap().unwrap();
    let mut options = PostgresOptions::from_url(&url).unwrap();
    (options.write_connections, options.read_connections) = (Some(2), 2);
    Some(Postgres::connect(&options, Doorbells::new()).await.unwrap())
}

/// Rows of any query as texts, for the tests of the schema.
pub(crate) async fn texts(engine: &Postgres, sql: &str) -> Vec<Vec<String>> {
    let lent = engine.lend_writer().await.unwrap();
    let rows = lent.client().unwrap().query(sql, &[]).await.unwrap();
    rows.iter().map(|row| (0..row.len()).map(|place| row.get(place)).collect()).collect()
}

/// What Postgres makes of a statement: the types of its parameters and columns.
pub(crate) async fn types(engine: &Postgres, statement: Statement) -> Result<(Vec<Type>, Vec<Type>), String> {
    let lent = engine.lend_writer().await.unwrap();
    let prepared = lent.client().unwrap().prepare(statement.postgres_sql()).await;
    let prepared =
        prepared.map_err(|error| error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string))?;
    Ok((prepared.params().to_vec(), prepared.columns().iter().map(|column| column.type_().clone()).collect()))
}

/// How Postgres executes a statement whatever is bound to it.
pub(crate) async fn generic_plan(engine: &Postgres, statement: Statement) -> String {
    let lent = engine.lend_writer().await.unwrap();
    let client = lent.client().unwrap();
    let (sql, params) = (statement.postgres_sql(), types(engine, statement).await.unwrap().0);
    let nulls = if params.is_empty() { String::new() } else { format!("({})", vec!["null"; params.len()].join(", ")) };
    let asked =
        format!("set plan_cache_mode = force_generic_plan; prepare asked as {sql}; explain execute asked{nulls};");
    let answer = client.simple_query(&format!("{asked} deallocate asked; reset plan_cache_mode")).await.unwrap();
    let line = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    };
    answer.iter().filter_map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn three_nodes_fit_a_server_and_one_has_enough() {
    // The server's own default is 100, of which 3 are kept back.
    assert_eq!(super::share_of(97, 8), 23);
    assert!(3 * (super::share_of(97, 8) + 8 + 1) <= 97);
    assert_eq!((super::share_of(20, 8), super::share_of(5000, 8)), (12, 32));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_cannot_write_and_an_endless_query_is_given_up() {
    let Some(engine) = engine().await else { return };
    let write = Statement::new("WRITE", "insert into meta (key, value) values ('a', 'b') returning key");
    let refused = engine.fetch_optional::<(String,)>(write, &[]).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
    let endless = Statement::new(
        "ENDLESS",
        "with recursive n (i) as (select 1 union all select i + 1 from n) select count(*) from n",
    );
    let count = Statement::new("COUNT", "select count(*) from meta");
    let scans = [(); 2].map(|()| engine.fetch_all::<(i64,)>(Lane::Scan, endless, &[]));
    let point = engine.fetch_optional::<(i64,)>(count, &[]);
    // Both scans want a connection, one has it; the point gets the other.
    let [first, second] = scans;
    let (first, second, point) = tokio::join!(first, second, point);
    assert_eq!(point.unwrap(), Some((0,)));
    assert!(matches!(first, Err(Error::Busy { .. })) && matches!(second, Err(Error::Busy { .. })));
    assert_eq!(engine.fetch_optional::<(i64,)>(count, &[]).await.unwrap(), Some((0,)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_argument_of_another_type_is_a_bug_that_is_named() {
    let Some(engine) = engine().await else { return };
    let statement = Statement::new("BY_KEY", "select value from meta where key = $1");
    let refused = engine.fetch_optional::<(String,)>(statement, &[1i64.into()]).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("BY_KEY"), "{refused}");
}
