//! Whether a run's connections are still what they were: one that is revoked or rotated takes what is open with it.
//!
//! Looked up while anything is open: when the store's bell rings, which it does on every node, and else every half second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use livery_core::id::ConnectionId;
use livery_store::{ConnectionStatus, RunRow};
use tokio::sync::{Notify, watch};

use crate::Platform;

/// Longest time between two looks, while anything is open.
const POLL: Duration = Duration::from_millis(500);

/// What the last look saw.
#[derive(Default)]
struct Seen {
    /// Counts the looks.
    look: u64,
    /// The version of each connection; `None` when it cannot be used.
    versions: BTreeMap<ConnectionId, Option<u32>>,
}

/// The connections of one run.
#[derive(Clone)]
pub(super) struct Watch {
    seen: Arc<watch::Sender<Seen>>,
    wanted: Arc<Notify>,
}

/// One connection that something is open through, in the version it was opened with. That is the connection's own version, never the
/// one a credential carries: tokens that are exchanged for it are counted apart.
pub(super) struct Watched {
    connection: ConnectionId,
    version: u32,
    /// The looks there had been by then. Their news may be old: while nothing is open, nobody looks.
    looked: u64,
    seen: watch::Receiver<Seen>,
}

impl Watch {
    /// Of nothing yet: [`Watch::look`] has to run beside it.
    pub(super) fn new() -> Self {
        Self { seen: Arc::new(watch::Sender::default()), wanted: Arc::new(Notify::new()) }
    }

    /// One connection as it was when somebody looked at it, for as long as the answer lives.
    pub(super) fn of(&self, connection: ConnectionId, version: u32) -> Watched {
        let seen = self.seen.subscribe();
        let looked = seen.borrow().look;
        self.wanted.notify_one();
        Watched { connection, version, looked, seen }
    }

    /// Resolves when one of these is another than it was at first.
    pub(super) async fn changed(&self, connections: &[ConnectionId]) {
        let mut seen = self.seen.subscribe();
        let begun = seen.borrow().look;
        self.wanted.notify_one();
        let of = |seen: &Seen| -> Vec<Option<u32>> {
            connections.iter().map(|connection| seen.versions.get(connection).copied().flatten()).collect()
        };
        // Closed is only a watch that nobody looks with any more: then the sandbox is gone.
        let Ok(at_first) = seen.wait_for(|seen| seen.look > begun).await.map(|seen| of(&seen)) else { return };
        let _ = seen.wait_for(|seen| of(seen) != at_first).await;
    }

    /// Looks, for as long as it is not dropped.
    pub(super) async fn look(&self, platform: &Platform, row: &RunRow, connections: &[ConnectionId]) {
        let mut bell = platform.store.connection_doorbell();
        loop {
            if self.seen.receiver_count() == 0 {
                self.wanted.notified().await;
            }
            let mut versions = BTreeMap::new();
            for connection in connections {
                match platform.store.get_connection(row.org, *connection).await {
                    Ok(found) => {
                        let usable = found.filter(|found| found.status == ConnectionStatus::Active);
                        versions.insert(*connection, usable.map(|found| found.version));
                    }
                    // Unknown is no news; what is sent meanwhile needs the same database for its credential.
                    Err(_) => versions.extend(self.seen.borrow().versions.get_key_value(connection)),
                }
            }
            self.seen.send_modify(|seen| *seen = Seen { look: seen.look + 1, versions });
            tokio::select! {
                () = bell.rung() => {}
                () = self.wanted.notified() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }
}

impl Watched {
    /// Resolves when a request would not be sent with the same credential any more.
    pub(super) async fn is_old(&self) {
        let mut seen = self.seen.clone();
        let is_newer = |now: &Option<u32>| now.is_none_or(|now| now > self.version);
        let is_old = |seen: &Seen| seen.look > self.looked && seen.versions.get(&self.connection).is_some_and(is_newer);
        let _ = seen.wait_for(is_old).await;
    }
}
