//! Following a run: every stored event after a point exactly once and in order, then the live news in between, until the
//! run ends.

mod tail;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use livery_core::id::RunId;
use livery_core::{Event, Result};
use livery_store::Doorbell;
use serde_json::Value;

pub(crate) use self::tail::Tails;
use self::tail::{Look, Shared};
use crate::live::{Listener, Live};
use crate::{Platform, Principal, Scope};

/// How often a reader looks even though no bell rang.
const POLL: Duration = Duration::from_secs(5);

/// What a reader gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Followed {
    /// A stored event; its sequence is the reader's place.
    Event(Arc<Event>),
    /// Live only: without a sequence, never repeated.
    Live {
        /// `model.delta`, `model.reset` or `tool.output`.
        name: &'static str,
        /// What it carries.
        data: Value,
    },
}

/// A reader's place in a run.
pub struct Follow {
    platform: Platform,
    after: u64,
    ready: VecDeque<Arc<Event>>,
    bell: Doorbell,
    tail: Shared,
    listener: Listener,
    /// Whether the log may hold more than was read: at first, after every ring, and now and then.
    look: bool,
    /// Whether it is looked at although nobody rang.
    unrung: bool,
    over: bool,
}

impl Platform {
    /// Follows a run from behind `after`. Beyond the end of a finished run nothing comes; beyond the end of another, what
    /// happens next: whoever says that he has seen what never was is at the end, and neither waits for ever nor draws what is
    /// shared with other readers to a place where nobody else is.
    ///
    /// # Errors
    /// Those of [`Platform::get_run`].
    pub async fn follow_run(&self, principal: &Principal, run: RunId, after: u64) -> Result<Follow> {
        principal.require(Scope::RunsRead)?;
        // The bell first, then the read: what is committed after the read rings it.
        let (bell, listener) = (self.store.subscribe_run(run), self.live.listen(run));
        let row = self.visible_run(principal, run).await?;
        let after = after.min(row.last_seq);
        let over = row.status.is_terminal() && after >= row.last_seq;
        Ok(Follow {
            platform: self.clone(),
            after,
            ready: VecDeque::new(),
            bell,
            tail: self.tails.of(principal.org, run),
            listener,
            look: true,
            unrung: false,
            over,
        })
    }
}

impl Follow {
    /// The next thing; `None` after the terminal event, or when this node has drained. Dropping the future in between loses
    /// nothing.
    pub async fn next(&mut self) -> Option<Result<Followed>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.after = event.seq;
                self.over = event.event_type.terminal_status().is_some();
                return Some(Ok(Followed::Event(event)));
            }
            if self.over {
                return None;
            }
            if self.look {
                let look = Look { ring: self.bell.newest_ring(), unrung: self.unrung };
                match self.tail.look(&self.platform.store, self.after, look).await {
                    Ok(events) => {
                        self.look = !events.is_empty();
                        self.unrung = false;
                        self.ready.extend(events);
                        continue;
                    }
                    Err(error) => {
                        self.over = true;
                        return Some(Err(error.into()));
                    }
                }
            }
            let drained = self.platform.drained.clone();
            tokio::select! {
                // What is stored comes first: a delta must not overtake the event it belongs behind.
                biased;
                () = drained.cancelled() => return None,
                () = self.bell.rung() => self.look = true,
                live = self.listener.next() => return Some(Ok(Followed::from(live.as_ref()))),
                () = tokio::time::sleep(POLL) => (self.look, self.unrung) = (true, true),
            }
        }
    }
}

impl From<&Live> for Followed {
    fn from(live: &Live) -> Self {
        Self::Live { name: live.name, data: live.data.clone() }
    }
}
