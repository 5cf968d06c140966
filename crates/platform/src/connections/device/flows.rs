//! The codes this node asks about: one for each connection, and few for each organization.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use livery_core::id::{ConnectionId, OrgId};
use tokio_util::sync::CancellationToken;

/// Codes that are asked about at a time.
const FLOWS_MAX: usize = 64;
/// Those of one organization.
const FLOWS_PER_ORGANIZATION_MAX: usize = 8;

/// What is asked about on this node.
#[derive(Default)]
pub(in crate::connections) struct Flows {
    under_way: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    begun: u64,
    by_connection: HashMap<(OrgId, ConnectionId), (u64, CancellationToken)>,
}

/// One flow's place. Dropped, it is free again.
pub(in crate::connections) struct Flow {
    flows: Arc<Flows>,
    key: (OrgId, ConnectionId),
    number: u64,
    /// Cancelled when a later flow of the same connection began.
    pub(super) ended: CancellationToken,
}

impl Flows {
    /// A place for a flow; the one before of the same connection ends. `None`: there are too many.
    pub(super) fn begin(self: &Arc<Self>, org: OrgId, connection: ConnectionId) -> Option<Flow> {
        let (key, ended) = ((org, connection), CancellationToken::new());
        let mut entries = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let others = || entries.by_connection.keys().filter(|other| **other != key);
        if others().count() >= FLOWS_MAX
            || others().filter(|(owner, _)| *owner == org).count() >= FLOWS_PER_ORGANIZATION_MAX
        {
            return None;
        }
        entries.begun += 1;
        let number = entries.begun;
        if let Some((_, before)) = entries.by_connection.insert(key, (number, ended.clone())) {
            before.cancel();
        }
        Some(Flow { flows: Arc::clone(self), key, number, ended })
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        let mut entries = self.flows.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.by_connection.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            entries.by_connection.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_flow_ends_the_one_before_and_an_organization_has_few() {
        let flows = Arc::new(Flows::default());
        let (one, two) = (OrgId::from_bits(1), OrgId::from_bits(2));
        let begin = |org, id| flows.begin(org, ConnectionId::from_bits(id));
        let first = begin(one, 1).unwrap();
        let second = begin(one, 1).unwrap();
        assert!(first.ended.is_cancelled() && !second.ended.is_cancelled());
        // What ended gives no place of its successor away.
        drop(first);
        let mut kept: Vec<Flow> = (2..=8).map(|id| begin(one, id).unwrap()).collect();
        assert!(begin(one, 9).is_none(), "eight are under way");
        assert!(begin(one, 1).is_some_and(|_| second.ended.is_cancelled()), "in the place of the one before");
        assert!(begin(one, 9).is_some());
        kept.extend((10..67).map_while(|id| begin(OrgId::from_bits(id), id)));
        assert_eq!(kept.len(), 64);
        assert!(begin(two, 70).is_none(), "this node asks about no more");
        kept.pop();
        assert!(begin(two, 70).is_some());
    }
}
