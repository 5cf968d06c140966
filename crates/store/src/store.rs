//! The handle everybody holds: opening, writing, the plumbing of reads, bells, closing.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use livery_core::Timestamp;
use livery_core::id::{KeyId, RunId};

use crate::doorbell::{Doorbell, Doorbells};
use crate::error::{Error, Result};
use crate::lock::DatabaseLock;
use crate::observe::{Observer, Watched};
use crate::postgres::{Postgres, PostgresOptions};
use crate::reader::{Lane, Readers};
use crate::sql::{Arg, FromRow, Rows, Statement};
use crate::sqlite::{Access, Connection};
use crate::tx::Tx;
use crate::writer::Writer;

/// Bytes of inputs, outputs, payloads and the like in one page; a page that would hold more is cut and says so.
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How a store is opened.
#[derive(Clone)]
pub struct Options {
    /// Connections for reading; each holds at most 2 MiB of pages.
    pub reader_connections: usize,
    /// Who counts the writes.
    pub observer: Option<Arc<dyn Observer>>,
}

impl Default for Options {
    fn default() -> Self {
        Self { reader_connections: 4, observer: None }
    }
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    doorbells: Arc<Doorbells>,
    /// When a key's last use was last written, so that a busy key costs one write a minute.
    touched: Mutex<HashMap<KeyId, Timestamp>>,
    observer: Option<Arc<dyn Observer>>,
}

enum Engine {
    Sqlite { writer: Writer, readers: Arc<Readers>, lock: Mutex<Option<DatabaseLock>> },
    Postgres(Arc<Postgres>),
}

impl Store {
    /// Opens the database file, creating it with mode 0600 and bringing its schema up to date. Needs a Tokio runtime.
    ///
    /// # Errors
    /// `Unavailable` when another process has it open, the disk refuses, or a newer version wrote it.
    pub async fn open(path: &Path, options: Options) -> Result<Self> {
        let path = path.to_owned();
        let opened = path.clone();
        let (lock, connection) = tokio::task::spawn_blocking(move || {
            let lock = DatabaseLock::take(&opened)?;
            let mut connection = Connection::open(&opened, Access::Write)?;
            connection.migrate()?;
            Ok::<_, Error>((lock, connection))
        })
        .await
        .map_err(Error::bug)??;
        let doorbells = Doorbells::new();
        let writer = Writer::start(path.clone(), connection, Arc::clone(&doorbells), options.observer.clone())?;
        let readers = Readers::new(path, options.reader_connections);
        Ok(Self::over(Engine::Sqlite { writer, readers, lock: Mutex::new(Some(lock)) }, doorbells, options.observer))
    }

    /// Connects to a Postgres database and brings its schema up to date. Many nodes may do so at once. Needs a Tokio
    /// runtime.
    ///
    /// # Errors
    /// `Unavailable` when there is no connection to be had, a schema step fails, or a newer version wrote the schema.
    pub async fn connect(options: &PostgresOptions) -> Result<Self> {
        let doorbells = Doorbells::new();
        let engine = Postgres::connect(options, Arc::clone(&doorbells)).await?;
        Ok(Self::over(Engine::Postgres(engine), doorbells, options.observer.clone()))
    }

    fn over(engine: Engine, doorbells: Arc<Doorbells>, observer: Option<Arc<dyn Observer>>) -> Self {
        Self { inner: Arc::new(Inner { engine, doorbells, touched: Mutex::default(), observer }) }
    }

    /// Whether this process alone has the database. Where it has not, other nodes' leases, claims and reservations are
    /// theirs.
    pub fn is_embedded(&self) -> bool {
        matches!(self.inner.engine, Engine::Sqlite { .. })
    }

    /// Finishes writes that were begun, closes the database (on SQLite: folds the write-ahead log into it and lets another
    /// process open the file), and stops. Later calls on any clone answer `Closed`.
    pub async fn close(self) {
        match &self.inner.engine {
            Engine::Sqlite { writer, readers, lock } => {
                readers.close();
                writer.close().await;
                lock.lock().unwrap_or_else(PoisonError::into_inner).take();
            }
            Engine::Postgres(engine) => engine.close().await,
        }
    }

