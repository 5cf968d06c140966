//! The writer: one thread, one connection, one transaction for as many operations as are waiting.
//!
//! A commit costs one `fdatasync`; the operations that arrive during it share the next. Each can be undone alone, so a
//! failing one leaves its neighbours in peace; if the commit fails, all of its batch fail. Nobody is answered, and no doorbell
//! rings, before the commit.
//!
//! Refuses: operations that waited too long (they get `Busy` and certainly did not happen), that panic (caught, rolled
//! back), or that await anything but the database (everybody else would wait with them).

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::doorbell::Doorbells;
use crate::error::{Error, Result};
use crate::observe::Observer;
use crate::sqlite::{Access, Connection};
use crate::tx::Tx;

/// Operations waiting for the writer; a caller beyond that waits for a place.
const QUEUE_MAX: usize = 4096;
/// Operations that share one commit.
const BATCH_MAX: usize = 512;
/// How long a batch takes in further operations before it commits.
const BATCH_TIME_MAX: Duration = Duration::from_millis(10);
/// How long a caller waits for a place in the queue and then for its turn.
const TURN_WAIT_MAX: Duration = Duration::from_secs(10);

/// The handle to the writer thread.
pub(crate) struct Writer {
    queue: mpsc::Sender<Message>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

enum Message {
    Operation(Box<dyn Operation>),
    Close(oneshot::Sender<()>),
}

impl Writer {
    /// Starts the thread over an open, migrated connection.
    pub(crate) fn start(
        path: PathBuf,
        connection: Connection,
        doorbells: Arc<Doorbells>,
        observer: Option<Arc<dyn Observer>>,
    ) -> Result<Self> {
        let (queue, inbox) = mpsc::channel(QUEUE_MAX);
        let loop_ = Loop { path, connection: Some(connection), doorbells, observer };
        let thread = std::thread::Builder::new()
            .name("livery-writer".into())
            .spawn(move || loop_.run(inbox))
            .map_err(|error| Error::Unavailable { reason: format!("no thread for the writer: {error}") })?;
        Ok(Self { queue, thread: Mutex::new(Some(thread)) })
    }

    /// Runs `operation` and answers after its commit.
    pub(crate) async fn write<T, F>(&self, operation: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T>> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let deadline = Instant::now() + TURN_WAIT_MAX;
        let job = Job { operation: Some(operation), result: None, answer, deadline };
        match timeout(TURN_WAIT_MAX, self.queue.send(Message::Operation(Box::new(job)))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(Error::Closed),
            Err(_) => return Err(Error::Busy { reason: "the write queue is full" }),
        }
        // Bounded: the turn by the deadline, the commit by the busy timeout, and an operation only computes.
        answered.await.unwrap_or(Err(Error::Closed))
    }

    /// Queues `operation` without waiting for it; dropped when the queue is full.
    pub(crate) fn write_if_idle<F>(&self, operation: F)
    where
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<()>> + Send + 'static,
    {
        let (answer, _) = oneshot::channel();
        let deadline = Instant::now() + TURN_WAIT_MAX;
        let job = Unheard(Job { operation: Some(operation), result: None, answer, deadline });
        if self.queue.try_send(Message::Operation(Box::new(job))).is_err() {
            tracing::debug!("an optional write was left out: the queue is full or closed");
        }
    }

    /// Lets everything queued finish, then ends the thread.
    pub(crate) async fn close(&self) {
        let (done, finished) = oneshot::channel();
        if self.queue.send(Message::Close(done)).await.is_ok() {
            // An error means that the thread is gone already, which is what was wanted.
            finished.await.unwrap_or_default();
        }
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the writer thread had panicked");
        }
    }
}

