//! The doors of the runs this node works on. A sandbox that outlives one life of its run finds the door of the next here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use livery_core::id::RunId;

use super::Door;

/// By run.
#[derive(Clone, Default)]
pub(crate) struct Doors(Arc<Mutex<HashMap<RunId, Weak<Door>>>>);

impl std::fmt::Debug for Doors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doors").finish_non_exhaustive()
    }
}

impl Doors {
    /// From now on this is the run's door.
    pub(super) fn enter(&self, run: RunId, door: &Arc<Door>) {
        let mut doors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        doors.retain(|_, door| door.strong_count() > 0);
        doors.insert(run, Arc::downgrade(door));
    }

    /// The run's door, while it has one here.
    pub(super) fn of(&self, run: RunId) -> Option<Arc<Door>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&run)?.upgrade()
    }
}
