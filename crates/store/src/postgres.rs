//! The Postgres engine: two pools, one transaction per write, a bell between nodes.
//!
//! A write is its own READ COMMITTED transaction on a connection of the write pool, concurrently with the others; the
//! server groups their commits. A read has its own pool, so it never waits behind writes, and its connections refuse to
//! write. Statements whose result nobody reads travel with the next one that is read (`transaction`), so that a write
//! costs two or three round trips, however many statements it has.
//!
//! Nothing waits without end: for a connection, a lock, a statement, a whole write. What was not committed is answered
//! `Busy` or `Unavailable`; a commit whose answer was lost is `Unknown`.
//!
//! Walk on: `options` is the address, `connection` lends and asks, `transaction` is a write, `bells` the news between nodes.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::doorbell::Doorbells;
use crate::error::{Error, Result};
use crate::observe::Observer;
use crate::postgres::bells::Bells;
use crate::postgres::connection::Lent;
use crate::reader::Lane;
use crate::sql::{Arg, FromRow, Rows, Statement};
use crate::tx::Tx;

mod bells;
mod connection;
mod errors;
pub(crate) mod migrate;
mod options;
mod tls;
mod transaction;
pub(crate) mod transfer;

pub use options::PostgresOptions;
pub(crate) use transaction::Transaction;

/// How long a caller waits for a connection's turn.
const TURN_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long a new connection may take, from the address to the first answer.
pub(crate) const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a write may take from its first statement to its last; then it is given up, unwritten.
const WRITE_TIME_MAX: Duration = Duration::from_secs(30);
/// How long the server works on one statement of a reader.
const READ_STATEMENT_TIME_MAX: Duration = Duration::from_secs(5);
/// How long the server works on one statement of a write.
const WRITE_STATEMENT_TIME_MAX: Duration = Duration::from_secs(15);
/// How long a write waits for a row another write holds.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long the server keeps a transaction whose client fell silent.
const IDLE_TRANSACTION_MAX: Duration = Duration::from_secs(30);
/// How many nodes a server's connections have to do for, unless it is told to take more.
const NODES_EXPECTED: usize = 3;
/// Fewest and most transactions a node has open at once, where nobody says how many.
const WRITES_MIN: usize = 12;
const WRITES_MAX: usize = 32;
/// Writes that can wait have one of so many connections, and no fewer than this.
const WORK_SHARE: usize = 6;
const WORK_MIN: usize = 4;
/// After how many uses a connection's plans are made anew. The server keeps the plan of a prepared statement until it has
/// new statistics, and those of a young table come late: a plan made when the table was empty, which may read all of a
/// tenant's rows for one of them, would stay while the table grows by thousands of rows a minute.
const PLANS_KEPT_UNTIL: [usize; 6] = [50, 250, 1_000, 4_000, 16_000, 64_000];
/// How long an answer may take beyond what the server allows the statement.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);

/// The engine.
pub(crate) struct Postgres {
    writers: Lenders,
    /// A write that can wait takes one of these first: the others stay for what a caller waits for.
    work: Arc<Semaphore>,
    readers: Lenders,
    /// A scan takes one of these first: half of the connections stay for points.
    scans: Arc<Semaphore>,
    /// Writes under way: they end even if nobody waits for them any more.
    writes: TaskTracker,
    bells: Bells,
    doorbells: Arc<Doorbells>,
    observer: Option<Arc<dyn Observer>>,
}

/// A pool, and who may take from it.
struct Lenders {
    pool: Pool,
    permits: Arc<Semaphore>,
}

impl Postgres {
    /// Connects, brings the schema up to date and listens for the other nodes' news.
    pub(crate) async fn connect(options: &PostgresOptions, doorbells: Arc<Doorbells>) -> Result<Arc<Self>> {
        migrate::up(options).await?;
        let writes = match options.write_connections {
            Some(connections) => connections,
            None => share_of(migrate::room(options).await?, options.read_connections),
        };
        let writers = Lenders::new(options, Access::Write, writes)?;
        let readers = Lenders::new(options, Access::Read, options.read_connections)?;
        let bells = Bells::hang(options, Arc::clone(&doorbells)).await?;
        let scans = Arc::new(Semaphore::new(options.read_connections.max(1).div_ceil(2)));
        let work = Arc::new(Semaphore::new((writes / WORK_SHARE).max(WORK_MIN)));
        let (writes, observer) = (TaskTracker::new(), options.observer.clone());
        Ok(Arc::new(Self { writers, work, readers, scans, writes, bells, doorbells, observer }))
    }

