//! A real PostgreSQL, and between it and the broker a program or a server that breaks the rules.

mod hostile;
mod program;
mod relayed;
mod walled;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use livery_broker::postgres::{Failure, Session};
use livery_broker::{Broker, Credential, Secret, Slot};
use livery_core::Timestamp;
use livery_core::connector::PostgresServer;
use livery_testkit::Postgres;
use livery_testkit::postgres::{Error, Options};

use crate::call::{broker, tenant};

const USER: &str = "app";
const PASSWORD: &str = "pw-n0t-in-the-sandbox-4fGh7Kq2Zx9";

/// One server for all databases here; it goes with this process.
#[expect(clippy::print_stdout, reason = "a skip is said aloud")]
fn shared() -> Option<&'static Postgres> {
    static SHARED: OnceLock<Option<Postgres>> = OnceLock::new();
    let started = SHARED.get_or_init(|| match Postgres::start_with(Options { fsync: false, max_connections: 50 }) {
        Ok(server) => {
            let role = format!("create role {USER} login password '{PASSWORD}'");
            server.sql("postgres", &role).unwrap();
            Some(server)
        }
        Err(Error::NotInstalled) => None,
        Err(error) => panic!("{error}"),
    });
    if started.is_none() {
        println!("SKIPPED: {}", Error::NotInstalled);
    }
    started.as_ref()
}

/// A database of a test's own, whose tables and sequence the user may change.
struct Site {
    postgres: &'static Postgres,
    database: String,
    broker: Broker,
}

impl Site {
    async fn new() -> Option<Self> {
        tokio::task::spawn_blocking(Self::made).await.unwrap()
    }

    fn made() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let postgres = shared()?;
        let database = format!("shop{}", NEXT.fetch_add(1, Ordering::Relaxed));
        postgres.create_database(&database).unwrap();
        let site = Self { postgres, database, broker: broker() };
        for statement in [
            "grant create on schema public to app",
            "create table users (id int)",
            "insert into users values (1), (2)",
            "alter table users owner to app",
            "create sequence numbers owned by none",
            "alter sequence numbers owner to app",
        ] {
            site.sql(statement);
        }
        Some(site)
    }

    /// As the superuser, beside every session.
    fn sql(&self, statement: &str) -> String {
        self.postgres.sql(&self.database, statement).unwrap()
    }

    /// All that a statement could have changed.
    fn state(&self) -> String {
        self.sql(
            "select (select count(*) from users), (select last_value::text || is_called from numbers), \
             (select count(*) from pg_largeobject_metadata), (select count(*) from pg_class), \
             (select count(*) from pg_locks where locktype = 'advisory'), (select sum(id) from users)",
        )
    }

    fn server(&self, read_only: bool) -> PostgresServer {
        let url = self.postgres.tcp_url(&self.database);
        let port = url.split(':').nth(3).unwrap().split('/').next().unwrap().parse().unwrap();
        server(port, &self.database, read_only)
    }

    async fn session(&self, read_only: bool) -> Session {
        log_in(&self.broker, &self.server(read_only)).await.unwrap()
    }
}

fn server(port: u16, database: &str, read_only: bool) -> PostgresServer {
    PostgresServer {
        host: "127.0.0.1".to_owned(),
        port,
        database: database.to_owned(),
        plaintext: true,
        read_only,
        statement_timeout_s: 30,
        row_limit: 1000,
        search_path: Some("public".to_owned()),
        role: None,
    }
}

async fn log_in(broker: &Broker, server: &PostgresServer) -> Result<Session, Failure> {
    let credential = Credential {
        slot: Slot::Postgres,
        secret: Secret::from(format!("{USER}:{PASSWORD}")),
        owner: "con_1/shop".to_owned(),
        version: 1,
        at: Timestamp::from_micros(0),
    };
    broker.log_in(tenant(1), server, credential).await
}

/// No part of the password that is searched for is in here.
fn assert_absent(text: &str) {
    for window in PASSWORD.as_bytes().windows(16) {
        assert!(!text.contains(std::str::from_utf8(window).unwrap()), "the password is in {text}");
    }
}