/// An operation with its answer's type hidden.
trait Operation: Send {
    /// Whether nobody waits any more, or its turn came too late: then it must not start.
    fn refuse(&mut self, now: Instant) -> bool;
    /// Runs it and keeps its result. `true` when it succeeded.
    fn run(&mut self, tx: &mut Tx) -> bool;
    /// What went wrong with it, when the store itself was the reason.
    fn outage(&self) -> Option<Error>;
    /// Gives it an error in place of a result.
    fn fail(&mut self, error: Error);
    /// Answers the caller with what is kept.
    fn answer(self: Box<Self>);
}

struct Job<T, F> {
    operation: Option<F>,
    result: Option<Result<T>>,
    answer: oneshot::Sender<Result<T>>,
    deadline: Instant,
}

impl<T, F> Operation for Job<T, F>
where
    T: Send + 'static,
    F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T>> + Send + 'static,
{
    fn refuse(&mut self, now: Instant) -> bool {
        if now >= self.deadline {
            self.result = Some(Err(Error::Busy { reason: "the write did not get its turn in time" }));
        }
        self.result.is_some() || self.answer.is_closed()
    }

    fn run(&mut self, tx: &mut Tx) -> bool {
        let Some(operation) = self.operation.take() else { return false };
        // SQLite answers at once, so an operation that only asks the database is ready at the first look.
        let work = AssertUnwindSafe(async move { operation(tx).await }).catch_unwind();
        let result = match work.now_or_never() {
            Some(Ok(result)) => result,
            Some(Err(_panic)) => Err(Error::bug("an operation panicked")),
            None => Err(Error::bug("an operation waited for something else than the database")),
        };
        let succeeded = result.is_ok();
        self.result = Some(result);
        succeeded
    }

    fn outage(&self) -> Option<Error> {
        match &self.result {
            Some(Err(error @ Error::Unavailable { .. })) => Some(error.clone()),
            _ => None,
        }
    }

    fn fail(&mut self, error: Error) {
        self.result = Some(Err(error));
    }

    fn answer(self: Box<Self>) {
        if let Some(result) = self.result {
            // A caller that went away wants no answer; its write stands.
            drop(self.answer.send(result));
        }
    }
}

/// A job nobody waits for: it runs all the same.
struct Unheard<O>(O);

impl<F> Operation for Unheard<Job<(), F>>
where
    F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<()>> + Send + 'static,
{
    fn refuse(&mut self, now: Instant) -> bool {
        now >= self.0.deadline
    }

    fn run(&mut self, tx: &mut Tx) -> bool {
        self.0.run(tx)
    }

    fn outage(&self) -> Option<Error> {
        self.0.outage()
    }

    fn fail(&mut self, error: Error) {
        self.0.fail(error);
    }

    fn answer(self: Box<Self>) {
        if let Some(Err(error)) = self.0.result {
            tracing::warn!(%error, "an optional write failed");
        }
    }
}

/// How an operation that fails is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Undo {
    /// It is the first of its batch: the whole transaction so far is its own. Saves a lone write the savepoint.
    Transaction,
    /// Others came before it.
    Savepoint,
}

struct Loop {
    path: PathBuf,
    /// `None` after an error that left the connection in doubt: the next batch opens it anew.
    connection: Option<Connection>,
    doorbells: Arc<Doorbells>,
    observer: Option<Arc<dyn Observer>>,
}

impl Loop {
    fn run(mut self, mut inbox: mpsc::Receiver<Message>) {
        while let Some(message) = inbox.blocking_recv() {
            let close = match message {
                Message::Operation(first) => self.batch(first, &mut inbox),
                Message::Close(done) => Some(done),
            };
            if let Some(done) = close {
                // Nothing new from here on; what is queued is still done.
                inbox.close();
                while let Some(message) = inbox.blocking_recv() {
                    if let Message::Operation(first) = message {
                        self.batch(first, &mut inbox);
                    }
                }
                self.finish();
                // The one who closed may have gone; the thread ends either way.
                return done.send(()).unwrap_or_default();
            }
        }
        self.finish();
    }

    fn finish(&mut self) {
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.checkpoint()
        {
            tracing::warn!(%error, "the write-ahead log was not folded into the database; the next start does it");
        }
    }

