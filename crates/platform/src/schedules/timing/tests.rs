use livery_core::Timestamp;
use livery_core::id::ScheduleId;
use proptest::prelude::*;

use super::{Due, MISSED_COUNT_MAX, Timing};

fn timing(cron: &str, jitter_s: u32) -> Timing {
    Timing::new(ScheduleId::from_bits(7), cron, "Europe/Vienna", jitter_s).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn only_a_slot_whose_time_has_come_is_due() {
    let hourly = timing("0 * * * *", 0);
    assert_eq!(hourly.due(at("2026-11-22T12:00:00Z"), at("2026-11-22T11:59:59Z")), None);
    let next = at("2026-11-22T13:00:00Z");
    let due = |missed| Due {
        newest: at("2026-11-22T12:00:00Z"),
        fire: at("2026-11-22T12:00:00Z"),
        missed,
        next: Some((next, next)),
    };
    assert_eq!(hourly.due(at("2026-11-22T12:00:00Z"), at("2026-11-22T12:00:00Z")), Some(due(0)));
    assert_eq!(hourly.due(at("2026-11-22T09:00:00Z"), at("2026-11-22T12:30:00Z")), Some(due(3)));
}

#[test]
fn years_of_downtime_are_counted_up_to_a_bound() {
    let due = timing("* * * * *", 0).due(at("2020-01-01T00:00:00Z"), at("2026-11-22T12:00:30Z")).unwrap();
    assert_eq!((due.newest, due.missed), (at("2026-11-22T12:00:00Z"), MISSED_COUNT_MAX));
    assert_eq!(due.next.unwrap().0, at("2026-11-22T12:01:00Z"));
    let yearly = timing("0 0 1 1 *", 0).due(at("2019-12-31T23:00:00Z"), at("2026-11-22T12:00:30Z")).unwrap();
    assert_eq!((yearly.newest, yearly.missed), (at("2025-12-31T23:00:00Z"), 6));
}

#[test]
fn an_unknown_zone_is_refused() {
    for zone in ["Mars/Olympus", "", "+02:00", "Etc/Unknown", &"x".repeat(100)] {
        let error = Timing::new(ScheduleId::from_bits(7), "0 0 * * *", zone, 0).err().unwrap();
        assert!(error.to_string().contains("IANA"), "{zone}: {error}");
    }
}

proptest! {
    #[test]
    fn jitter_is_steady_bounded_and_never_past_the_next_slot(
        start in 0..1_000_000_000i64, jitter_s in 0..100_000u32, minutes in prop::sample::select(vec!["*", "*/7", "0"]),
    ) {
        let timing = timing(&format!("{minutes} * * * *"), jitter_s);
        let (slot, fire) = timing.first_after(Timestamp::from_micros(start * 1_000_000)).unwrap();
        let next = timing.first_after(slot).unwrap().0;
        prop_assert!(fire >= slot && fire < next);
        prop_assert!(fire.millis_since(slot) <= u64::from(jitter_s) * 1000);
        prop_assert_eq!(timing.first_after(slot.plus_millis(-1)).unwrap(), (slot, fire));
    }

    #[test]
    fn what_is_due_is_the_last_fire_that_has_come(
        start in 0..1_000_000_000i64, later_s in 0..2_000_000i64, jitter_s in 0..600u32,
        cron in prop::sample::select(vec!["*/5 * * * *", "30 2 * * *", "0 9 * * MON", "0 0 1 * *"]),
    ) {
        let timing = timing(cron, jitter_s);
        let first = timing.first_after(Timestamp::from_micros(start * 1_000_000)).unwrap();
        let now = first.1.plus_millis(later_s * 1000);
        let due = timing.due(first.0, now).unwrap();
        let fires: Vec<_> = std::iter::successors(Some(first), |(slot, _)| timing.first_after(*slot))
            .take_while(|(_, fire)| *fire <= now).collect();
        prop_assert_eq!((due.newest, due.fire), *fires.last().unwrap());
        prop_assert_eq!(due.missed, (fires.len() as u64 - 1).min(MISSED_COUNT_MAX));
        prop_assert_eq!(due.next, timing.first_after(due.newest));
        prop_assert!(due.next.unwrap().1 > now);
    }
}
