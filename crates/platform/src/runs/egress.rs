//! What left a run, through its connections or to the hosts its agent names: the egress events of its log, in order.

use livery_core::EventType;
use livery_core::Result;
use livery_core::id::RunId;

use super::read::{EVENTS_PAGE_MAX, EventPage};
use crate::{Platform, Principal, Scope};

/// Most events of a log that one page looks through.
const SCANNED_MAX: u64 = 10_000;

impl Platform {
    /// A run's egress events after `after`. A page may be short, or empty, before the end: `next_after` says where to go on.
    ///
    /// # Errors
    /// Those of [`Platform::get_run`].
    pub async fn egress_after(&self, principal: &Principal, run: RunId, after: u64, limit: u32) -> Result<EventPage> {
        principal.require(Scope::RunsRead)?;
        let row = self.visible_run(principal, run).await?;
        let wanted = usize::try_from(limit.clamp(1, EVENTS_PAGE_MAX)).unwrap_or(1);
        let (mut data, mut reached) = (Vec::new(), after);
        while data.len() < wanted && reached.saturating_sub(after) < SCANNED_MAX {
            let page = self.store.events_after(principal.org, run, reached, EVENTS_PAGE_MAX).await?;
            if page.is_empty() {
                break;
            }
            for event in page {
                if data.len() == wanted {
                    break;
                }
                reached = event.seq;
                data.extend(is_egress(event.event_type).then_some(event));
            }
        }
        let over = row.status.is_terminal() && reached >= row.last_seq;
        Ok(EventPage { next_after: (!over).then_some(reached), last_seq: row.last_seq.max(reached), data })
    }
}

const fn is_egress(event_type: EventType) -> bool {
    matches!(
        event_type,
        EventType::EgressRequested | EventType::EgressFinished | EventType::EgressDenied | EventType::EgressRedacted
    )
}