    /// Runs `operation` in a transaction and answers after its commit.
    pub(crate) async fn write<T, F>(self: &Arc<Self>, operation: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T>> + Send + 'static,
    {
        let turn = take(&self.writers.permits).await?;
        let engine = Arc::clone(self);
        // A task of its own: a caller that goes away leaves no transaction half done.
        let work = self.writes.spawn(async move {
            let _turn = turn;
            engine.perform(operation).await
        });
        match work.await {
            Ok(answer) => answer,
            Err(error) if error.is_panic() => Err(Error::bug("an operation panicked")),
            Err(_) => Err(Error::Closed),
        }
    }

    /// The same for a write that can wait a little.
    pub(crate) async fn write_work<T, F>(self: &Arc<Self>, operation: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T>> + Send + 'static,
    {
        let _turn = take(&self.work).await?;
        self.write(operation).await
    }

    /// Runs `operation` without anybody waiting for it, if a connection is idle.
    pub(crate) fn write_if_idle<F>(self: &Arc<Self>, operation: F)
    where
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<()>> + Send + 'static,
    {
        let turn = match Arc::clone(&self.writers.permits).try_acquire_owned() {
            Ok(turn) => turn,
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => {
                return tracing::debug!("an optional write was left out: no connection is idle");
            }
        };
        let engine = Arc::clone(self);
        self.writes.spawn(async move {
            let _turn = turn;
            if let Err(error) = engine.perform(operation).await {
                tracing::warn!(%error, "an optional write failed");
            }
        });
    }

    async fn perform<T, F>(&self, operation: F) -> Result<T>
    where
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T>> + Send,
    {
        let mut tx = Tx::on_postgres(Transaction::new(self.writers.lend().await?));
        match timeout(WRITE_TIME_MAX, operation(&mut tx)).await {
            Ok(Ok(value)) => {
                let rings = tx.commit().await?;
                self.doorbells.ring(&rings);
                self.bells.tell(&rings);
                if let Some(observer) = &self.observer {
                    observer.committed(1);
                }
                Ok(value)
            }
            Ok(Err(error)) => {
                tx.rollback().await;
                Err(error)
            }
            // The connection goes with the transaction, and the server undoes what it had of it.
            Err(_) => Err(Error::Busy { reason: "the write took too long" }),
        }
    }

    /// The first row, if any.
    pub(crate) async fn fetch_optional<T: FromRow>(&self, statement: Statement, args: &[Arg]) -> Result<Option<T>> {
        let fetched: Rows<T> = self.fetch_up_to(Lane::Point, usize::MAX, statement, args).await?;
        Ok(fetched.rows.into_iter().next())
    }

    /// All rows. Every statement bounds its own number of rows.
    pub(crate) async fn fetch_all<T: FromRow>(&self, lane: Lane, statement: Statement, args: &[Arg]) -> Result<Vec<T>> {
        Ok(self.fetch_up_to(lane, usize::MAX, statement, args).await?.rows)
    }

    /// Rows until they weigh more than `budget`, and at least one.
    pub(crate) async fn fetch_up_to<T: FromRow>(
        &self,
        lane: Lane,
        budget: usize,
        statement: Statement,
        args: &[Arg],
    ) -> Result<Rows<T>> {
        let _scan = match lane {
            Lane::Point => None,
            Lane::Scan => Some(take(&self.scans).await?),
        };
        let _turn = take(&self.readers.permits).await?;
        let first = self.readers.lend().await?.fetch_up_to(budget, statement, args).await;
        match first {
            // An idle connection the server closed is noticed only when it is used: a read may simply be asked again.
            Err(Error::Unavailable { .. }) => self.readers.lend().await?.fetch_up_to(budget, statement, args).await,
            answer => answer,
        }
    }

    /// Lets the writes under way end, tells the last news and closes every connection.
    pub(crate) async fn close(&self) {
        self.readers.permits.close();
        self.scans.close();
        self.work.close();
        self.writers.permits.close();
        self.writes.close();
        // Bounded: each has its turn already, and its own deadline.
        self.writes.wait().await;
        self.bells.close().await;
        self.readers.pool.close();
        self.writers.pool.close();
    }

    /// A connection for the tests that look at the database itself.
    #[cfg(test)]
    pub(crate) async fn lend_writer(&self) -> Result<Lent> {
        self.writers.lend().await
    }
}

/// Connections for writes beside so many for reads and the one for news, on a server with room for so many in all. A
/// commit mostly waits for the disk, and those that wait together share its next turn: what a node writes a second grows
/// with how many it has open.
fn share_of(room: usize, reads: usize) -> usize {
    (room / NODES_EXPECTED).saturating_sub(reads + 1).clamp(WRITES_MIN, WRITES_MAX)
}

/// What a pool's connections are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Write,
    Read,
}

impl Access {
    /// What each connection is told before its first use.
    fn settings(self) -> String {
        let statement = match self {
            Self::Write => WRITE_STATEMENT_TIME_MAX,
            Self::Read => READ_STATEMENT_TIME_MAX,
        };
        let read_only = if self == Self::Read { "on" } else { "off" };
        // Every write finds its rows by keys, whatever their values: to plan it once is enough, not five times and one.
        let plans = if self == Self::Write { "; set plan_cache_mode = force_generic_plan" } else { "" };
        format!(
            "set statement_timeout = {}; set lock_timeout = {}; set idle_in_transaction_session_timeout = {}; \
             set default_transaction_read_only = {read_only}; set default_transaction_isolation = 'read committed'{plans}",
            statement.as_millis(),
            LOCK_WAIT_MAX.as_millis(),
            IDLE_TRANSACTION_MAX.as_millis(),
        )
    }
}

impl Lenders {
    fn new(options: &PostgresOptions, access: Access, connections: usize) -> Result<Self> {
        let connections = connections.max(1);
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(options.config().clone(), options.tls()?, recycling);
        let settings: Arc<str> = access.settings().into();
        let hook = Hook::async_fn(move |client: &mut deadpool_postgres::ClientWrapper, _| {
            let settings = Arc::clone(&settings);
            Box::pin(async move { client.batch_execute(&settings).await.map_err(HookError::Backend) })
        });
        let pool = Pool::builder(manager)
            .max_size(connections)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(TURN_WAIT_MAX))
            .create_timeout(Some(CONNECT_TIME_MAX))
            .recycle_timeout(Some(CONNECT_TIME_MAX))
            .post_create(hook)
            .build()
            .map_err(Error::bug)?;
        Ok(Self { pool, permits: Arc::new(Semaphore::new(connections)) })
    }

    async fn lend(&self) -> Result<Lent> {
        let client = self.pool.get().await.map_err(errors::of_pool)?;
        if PLANS_KEPT_UNTIL.contains(&Object::metrics(&client).recycle_count) {
            forget_plans(&client).await?;
        }
        Ok(Lent::new(client))
    }
}

async fn forget_plans(client: &Object) -> Result<()> {
    match timeout(ANSWER_WAIT_MAX, client.batch_execute("discard plans")).await {
        Ok(forgotten) => forgotten.map_err(|error| errors::translate(&error)),
        Err(_) => Err(Error::Unavailable { reason: "the database did not answer in time".into() }),
    }
}

async fn take(permits: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit> {
    match timeout(TURN_WAIT_MAX, Arc::clone(permits).acquire_owned()).await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) => Err(Error::Closed),
        Err(_) => Err(Error::Busy { reason: "no database connection became free" }),
    }
}

#[cfg(test)]
pub(crate) mod tests;
