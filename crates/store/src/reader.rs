//! The read pool: a few read-only connections, handed out in turn.
//!
//! A read that is bounded by an index runs where it is called (microseconds from the page cache); one that may look at
//! many rows goes to a blocking thread, so that it never holds up the event loop, and such reads never have all
//! connections. A connection gives up a query that takes too long.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
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
    /// A scan takes one of these first: half of the connections stay for points.
    scans: Semaphore,
}

impl Readers {
    pub(crate) fn new(path: PathBuf, connections: usize) -> Arc<Self> {
        let connections = connections.max(1);
        let (permits, scans) = (Semaphore::new(connections), Semaphore::new(connections.div_ceil(2)));
        Arc::new(Self { path, idle: Mutex::new(Vec::new()), permits, scans })
    }

    /// Runs `query` on one of the connections.
    pub(crate) async fn read<T, F>(self: &Arc<Self>, lane: Lane, query: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let _scan = match lane {
            Lane::Point => None,
            Lane::Scan => Some(take(&self.scans).await?),
        };
        let _permit = take(&self.permits).await?;
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
        let answer = connection.in_time(query);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        answer
    }

    /// Refuses further reads and closes what is idle.
    pub(crate) fn close(&self) {
        self.permits.close();
        self.scans.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

async fn take(permits: &Semaphore) -> Result<SemaphorePermit<'_>> {
    match timeout(READER_WAIT_MAX, permits.acquire()).await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) => Err(Error::Closed),
        Err(_) => Err(Error::Busy { reason: "no connection for a read" }),
    }
}

#[cfg(test)]
mod tests;
