//! When: five fields of a cron expression in an IANA time zone, as moments.
//!
//! An expression speaks of wall clocks, and wall clocks jump. Two rules make that predictable:
//!
//! - An expression for **every hour** (its hour field names all 24) follows the real time: every real moment whose wall
//!   clock shows a match fires, both passes of a repeated hour among them, and a skipped hour has none.
//! - Any other expression means **certain times of a day**. A time that the clock skips fires at the first moment after the
//!   gap, once however many of its times lie in it; a time that comes twice fires the first time only.
//!
//! No moment ever fires twice, and two are at least a minute apart.

use std::fmt;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};

mod parse;

pub(super) use parse::Error;

/// How far ahead a match is looked for. The rarest there is, a fifth Monday in February, comes within it.
const HORIZON_DAYS: i32 = 41 * 366;
/// Transitions of a zone looked past for one match.
const TRANSITIONS_MAX: u32 = 1_000;
const ALL_HOURS: u32 = (1 << 24) - 1;

/// A parsed expression. Sets are bits, lowest value lowest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cron {
    minutes: u64,
    hours: u32,
    months: u16,
    days: Days,
}

/// Which days of a month match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Days {
    /// 1 to 31.
    of_month: u32,
    /// `L`: the last one.
    last: bool,
    /// Sunday is 0.
    of_week: u8,
    /// `5L`: the last such weekday.
    last_of_week: u8,
    /// `5#2`: bit `7 × (2 - 1) + 5`.
    nth_of_week: u64,
    /// Whether one of the two fields begins with `*`: then both have to match, else either.
    both: bool,
}

impl Days {
    fn matches(&self, day: Date) -> bool {
        let number = u32::from(day.day().unsigned_abs());
        let rest = u32::from(day.days_in_month().unsigned_abs()) - number;
        let of_month = self.of_month & (1 << number) != 0 || (self.last && rest == 0);
        let weekday = u32::from(day.weekday().to_sunday_zero_offset().unsigned_abs());
        let of_week = self.of_week & (1 << weekday) != 0
            || (self.last_of_week & (1 << weekday) != 0 && rest < 7)
            || self.nth_of_week & (1 << (7 * ((number - 1) / 7) + weekday)) != 0;
        if self.both { of_month && of_week } else { of_month || of_week }
    }
}

impl Cron {
    /// The first moment after `after` at which this fires; `None` when it never does.
    pub(super) fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        if self.hours == ALL_HOURS { self.next_real(after, zone) } else { self.next_named(after, zone) }
    }

    /// Every real moment whose wall clock matches: one stretch of constant offset after the other.
    fn next_real(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut stretch = after;
        let mut from = zone.to_offset(after).to_datetime(after);
        for _ in 0..TRANSITIONS_MAX {
            let offset = zone.to_offset(stretch);
            let found = offset.to_timestamp(self.next_wall(from)?).ok()?;
            match zone.following(stretch).next().map(|transition| transition.timestamp()) {
                Some(transition) if found >= transition => {
                    stretch = transition;
                    // The stretch's first moment may match.
                    from = zone.to_offset(stretch).to_datetime(stretch).checked_sub(1.microsecond()).ok()?;
                }
                _ => return Some(found),
            }
        }
        None
    }

    /// Certain times of a day, each as the moment that stands for it. Later times stand for later moments, or for the same.
    fn next_named(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut wall = zone.to_offset(after).to_datetime(after);
        loop {
            wall = self.next_wall(wall)?;
            let moment = moment_of(wall, zone)?;
            if moment > after {
                return Some(moment);
            }
        }
    }

    /// The first matching minute of a calendar after `after`, whatever the clocks do.
    fn next_wall(&self, after: DateTime) -> Option<DateTime> {
        let minute = Time::new(after.hour(), after.minute(), 0, 0).ok()?;
        let start = DateTime::from_parts(after.date(), minute).checked_add(1.minute()).ok()?;
        let mut day = start.date();
        let mut earliest = (start.hour().unsigned_abs(), start.minute().unsigned_abs());
        let end = day.checked_add(HORIZON_DAYS.days()).ok()?;
        while day <= end {
            if self.months & (1 << day.month()) == 0 {
                day = day.last_of_month().tomorrow().ok()?;
            } else if let Some((hour, minute)) = self.days.matches(day).then(|| self.first_time(earliest)).flatten() {
                return Some(day.at(hour, minute, 0, 0));
            } else {
                day = day.tomorrow().ok()?;
            }
            earliest = (0, 0);
        }
        None
    }

    /// The first matching time of a day at or after `(hour, minute)`.
    fn first_time(&self, (hour, minute): (u8, u8)) -> Option<(i8, i8)> {
        let first = |set: u64, from: u32| {
            let rest = set.checked_shr(from).unwrap_or(0);
            (rest != 0).then(|| from + rest.trailing_zeros())
        };
        let (hours, from) = (u64::from(self.hours), u32::from(hour));
        let this_hour = (hours & (1 << from) != 0).then(|| first(self.minutes, minute.into())).flatten();
        let (hour, minute) = match this_hour {
            Some(minute) => (from, minute),
            None => (first(hours, from + 1)?, first(self.minutes, 0)?),
        };
        Some((i8::try_from(hour).ok()?, i8::try_from(minute).ok()?))
    }

    /// Whether there is any day at all that matches.
    fn ever_matches(&self) -> bool {
        self.next_wall(Date::constant(2000, 1, 1).at(0, 0, 0, 0)).is_some()
    }
}

/// The moment that stands for a wall time: itself, its first pass, or the end of the gap it lies in.
fn moment_of(wall: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(wall).ok(),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(wall).ok(),
        AmbiguousOffset::Gap { after, .. } => {
            // Read with the later offset, a skipped time lies before the jump.
            let before_jump = after.to_timestamp(wall).ok()?;
            let mut transitions = zone.following(before_jump);
            transitions.find(|transition| transition.offset() == after).map(|transition| transition.timestamp())
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
