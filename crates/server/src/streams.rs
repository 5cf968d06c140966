//! How many event streams each organization holds open on this node.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use livery_core::Error;
use livery_core::id::OrgId;

/// Counts open streams by organization.
#[derive(Debug)]
pub(crate) struct Streams {
    per_org_max: usize,
    open: Mutex<HashMap<OrgId, usize>>,
}

/// One open stream; dropping it closes it.
#[derive(Debug)]
pub(crate) struct Seat {
    streams: Arc<Streams>,
    org: OrgId,
}

impl Streams {
    pub(crate) fn new(per_org_max: usize) -> Self {
        Self { per_org_max, open: Mutex::default() }
    }

    /// Takes a seat.
    ///
    /// # Errors
    /// [`Error::Limited`] when the organization has none left.
    pub(crate) fn enter(self: &Arc<Self>, org: OrgId) -> Result<Seat, Error> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(org).or_insert(0);
        if *count >= self.per_org_max {
            let detail = format!("the organization has {} event streams open, the most it may have", self.per_org_max);
            return Err(Error::Limited { code: "quota_exceeded", detail, retry_after_s: 5 });
        }
        *count += 1;
        Ok(Seat { streams: Arc::clone(self), org })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.streams.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.org) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.org);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_counted_per_organization_and_given_back() {
        let streams = Arc::new(Streams::new(2));
        let (one, two) = (OrgId::from_bits(1), OrgId::from_bits(2));
        let first = streams.enter(one).unwrap();
        let _second = streams.enter(one).unwrap();
        assert!(streams.enter(one).is_err());
        assert!(streams.enter(two).is_ok());
        drop(first);
        assert!(streams.enter(one).is_ok());
        assert_eq!(streams.open.lock().unwrap().len(), 1, "nothing is kept for an organization without streams");
    }
}
