//! The newest events of a followed run, read once for all its readers on this node: a thousand who wake at the same commit
//! would otherwise ask the database the same thing a thousand times.
//!
//! Nobody gets an answer older than the ring that woke him: a read counts for a ring only when it began after it
//! ([`Doorbell::newest_ring`](livery_store::Doorbell::newest_ring)).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use livery_core::Event;
use livery_core::id::{OrgId, RunId};
use livery_store::{Result, Store};

/// Events read at a time, and kept for those who are a little behind.
const EVENTS_MAX: u32 = 100;
/// Bytes of payloads that are kept for them. Readers who wait cost nothing else, and every run may have some.
const BYTES_MAX: usize = 1024 * 1024;
/// Without a ring, how old a read may be: somebody else who looks for himself has looked for all.
const UNRUNG_AGE_MAX: Duration = Duration::from_secs(1);

type Key = (OrgId, RunId);
type Runs = Arc<Mutex<HashMap<Key, Arc<Tail>>>>;

/// The tails of all runs that are followed on this node.
#[derive(Default)]
pub(crate) struct Tails {
    runs: Runs,
}

impl Tails {
    /// The tail of a run, shared with its other readers until the last of them goes.
    pub(super) fn of(&self, org: OrgId, run: RunId) -> Shared {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let tail = Arc::clone(runs.entry((org, run)).or_default());
        Shared { tail, key: (org, run), runs: Arc::clone(&self.runs) }
    }
}

/// One reader's share of a tail.
pub(super) struct Shared {
    tail: Arc<Tail>,
    key: Key,
    runs: Runs,
}

impl Drop for Shared {
    fn drop(&mut self) {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        // The list's own and this one: shares are only handed out under the lock.
        if Arc::strong_count(&self.tail) <= 2 {
            runs.remove(&self.key);
        }
    }
}

/// What makes a reader look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// The newest ring he heard.
    pub(super) ring: u64,
    /// No ring: he looks because time has passed.
    pub(super) unrung: bool,
}

impl Shared {
    /// Events behind `after`, in order, at most a page of them. Empty only when there were none, as of the look's own moment.
    ///
    /// # Errors
    /// Those of the database.
    pub(super) async fn look(&self, store: &Store, after: u64, look: Look) -> Result<Vec<Arc<Event>>> {
        let begun = Instant::now();
        let mut read = self.tail.read.lock().await;
        let failed_meanwhile = read.failed_at.is_some_and(|at| at >= begun);
        if after < read.after || failed_meanwhile {
            drop(read);
            // Far behind, or the database is slow to fail: one after the other would wait for all of them.
            let (events, _) = store.newest_events_after(self.key.0, self.key.1, after, EVENTS_MAX).await?;
            return Ok(events.into_iter().map(Arc::new).collect());
        }
        if after > read.last() {
            *read = Read { after, ..Read::default() };
        }
        if after == read.last() && !read.is_new_enough(look, begun) {
            read.on(store, self.key, look).await?;
        }
        let events = read.behind(after);
        read.trim();
        Ok(events)
    }
}

#[derive(Default)]
struct Tail {
    read: tokio::sync::Mutex<Read>,
}

/// What was read so far.
#[derive(Default)]
struct Read {
    /// The sequence before the first event.
    after: u64,
    /// Without a gap.
    events: VecDeque<Kept>,
    /// Of all of them.
    bytes: usize,
    /// Everything was there that this ring told of, and when that read began.
    as_of: Option<(u64, Instant)>,
    failed_at: Option<Instant>,
}

/// An event, and the bytes of its payload.
struct Kept {
    event: Arc<Event>,
    bytes: usize,
}

impl Read {
    fn last(&self) -> u64 {
        self.events.back().map_or(self.after, |kept| kept.event.seq)
    }

    fn is_new_enough(&self, look: Look, now: Instant) -> bool {
        self.as_of.is_some_and(|(ring, begun)| ring >= look.ring && (!look.unrung || begun + UNRUNG_AGE_MAX >= now))
    }

    /// Reads on behind the last event.
    async fn on(&mut self, store: &Store, (org, run): Key, look: Look) -> Result<()> {
        let begun = Instant::now();
        let (events, all) = match store.newest_events_after(org, run, self.last(), EVENTS_MAX).await {
            Ok(page) => page,
            Err(error) => {
                self.failed_at = Some(Instant::now());
                return Err(error);
            }
        };
        self.add(events);
        if all {
            self.as_of = Some((look.ring, begun));
        }
        Ok(())
    }

    fn add(&mut self, events: Vec<Event>) {
        for event in events {
            let bytes = event.data.to_string().len();
            self.bytes += bytes;
            self.events.push_back(Kept { event: Arc::new(event), bytes });
        }
    }

    fn behind(&self, after: u64) -> Vec<Arc<Event>> {
        let known = self.events.partition_point(|kept| kept.event.seq <= after);
        self.events.range(known..).map(|kept| Arc::clone(&kept.event)).collect()
    }

    /// Forgets the oldest, once whoever had them read has them; others who want them read for themselves.
    fn trim(&mut self) {
        while self.events.len() > EVENTS_MAX as usize || (self.bytes > BYTES_MAX && self.events.len() > 1) {
            let Some(Kept { event, bytes }) = self.events.pop_front() else { return };
            self.after = event.seq;
            self.bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests;
