//! The sandboxes that stand on this node, for people who come in from the side: nothing here makes one, and a run's own
//! work waits for none of it. Read next: `../shell.rs`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use livery_core::EventType;
use livery_core::agent::Tier;
use livery_core::id::RunId;
use livery_sandbox::{Sandbox, Terminal, TerminalSpec};
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::drive::{Deed, Signal};
use super::hands::Hands;
use crate::shell::SHELLS_PER_RUN_MAX;

/// By run, while somebody here works on it.
#[derive(Clone, Default)]
pub(crate) struct Standing(Arc<Mutex<HashMap<RunId, Weak<Hands>>>>);

impl std::fmt::Debug for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Standing").finish_non_exhaustive()
    }
}

impl Standing {
    /// From now on these are the run's hands.
    pub(super) fn enter(&self, run: RunId, hands: &Arc<Hands>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, hands| hands.strong_count() > 0);
        all.insert(run, Arc::downgrade(hands));
    }

    /// From now on nobody comes in by these hands, and who is in is told to go.
    pub(super) fn leave(&self, run: RunId, hands: &Arc<Hands>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A later life of the run may have entered its own.
        if all.get(&run).is_some_and(|entered| std::ptr::eq(entered.as_ptr(), Arc::as_ptr(hands))) {
            all.remove(&run);
        }
        drop(all);
        hands.leaving.cancel();
    }

    /// The run's sandbox, if it stands now.
    pub(crate) fn of(&self, run: RunId) -> Option<Place> {
        let hands = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&run)?.upgrade()?;
        let sandbox = hands.made().filter(|sandbox| sandbox.lost().borrow().is_none()).map(Arc::clone)?;
        let (log, seats) = (RunLog { signals: hands.signals.clone() }, Arc::clone(&hands.shells));
        Some(Place { sandbox, log, seats, leaving: hands.leaving.clone() })
    }
}

/// As many seats as a run has for shells.
pub(super) fn seats() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(SHELLS_PER_RUN_MAX))
}

/// A sandbox that stands.
pub(crate) struct Place {
    sandbox: Arc<Sandbox>,
    /// The run's log.
    pub(crate) log: RunLog,
    /// One for each shell.
    pub(crate) seats: Arc<Semaphore>,
    /// Cancelled when the run lets go of it.
    pub(crate) leaving: CancellationToken,
}

impl Place {
    /// What kind it is.
    pub(crate) fn tier(&self) -> Tier {
        self.sandbox.spec().tier
    }

    /// Opens a terminal in it.
    pub(crate) async fn terminal(&self, spec: TerminalSpec) -> Result<Terminal, livery_sandbox::Error> {
        self.sandbox.terminal(spec).await
    }
}

/// The way into the ordered log of a run that is worked on here: whoever holds its lease writes.
#[derive(Clone)]
pub(crate) struct RunLog {
    signals: mpsc::Sender<Signal>,
}

impl RunLog {
    /// Has an event of this actor written. `false`: it is not in the log after `patience`, or the run is over.
    pub(crate) async fn write(&self, actor: String, event_type: EventType, data: Value, patience: Duration) -> bool {
        let (done, written) = oneshot::channel();
        let signal = Signal::Acted(Deed { actor, event_type, data, done });
        let sent = async { self.signals.send(signal).await.is_ok() && written.await.is_ok() };
        tokio::time::timeout(patience, sent).await.unwrap_or(false)
    }
}
