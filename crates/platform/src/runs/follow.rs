//! Following a run: every stored event after a point exactly once and in order, then the live news in between, until the
//! run ends.

use std::collections::VecDeque;
use std::time::Duration;

use livery_core::id::{OrgId, RunId};
use livery_core::{Event, Result};
use livery_store::Doorbell;
use serde_json::Value;

use crate::live::{Listener, Live};
use crate::{Platform, Principal, Scope};

/// Events read at a time: what a slow reader holds in memory.
const EVENTS_READ: u32 = 100;
/// How often a reader looks even though no bell rang.
const POLL: Duration = Duration::from_secs(5);

/// What a reader gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Followed {
    /// A stored event; its sequence is the reader's place.
    Event(Event),
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
    org: OrgId,
    run: RunId,
    after: u64,
    ready: VecDeque<Event>,
    bell: Doorbell,
    listener: Listener,
    /// Whether the log may hold more than was read: at first, and after every ring.
    look: bool,
    over: bool,
}

impl Platform {
    /// Follows a run from behind `after`. Beyond the end of a finished run nothing comes; beyond the end of another, what
    /// happens next.
    ///
    /// # Errors
    /// Those of [`Platform::get_run`].
    pub async fn follow_run(&self, principal: &Principal, run: RunId, after: u64) -> Result<Follow> {
        principal.require(Scope::RunsRead)?;
        // The bell first, then the read: what is committed after the read rings it.
        let (bell, listener) = (self.store.subscribe_run(run), self.live.listen(run));
        let row = self.visible_run(principal, run).await?;
        let over = row.status.is_terminal() && after >= row.last_seq;
        Ok(Follow {
            platform: self.clone(),
            org: principal.org,
            run,
            after,
            ready: VecDeque::new(),
            bell,
            listener,
            look: true,
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
            if std::mem::take(&mut self.look) {
                match self.platform.store.events_after(self.org, self.run, self.after, EVENTS_READ).await {
                    Ok(events) => {
                        self.look = !events.is_empty();
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
                () = tokio::time::sleep(POLL) => self.look = true,
            }
        }
    }
}

impl From<&Live> for Followed {
    fn from(live: &Live) -> Self {
        Self::Live { name: live.name, data: live.data.clone() }
    }
}
