//! The Postgres of this test process: started once, a database for each test, copied from one that has the schema.

use std::sync::atomic::{AtomicU32, Ordering};

use livery_store::{PostgresOptions, Store};
use livery_testkit::Postgres;
use livery_testkit::postgres::{Error, Options};
use tokio::sync::OnceCell;

/// The database that has the schema and nothing in it.
const TEMPLATE: &str = "house";

static SERVER: OnceCell<Option<Postgres>> = OnceCell::const_new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// A database of its own; gone when dropped.
pub(crate) struct Database {
    server: &'static Postgres,
    name: String,
}

impl Database {
    /// `None`, after saying so, without a server on this machine.
    pub(crate) async fn new() -> Option<Self> {
        let server = SERVER.get_or_init(start).await.as_ref()?;
        let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        let copied = name.clone();
        tokio::task::spawn_blocking(move || server.create_database_from(&copied, TEMPLATE)).await.unwrap().unwrap();
        Some(Self { server, name })
    }

    pub(crate) fn options(&self) -> PostgresOptions {
        options(&self.server.url(&self.name))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Some hundred of them would fill a small disk; the server goes with the process anyway.
        drop(self.server.sql("postgres", &format!("drop database if exists \"{}\" with (force)", self.name)));
    }
}

/// Few connections: many tests run at once.
pub(crate) fn options(url: &str) -> PostgresOptions {
    let mut options = PostgresOptions::from_url(url).unwrap();
    (options.write_connections, options.read_connections) = (Some(6), 3);
    options
}

async fn start() -> Option<Postgres> {
    let server = server(Options { fsync: false, max_connections: 400 }).await?;
    let template = server.create_database(TEMPLATE).unwrap();
    Store::connect(&options(&template)).await.unwrap().close().await;
    Some(server)
}

/// A server of one test's own, to be stopped and killed.
pub(crate) async fn server(how: Options) -> Option<Postgres> {
    match tokio::task::spawn_blocking(move || Postgres::start_with(how)).await.unwrap() {
        Ok(server) => Some(server),
        Err(error @ Error::NotInstalled) => {
            eprintln!("SKIPPED: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}
