//! Duties: chores that the whole cluster does once, whichever node does them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use livery_core::{Result, Timestamp};

use crate::Platform;

/// What a node that is alone remembers instead of writing it down: when each duty is due again.
#[derive(Debug, Default)]
pub(crate) struct Duties {
    due: Mutex<HashMap<&'static str, Timestamp>>,
}

impl Duties {
    fn take(&self, name: &'static str, now: Timestamp, next: Timestamp) -> bool {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back does not put a duty off for longer than its period.
        let is_due = due.get(name).is_none_or(|at| *at <= now || *at > next);
        if is_due {
            due.insert(name, next);
        }
        is_due
    }
}

impl Platform {
    /// Whether this node does a duty now: `true` on one node of the cluster, and for nobody again before `every` is over.
    /// Ask as often as you like. A node that dies over a duty leaves it undone until then, so a duty must be fit to be
    /// repeated.
    ///
    /// # Errors
    /// Those of the database; then it is not this node's.
    pub(crate) async fn duty(&self, name: &'static str, every: Duration) -> Result<bool> {
        if !self.config.roles.maintenance {
            return Ok(false);
        }
        let now = self.clock.now();
        let next = now.plus_millis(i64::try_from(every.as_millis()).unwrap_or(i64::MAX));
        if self.store.is_embedded() {
            return Ok(self.duties.take(name, now, next));
        }
        let owner = self.identity.owner.clone();
        let write =
            self.store.write(move |tx| Box::pin(async move { tx.system_take_duty(name, &owner, now, next).await }));
        Ok(write.await?)
    }
}

#[cfg(test)]
mod tests {
    use super::Duties;
    use livery_core::Timestamp;

    #[test]
    fn a_duty_is_taken_once_in_its_period() {
        let duties = Duties::default();
        let at = |second: i64| Timestamp::from_micros(second * 1_000_000);
        let mut take = |now| duties.take("purge", at(now), at(now + 5));
        assert_eq!([0, 4, 5, 6, 10].map(&mut take), [true, false, true, false, true]);
        assert!(take(3), "the clock was set back by more than the period");
        assert!(duties.take("sweep", at(3), at(8)), "another duty has a time of its own");
    }
}
