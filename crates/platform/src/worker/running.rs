//! The runs this node works on now, and how to reach them: a cancel request finds its run here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use livery_core::id::RunId;
use livery_core::{Error, Result, Timestamp};
use livery_store::Lease;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::drive::Signal;
use super::egress::Doors;
use super::standing::Standing;
use super::workspace::Snapped;

/// Shared between the commands and the worker.
#[derive(Debug, Clone, Default)]
pub(crate) struct Running {
    runs: Arc<Mutex<HashMap<RunId, Signals>>>,
    /// When all leases were last renewed, in microseconds.
    renewed_at: Arc<AtomicI64>,
    /// The ways out of these runs.
    pub(crate) doors: Doors,
    /// Their sandboxes.
    pub(crate) standing: Standing,
}

/// How a run is reached.
#[derive(Debug, Clone)]
pub(crate) struct Signals {
    lease: Lease,
    /// Somebody asked the run to stop.
    pub(crate) cancel: CancellationToken,
    /// Somebody else holds the lease: nothing can be written any more.
    pub(crate) lost: CancellationToken,
    /// Where its news come in, once it is set up.
    news: Arc<OnceLock<mpsc::Sender<Signal>>>,
}

impl Running {
    /// Enters a run; the guard takes it out again.
    pub(crate) fn enter(&self, lease: Lease) -> Entry {
        let signals =
            Signals { lease, cancel: CancellationToken::new(), lost: CancellationToken::new(), news: Arc::default() };
        // A later life of the run on this node: the earlier one can write nothing any more, and is told at once.
        if let Some(earlier) = self.lock().insert(lease.run, signals.clone()) {
            earlier.lost.cancel();
        }
        Entry { signals, running: self.clone() }
    }

    /// Asks a run of this node to stop; nothing when it is not here.
    pub(crate) fn cancel(&self, run: RunId) {
        if let Some(signals) = self.lock().get(&run) {
            signals.cancel.cancel();
        }
    }

    /// Asks a run of this node for a snapshot of its workspace, between two of its steps. `None`: it is not here.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it is not set up yet, or has too much to do.
    pub(crate) fn ask_for_snapshot(&self, run: RunId) -> Result<Option<oneshot::Receiver<Result<Snapped>>>> {
        let Some(signals) = self.lock().get(&run).cloned() else { return Ok(None) };
        let busy = || Error::Unavailable { detail: "the run is busy; try again".to_owned(), retry_after_s: 1 };
        let (reply, answer) = oneshot::channel();
        let news = signals.news.get().ok_or_else(busy)?;
        news.try_send(Signal::Snapshot(reply)).map_err(|_| busy())?;
        Ok(Some(answer))
    }

    /// Tells the life of a run that held this lease that it holds it no more. A later life is not meant.
    pub(crate) fn lose(&self, lease: Lease) {
        if let Some(signals) = self.lock().get(&lease.run).filter(|signals| signals.lease == lease) {
            signals.lost.cancel();
        }
    }

    /// Whether a later life of this lease's run works on this node.
    pub(crate) fn is_succeeded(&self, lease: Lease) -> bool {
        self.lock().get(&lease.run).is_some_and(|signals| signals.lease.epoch > lease.epoch)
    }

    /// Whether the last renewal of all leases was before `moment`.
    pub(crate) fn renewed_before(&self, moment: Timestamp) -> bool {
        self.renewed_at.load(Ordering::Relaxed) < moment.as_micros()
    }

    /// All leases were renewed at `now`.
    pub(crate) fn note_renewal(&self, now: Timestamp) {
        self.renewed_at.store(now.as_micros(), Ordering::Relaxed);
    }

    /// The leases, for the heartbeat.
    pub(crate) fn leases(&self) -> Vec<Lease> {
        self.lock().values().map(|signals| signals.lease).collect()
    }

    /// How many runs this node works on.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether this node works on a run.
    pub(crate) fn has(&self, run: RunId) -> bool {
        self.lock().contains_key(&run)
    }

    /// Whether this node works on nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<RunId, Signals>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A run's place in [`Running`].
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) signals: Signals,
    running: Running,
}

impl Entry {
    /// From now on the run can be asked for things.
    pub(super) fn listen(&self, news: mpsc::Sender<Signal>) {
        // Set up once.
        let _ = self.signals.news.set(news);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut runs = self.running.lock();
        // A later life of the run on this node has a lease of its own and stays.
        if runs.get(&self.signals.lease.run).is_some_and(|signals| signals.lease == self.signals.lease) {
            runs.remove(&self.signals.lease.run);
        }
    }
}
