//! Fair shares of a node's slots: who is asked next, and how many deliveries each destination gets at a time.
//!
//! Pure: a look at the destinations and at what is under way in, claims and the next time to look out.

use std::collections::HashMap;

use livery_core::Timestamp;
use livery_core::id::OrgId;
use livery_store::{DeliveryClaim, Destination};

/// Deliveries under way at a time on one node.
pub(super) const SLOTS: u32 = 64;
/// Of these, for one destination. Each failure in a row halves it, down to one.
pub(super) const DESTINATION_SLOTS: u32 = 8;
/// Of these, for one organization.
pub(super) const ORGANIZATION_SLOTS: u32 = 16;

/// Who shares slots: an organization's endpoint, or an address.
pub(super) type Place = (OrgId, String);

/// What is under way on this node.
#[derive(Debug, Default)]
pub(super) struct Load {
    places: HashMap<Place, u32>,
    organizations: HashMap<OrgId, u32>,
    all: u32,
}

impl Load {
    pub(super) fn add(&mut self, place: &Place) {
        *self.places.entry(place.clone()).or_default() += 1;
        *self.organizations.entry(place.0).or_default() += 1;
        self.all += 1;
    }

    pub(super) fn remove(&mut self, place: &Place) {
        if let Some(count) = self.places.get_mut(place) {
            *count -= 1;
            if *count == 0 {
                self.places.remove(place);
            }
        }
        if let Some(count) = self.organizations.get_mut(&place.0) {
            *count -= 1;
            if *count == 0 {
                self.organizations.remove(&place.0);
            }
        }
        self.all -= 1;
    }

    fn room_of(&self, destination: &Destination) -> u32 {
        let slots = match (destination.circuit.opened_at, destination.circuit.failures) {
            (Some(_), _) => 1,
            (None, failures) => (DESTINATION_SLOTS >> failures.min(DESTINATION_SLOTS)).max(1),
        };
        let place = (destination.org, destination.destination.clone());
        slots.saturating_sub(self.places.get(&place).copied().unwrap_or(0))
    }
}

/// What to do now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// What to claim.
    pub(super) claims: Vec<DeliveryClaim>,
    /// When something becomes due that is not yet.
    pub(super) next_at: Option<Timestamp>,
}

/// One organization's turn: its due destinations, the longest due first, with their room.
struct Turn {
    room: u32,
    due: Vec<(DeliveryClaim, u32)>,
    next: usize,
}

/// Deals the free slots: round after round, one to each organization, and within it one to each destination. What has no
/// room left wakes nobody: the end of one of its own deliveries does.
pub(super) fn plan(now: Timestamp, mut destinations: Vec<Destination>, load: &Load) -> Plan {
    let mut next_at: Option<Timestamp> = None;
    let mut turns: Vec<Turn> = Vec::new();
    let mut places: HashMap<OrgId, usize> = HashMap::new();
    destinations.sort_by_key(ready_at);
    for destination in destinations {
        let ready = ready_at(&destination);
        if ready > now {
            next_at = Some(next_at.map_or(ready, |earlier| earlier.min(ready)));
            continue;
        }
        let room = load.room_of(&destination);
        if room == 0 {
            continue;
        }
        let turn = *places.entry(destination.org).or_insert_with(|| {
            let used = load.organizations.get(&destination.org).copied().unwrap_or(0);
            turns.push(Turn { room: ORGANIZATION_SLOTS.saturating_sub(used), due: Vec::new(), next: 0 });
            turns.len() - 1
        });
        let claim = DeliveryClaim { org: destination.org, destination: destination.destination, max: 0 };
        turns[turn].due.push((claim, room));
    }
    deal(&mut turns, SLOTS.saturating_sub(load.all));
    let dealt = turns.into_iter().flat_map(|turn| turn.due).map(|(claim, _)| claim).filter(|claim| claim.max > 0);
    Plan { claims: dealt.collect(), next_at }
}

fn deal(turns: &mut [Turn], mut free: u32) {
    let mut dealt = true;
    while dealt && free > 0 {
        dealt = false;
        for turn in turns.iter_mut() {
            if free > 0 && turn.take() {
                free -= 1;
                dealt = true;
            }
        }
    }
}

impl Turn {
    /// One slot for the next destination that has room; `false` when there is none.
    fn take(&mut self) -> bool {
        if self.room == 0 {
            return false;
        }
        for _ in 0..self.due.len() {
            let at = self.next;
            self.next = (at + 1) % self.due.len();
            let (claim, room) = &mut self.due[at];
            if claim.max < *room {
                claim.max += 1;
                self.room -= 1;
                return true;
            }
        }
        // Nothing of it has room: no need to walk it again in this look.
        self.room = 0;
        false
    }
}

/// When a destination may be asked: its delivery is due, its pause is over, its circuit lets a probe through.
pub(crate) fn ready_at(destination: &Destination) -> Timestamp {
    let circuit = &destination.circuit;
    let probe_at = circuit.opened_at.and(circuit.next_probe_at);
    [Some(destination.due_at), circuit.paused_until, probe_at].into_iter().flatten().max().unwrap_or(destination.due_at)
}

#[cfg(test)]
mod tests;
