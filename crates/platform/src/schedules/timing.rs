//! A schedule's slots and fires: the expression in its zone, the jitter, and what is due after a while without a look.

use jiff::tz::TimeZone;
use livery_core::id::ScheduleId;
use livery_core::{Error, Result, Timestamp};
use sha2::{Digest as _, Sha256};

use super::cron::Cron;

/// A fire that comes this much too late is missed: nobody was there for it.
pub(super) const MISSED_AFTER_MS: i64 = 60_000;
/// Missed slots counted one by one; more are "at least" as many.
pub(super) const MISSED_COUNT_MAX: u64 = 1_000;
/// Distance kept between a jittered fire and the next slot, in milliseconds.
const JITTER_MARGIN_MS: u64 = 1_000;
/// How far back the newest slot is looked for before the walk from the first one missed, in hours, nearest first.
const LOOK_BACK_HOURS: &[i64] = &[1, 24, 31 * 24, 366 * 24];
/// Longest name of a time zone.
const ZONE_BYTES_MAX: usize = 64;

/// When a schedule fires.
pub(super) struct Timing {
    cron: Cron,
    zone: TimeZone,
    jitter_s: u32,
    id: ScheduleId,
}

/// A slot and the moment it fires.
pub(super) type Fire = (Timestamp, Timestamp);

/// What is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// The newest slot whose fire has come.
    pub(super) newest: Timestamp,
    /// When that was.
    pub(super) fire: Timestamp,
    /// Slots before it that nobody was there for, up to [`MISSED_COUNT_MAX`].
    pub(super) missed: u64,
    /// The first slot whose fire is to come.
    pub(super) next: Option<Fire>,
}

impl Timing {
    /// Reads what the owner wrote.
    ///
    /// # Errors
    /// [`Error::Invalid`], which names the field and the way out.
    pub(super) fn new(id: ScheduleId, cron: &str, time_zone: &str, jitter_s: u32) -> Result<Self> {
        let cron =
            cron.parse().map_err(|error: super::cron::Error| Error::invalid_field("/cron", error.to_string()))?;
        Ok(Self { cron, zone: zone_of(time_zone)?, jitter_s, id })
    }

    /// The first fire of a slot after `after`.
    pub(super) fn first_after(&self, after: Timestamp) -> Option<Fire> {
        let slot = self.slot_after(after)?;
        Some((slot, self.fire_of(slot)))
    }

    /// What is due at `now` for a schedule that stands at `slot`; nothing while that slot's fire is to come.
    pub(super) fn due(&self, slot: Timestamp, now: Timestamp) -> Option<Due> {
        let mut newest = (slot, self.fire_of(slot));
        if newest.1 > now {
            return None;
        }
        for hours in LOOK_BACK_HOURS {
            let start = now.plus_millis(-hours * 3_600_000 - i64::from(self.jitter_s) * 1000);
            if start <= slot {
                break;
            }
            if let Some(found) = self.first_after(start).filter(|(_, fire)| *fire <= now) {
                newest = found;
                break;
            }
        }
        let next = loop {
            match self.first_after(newest.0) {
                Some(next) if next.1 <= now => newest = next,
                next => break next,
            }
        };
        Some(Due { newest: newest.0, fire: newest.1, missed: self.count(slot, newest.0), next })
    }

    /// The next `count` fires after `after`: the moment, and what the wall clock shows then.
    pub(super) fn preview(&self, after: Timestamp, count: usize) -> Vec<(Timestamp, String)> {
        let slots = std::iter::successors(self.slot_after(after), |slot| self.slot_after(*slot)).take(count);
        slots.map(|slot| (slot, self.local(slot))).collect()
    }

    fn local(&self, slot: Timestamp) -> String {
        let shown = |at: jiff::Timestamp| at.to_zoned(self.zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
        jiff::Timestamp::from_microsecond(slot.as_micros()).map(shown).unwrap_or_default()
    }

    /// Slots from `first` up to and without `end`.
    fn count(&self, first: Timestamp, end: Timestamp) -> u64 {
        let slots = std::iter::successors(Some(first), |slot| self.slot_after(*slot));
        slots.take_while(|slot| *slot < end).take(usize::try_from(MISSED_COUNT_MAX).unwrap_or(usize::MAX)).count()
            as u64
    }

    fn slot_after(&self, after: Timestamp) -> Option<Timestamp> {
        let after = jiff::Timestamp::from_microsecond(after.as_micros()).ok()?;
        Some(Timestamp::from_micros(self.cron.next(after, &self.zone)?.as_microsecond()))
    }

    /// The same fire for a slot on every node and after every restart, and before the next slot.
    fn fire_of(&self, slot: Timestamp) -> Timestamp {
        if self.jitter_s == 0 {
            return slot;
        }
        let room =
            self.slot_after(slot).map_or(u64::MAX, |next| next.millis_since(slot).saturating_sub(JITTER_MARGIN_MS));
        let most = (u64::from(self.jitter_s) * 1000).min(room);
        let digest =
            Sha256::new().chain_update(self.id.bits().to_be_bytes()).chain_update(slot.as_micros().to_be_bytes());
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&digest.finalize()[..8]);
        let jitter = u64::from_be_bytes(bytes) % (most + 1);
        slot.plus_millis(i64::try_from(jitter).unwrap_or(0))
    }
}

fn zone_of(name: &str) -> Result<TimeZone> {
    let unknown = || {
        let detail = "no such time zone; name one of the IANA database, such as Europe/Vienna or UTC";
        Error::invalid_field("/time_zone", detail)
    };
    if name.len() > ZONE_BYTES_MAX {
        return Err(unknown());
    }
    let zone = TimeZone::get(name).map_err(|_| unknown())?;
    // What means "nobody knows" means nothing for a schedule either.
    if zone.is_unknown() { Err(unknown()) } else { Ok(zone) }
}

#[cfg(test)]
mod tests;