    /// Runs `operation` in a transaction (on SQLite: in a savepoint of one shared with other writers) and answers after
    /// its commit, when the write is on the disk. If the operation fails, only its own changes are undone.
    ///
    /// The operation holds up others, so it awaits nothing but `Tx` calls; on SQLite one that does fails. An operation
    /// cannot go on after an error of the database, and what it checks before it writes may have changed meanwhile unless
    /// one statement does both.
    ///
    /// # Errors
    /// Those of the operation; `Busy` and `Unavailable` mean that nothing was written, `Unknown` (Postgres alone) that the
    /// answer to the commit was lost.
    pub async fn write<T, F>(&self, operation: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T>> + Send + 'static,
    {
        let watched = Watched::begin(self.inner.observer.as_ref());
        watched.end(match &self.inner.engine {
            Engine::Sqlite { writer, .. } => writer.write(operation).await,
            Engine::Postgres(engine) => engine.write(operation).await,
        })
    }

    /// The same for a write that nobody waits for at the door: a step of a run that was accepted long ago. On Postgres these
    /// share a sixth of the connections, so that a node under load goes on accepting; what it has accepted waits in the queue.
    ///
    /// # Errors
    /// As for [`Store::write`].
    pub async fn write_work<T, F>(&self, operation: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T>> + Send + 'static,
    {
        let watched = Watched::begin(self.inner.observer.as_ref());
        watched.end(match &self.inner.engine {
            Engine::Sqlite { writer, .. } => writer.write(operation).await,
            Engine::Postgres(engine) => engine.write_work(operation).await,
        })
    }

    /// Rings when events of this run were committed. Take it before reading.
    pub fn subscribe_run(&self, run: RunId) -> Doorbell {
        self.inner.doorbells.run(run)
    }

    /// Rings when a run was put into the queue.
    pub fn queue_doorbell(&self) -> Doorbell {
        self.inner.doorbells.queue()
    }

    /// Rings when a delivery became due, or will.
    pub fn delivery_doorbell(&self) -> Doorbell {
        self.inner.doorbells.deliveries()
    }

    /// Rings when a connection, anybody's, was rotated or revoked.
    pub fn connection_doorbell(&self) -> Doorbell {
        self.inner.doorbells.connections()
    }

    pub(crate) fn write_if_idle<F>(&self, operation: F)
    where
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<()>> + Send + 'static,
    {
        match &self.inner.engine {
            Engine::Sqlite { writer, .. } => writer.write_if_idle(operation),
            Engine::Postgres(engine) => engine.write_if_idle(operation),
        }
    }

    pub(crate) fn touched(&self) -> &Mutex<HashMap<KeyId, Timestamp>> {
        &self.inner.touched
    }

    pub(crate) async fn fetch_optional<T: FromRow + Send + 'static>(
        &self,
        statement: Statement,
        args: Vec<Arg>,
    ) -> Result<Option<T>> {
        match &self.inner.engine {
            Engine::Sqlite { readers, .. } => {
                readers.read(Lane::Point, move |connection| connection.fetch_optional(statement, &args)).await
            }
            Engine::Postgres(engine) => engine.fetch_optional(statement, &args).await,
        }
    }

    pub(crate) async fn fetch_all<T: FromRow + Send + 'static>(
        &self,
        lane: Lane,
        statement: Statement,
        args: Vec<Arg>,
    ) -> Result<Vec<T>> {
        match &self.inner.engine {
            Engine::Sqlite { readers, .. } => {
                readers.read(lane, move |connection| connection.fetch_all(statement, &args)).await
            }
            Engine::Postgres(engine) => engine.fetch_all(lane, statement, &args).await,
        }
    }

    /// The rows of one page, within [`PAGE_BYTES_MAX`].
    pub(crate) async fn fetch_page<T: FromRow + Send + 'static>(
        &self,
        lane: Lane,
        statement: Statement,
        args: Vec<Arg>,
    ) -> Result<Rows<T>> {
        match &self.inner.engine {
            Engine::Sqlite { readers, .. } => {
                let query = move |connection: &Connection| connection.fetch_up_to(PAGE_BYTES_MAX, statement, &args);
                readers.read(lane, query).await
            }
            Engine::Postgres(engine) => engine.fetch_up_to(lane, PAGE_BYTES_MAX, statement, &args).await,
        }
    }
}
