//! The runs this node works on now, and how to reach them: a cancel request finds its run here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use livery_core::id::RunId;
use livery_store::Lease;
use tokio_util::sync::CancellationToken;

/// Shared between the commands and the worker.
#[derive(Debug, Clone, Default)]
pub(crate) struct Running {
    runs: Arc<Mutex<HashMap<RunId, Signals>>>,
}

/// How a run is reached.
#[derive(Debug, Clone)]
pub(crate) struct Signals {
    lease: Lease,
    /// Somebody asked the run to stop.
    pub(crate) cancel: CancellationToken,
    /// Somebody else holds the lease: nothing can be written any more.
    pub(crate) lost: CancellationToken,
}

impl Running {
    /// Enters a run; the guard takes it out again.
    pub(crate) fn enter(&self, lease: Lease) -> Entry {
        let signals = Signals { lease, cancel: CancellationToken::new(), lost: CancellationToken::new() };
        self.lock().insert(lease.run, signals.clone());
        Entry { signals, running: self.clone() }
    }

    /// Asks a run of this node to stop; nothing when it is not here.
    pub(crate) fn cancel(&self, run: RunId) {
        if let Some(signals) = self.lock().get(&run) {
            signals.cancel.cancel();
        }
    }

    /// Tells a run of this node that it is no longer this node's.
    pub(crate) fn lose(&self, run: RunId) {
        if let Some(signals) = self.lock().get(&run) {
            signals.lost.cancel();
        }
    }

    /// The leases, for the heartbeat.
    pub(crate) fn leases(&self) -> Vec<Lease> {
        self.lock().values().map(|signals| signals.lease).collect()
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

impl Drop for Entry {
    fn drop(&mut self) {
        let mut runs = self.running.lock();
        // A later life of the run on this node has a lease of its own and stays.
        if runs.get(&self.signals.lease.run).is_some_and(|signals| signals.lease == self.signals.lease) {
            runs.remove(&self.signals.lease.run);
        }
    }
}