    /// One transaction. Answers a close request met on the way.
    fn batch(&mut self, first: Box<dyn Operation>, inbox: &mut mpsc::Receiver<Message>) -> Option<oneshot::Sender<()>> {
        let started = Instant::now();
        let mut done: Vec<Box<dyn Operation>> = Vec::new();
        let mut close = None;
        let mut tx = match self.begin() {
            Ok(tx) => tx,
            Err(error) => {
                let mut first = first;
                first.fail(error);
                first.answer();
                return None;
            }
        };
        let mut next = Some(first);
        let mut broken = None;
        while let Some(mut operation) = next.take() {
            if !operation.refuse(Instant::now()) {
                let undo = if done.is_empty() { Undo::Transaction } else { Undo::Savepoint };
                broken = Self::perform(&mut tx, operation.as_mut(), undo).err();
            }
            done.push(operation);
            if broken.is_some() || done.len() >= BATCH_MAX || started.elapsed() >= BATCH_TIME_MAX {
                break;
            }
            match inbox.try_recv() {
                Ok(Message::Operation(operation)) => next = Some(operation),
                Ok(Message::Close(sender)) => close = Some(sender),
                Err(_) => {}
            }
        }
        let committed = match broken {
            Some(error) => Err(error),
            None => tx.sqlite().and_then(|connection| connection.control("commit")),
        };
        self.settle(tx, committed, done);
        close
    }

    fn begin(&mut self) -> Result<Tx> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&self.path, Access::Write)?,
        };
        if let Err(error) = connection.control("begin immediate") {
            // Locked or full: the connection itself is sound when no transaction is open.
            self.connection = connection.is_idle().then_some(connection);
            return Err(error);
        }
        Ok(Tx::on_sqlite(connection))
    }

    /// Runs one operation so that it can be undone alone. An error here is the transaction's, not the operation's.
    fn perform(tx: &mut Tx, operation: &mut dyn Operation, undo: Undo) -> Result<()> {
        if undo == Undo::Savepoint {
            tx.sqlite()?.control("savepoint operation")?;
        }
        let before = (tx.rings.runs.len(), tx.rings.queue, tx.rings.deliveries);
        let succeeded = operation.run(tx);
        if !succeeded {
            if tx.sqlite()?.is_idle() {
                let given_up = || Error::Unavailable { reason: "the database gave the transaction up".into() };
                return Err(operation.outage().unwrap_or_else(given_up));
            }
            tx.rings.runs.truncate(before.0);
            (tx.rings.queue, tx.rings.deliveries) = (before.1, before.2);
        }
        let connection = tx.sqlite()?;
        match (undo, succeeded) {
            (Undo::Transaction, true) => Ok(()),
            (Undo::Transaction, false) => {
                connection.control("rollback")?;
                connection.control("begin immediate")
            }
            (Undo::Savepoint, true) => connection.control("release operation"),
            (Undo::Savepoint, false) => {
                connection.control("rollback to operation")?;
                connection.control("release operation")
            }
        }
    }

    fn settle(&mut self, tx: Tx, committed: Result<()>, done: Vec<Box<dyn Operation>>) {
        let (connection, rings) = tx.into_sqlite();
        match committed {
            Ok(()) => {
                self.connection = connection;
                self.doorbells.ring(&rings);
                if let Some(observer) = &self.observer {
                    observer.committed(done.len());
                }
                done.into_iter().for_each(Operation::answer);
            }
            Err(error) => {
                tracing::error!(%error, operations = done.len(), "a commit failed; its operations are undone");
                let undo = |connection: &Connection| connection.is_idle() || connection.control("rollback").is_ok();
                self.connection = connection.filter(undo);
                if self.connection.is_none() {
                    tracing::error!("the rollback failed as well; opening a new connection");
                }
                for mut operation in done {
                    operation.fail(error.clone());
                    operation.answer();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
