//! The read pool: a few read-only connections, handed out in turn.
//!
//! A read that is bounded by an index runs where it is called (microseconds from the page cache); one that may look at
//! many rows goes to a blocking thread, so that it never holds up the event loop.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::error::{Error, Result};
use crate::sqlite::{Access, Connection};

/// How long a caller waits for a free connection.
const READER_WAIT_MAX: Duration = Duration::from_secs(10);

/// Where a read runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// A few rows through an index: on the caller's thread.
    Point,
    /// Perhaps many rows: on a blocking thread.
    Scan,
}

/// The pool. Connections are opened when first needed and kept.
pub(crate) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
}

impl Readers {
    pub(crate) fn new(path: PathBuf, connections: usize) -> Arc<Self> {
        Arc::new(Self { path, idle: Mutex::new(Vec::new()), permits: Semaphore::new(connections.max(1)) })
    }

    /// Runs `query` on one of the connections.
    pub(crate) async fn read<T, F>(self: &Arc<Self>, lane: Lane, query: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let _permit = match timeout(READER_WAIT_MAX, self.permits.acquire()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(Error::Closed),
            Err(_) => return Err(Error::Busy { reason: "no connection for a read" }),
        };
        match lane {
            Lane::Point => self.with_connection(query),
            Lane::Scan => {
                let readers = Arc::clone(self);
                tokio::task::spawn_blocking(move || readers.with_connection(query)).await.map_err(Error::bug)?
            }
        }
    }

    fn with_connection<T>(&self, query: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => Connection::open(&self.path, Access::Read)?,
        };
        // A panic in `query` drops the connection; the next read opens another.
        let answer = query(&connection);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        answer
    }

    /// Refuses further reads and closes what is idle.
    pub(crate) fn close(&self) {
        self.permits.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
