//! Doorbells: "look again", rung after a commit, carrying nothing else.
//!
//! Take the bell first, then read, then wait: what is committed after the read rings it. A ring may be one too many, never
//! one too few. A polling fallback belongs to the caller, for the day the writer is another process.
//!
//! Rings are numbered over all bells of a store, so that readers can share a read: one that began after ring 7 shows
//! everything that rings up to 7 told of, whichever bell they rang.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use livery_core::id::RunId;
use tokio::sync::watch;

use crate::tx::Rings;

/// Runs with a bell of their own; listeners of further runs share one that rings for any run.
const RUN_BELLS_MAX: usize = 65_536;

/// Something to wait on. Dropping it leaves nothing behind.
pub struct Doorbell {
    receiver: watch::Receiver<u64>,
    _listing: Option<Listing>,
}

impl Doorbell {
    /// Waits for the next ring, or answers at once when one came since the last wait. Never answers after the store was
    /// closed and dropped, so put a deadline around it.
    pub async fn rung(&mut self) {
        if self.receiver.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The number of the newest ring that this bell knows of, which counts as heard. Of a new bell: of the newest ring there
    /// was anywhere. Numbers only grow, and only what was committed before a ring has its number.
    pub fn newest_ring(&mut self) -> u64 {
        *self.receiver.borrow_and_update()
    }
}

/// All bells of one store.
pub(crate) struct Doorbells {
    runs: Arc<RunBells>,
    any_run: watch::Sender<u64>,
    queue: watch::Sender<u64>,
    deliveries: watch::Sender<u64>,
    connections: watch::Sender<u64>,
    run_bells_max: usize,
    newest_ring: AtomicU64,
}

type RunBells = Mutex<HashMap<RunId, watch::Sender<u64>>>;

/// Takes the run's bell off the list when its last listener goes.
struct Listing {
    run: RunId,
    bells: Arc<RunBells>,
}

impl Drop for Listing {
    fn drop(&mut self) {
        let mut bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        // This listener's receiver is dropped before its listing (field order), so it no longer counts.
        if bells.get(&self.run).is_some_and(|bell| bell.receiver_count() == 0) {
            bells.remove(&self.run);
        }
    }
}

impl Doorbells {
    pub(crate) fn new() -> Arc<Self> {
        Self::with_limit(RUN_BELLS_MAX)
    }

    fn with_limit(run_bells_max: usize) -> Arc<Self> {
        let bell = || watch::Sender::new(0);
        let (runs, any_run, queue) = (Arc::default(), bell(), bell());
        let newest_ring = AtomicU64::new(0);
        Arc::new(Self { runs, any_run, queue, deliveries: bell(), connections: bell(), run_bells_max, newest_ring })
    }

    pub(crate) fn run(&self, run: RunId) -> Doorbell {
        let mut bells = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        if bells.len() >= self.run_bells_max && !bells.contains_key(&run) {
            return plain(&self.any_run);
        }
        // Rings before this moment reached no such bell; its first look must be as new as they are.
        let newest = self.newest_ring.load(Ordering::SeqCst);
        let receiver = bells.entry(run).or_insert_with(|| watch::Sender::new(newest)).subscribe();
        Doorbell { receiver, _listing: Some(Listing { run, bells: Arc::clone(&self.runs) }) }
    }

    pub(crate) fn queue(&self) -> Doorbell {
        plain(&self.queue)
    }

    pub(crate) fn deliveries(&self) -> Doorbell {
        plain(&self.deliveries)
    }

    pub(crate) fn connections(&self) -> Doorbell {
        plain(&self.connections)
    }

    /// Rings every bell there is: after a time in which news may have been lost.
    pub(crate) fn ring_everything(&self) {
        let number = self.next_ring();
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).values().for_each(|bell| ring(bell, number));
        let others = [&self.any_run, &self.queue, &self.deliveries, &self.connections];
        others.into_iter().for_each(|bell| ring(bell, number));
    }

    fn next_ring(&self) -> u64 {
        self.newest_ring.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn ring(&self, rings: &Rings) {
        let number = self.next_ring();
        if !rings.runs.is_empty() {
            let bells = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
            for bell in rings.runs.iter().filter_map(|run| bells.get(run)) {
                ring(bell, number);
            }
            drop(bells);
            ring(&self.any_run, number);
        }
        if rings.queue {
            ring(&self.queue, number);
        }
        if rings.deliveries {
            ring(&self.deliveries, number);
        }
        if rings.connections {
            ring(&self.connections, number);
        }
    }
}

fn plain(bell: &watch::Sender<u64>) -> Doorbell {
    Doorbell { receiver: bell.subscribe(), _listing: None }
}

fn ring(bell: &watch::Sender<u64>, number: u64) {
    // Two rings may arrive in the other order.
    bell.send_modify(|newest| *newest = number.max(*newest));
}

#[cfg(test)]
mod tests;
