//! The rules of the module's page, checked against a walk through the real minutes that knows nothing of the code.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use proptest::prelude::*;

use super::Cron;

fn cron(text: &str) -> Cron {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

/// The next fires after a moment, as local times.
fn fires(text: &str, zone_name: &str, after: &str, count: usize) -> Vec<String> {
    let (cron, zone) = (cron(text), zone(zone_name));
    let mut at: Timestamp = after.parse().unwrap();
    (0..count)
        .map(|_| {
            at = cron.next(at, &zone).unwrap();
            at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M%:z").to_string()
        })
        .collect()
}

#[test]
fn a_skipped_time_fires_once_after_the_gap() {
    // Vienna jumps from 02:00 to 03:00 on 2026-03-29.
    assert_eq!(
        fires("30 2 * * *", "Europe/Vienna", "2026-03-28T00:00:00Z", 3),
        ["2026-03-28 02:30+01:00", "2026-03-29 03:00+02:00", "2026-03-30 02:30+02:00"]
    );
    assert_eq!(
        fires("*/20 2,3 * * *", "Europe/Vienna", "2026-03-29T00:00:00Z", 4),
        ["2026-03-29 03:00+02:00", "2026-03-29 03:20+02:00", "2026-03-29 03:40+02:00", "2026-03-30 02:00+02:00"]
    );
    // Lord Howe Island jumps by half an hour.
    assert_eq!(
        fires("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", 2),
        ["2026-10-04 02:30+11:00", "2026-10-05 02:15+11:00"]
    );
    // Samoa had no 30 December 2011.
    assert_eq!(
        fires("0 9 * * *", "Pacific/Apia", "2011-12-29T10:00:00Z", 4),
        ["2011-12-29 09:00-10:00", "2011-12-31 00:00+14:00", "2011-12-31 09:00+14:00", "2012-01-01 09:00+14:00"]
    );
}

#[test]
fn a_repeated_time_fires_the_first_time_only() {
    assert_eq!(
        fires("30 2 * * *", "Europe/Vienna", "2026-10-24T12:00:00Z", 2),
        ["2026-10-25 02:30+02:00", "2026-10-26 02:30+01:00"]
    );
    // From within the second pass, the next is tomorrow's.
    assert_eq!(fires("30 2 * * *", "Europe/Vienna", "2026-10-25T01:10:00Z", 1), ["2026-10-26 02:30+01:00"]);
    assert_eq!(
        fires("0 1 * * *", "America/New_York", "2026-10-31T12:00:00Z", 2),
        ["2026-11-01 01:00-04:00", "2026-11-02 01:00-05:00"]
    );
}

#[test]
fn an_expression_for_every_hour_keeps_every_real_moment() {
    assert_eq!(
        fires("30 * * * *", "Europe/Vienna", "2026-10-24T23:40:00Z", 4),
        ["2026-10-25 02:30+02:00", "2026-10-25 02:30+01:00", "2026-10-25 03:30+01:00", "2026-10-25 04:30+01:00"]
    );
    assert_eq!(
        fires("30 * * * *", "Europe/Vienna", "2026-03-29T00:00:00Z", 2),
        ["2026-03-29 01:30+01:00", "2026-03-29 03:30+02:00"]
    );
    let (every, vienna) = (cron("*/5 * * * *"), zone("Europe/Vienna"));
    let mut at: Timestamp = "2026-10-24T20:00:00Z".parse().unwrap();
    for _ in 0..200 {
        let next = every.next(at, &vienna).unwrap();
        assert_eq!(next.duration_since(at).as_secs(), 300);
        at = next;
    }
}

#[test]
fn calendars_are_read_as_cron_reads_them() {
    assert_eq!(
        fires("0 12 L * *", "UTC", "2026-11-01T00:00:00Z", 4),
        ["2026-11-30 12:00+00:00", "2026-12-31 12:00+00:00", "2027-01-31 12:00+00:00", "2027-02-28 12:00+00:00"]
    );
    assert_eq!(
        fires("0 0 29 2 *", "Asia/Kathmandu", "2096-02-29T12:00:00Z", 1),
        ["2104-02-29 00:00+05:45"],
        "2100 is no leap year"
    );
    assert_eq!(
        fires("0 0 * FEB MON#5", "UTC", "2026-01-01T00:00:00Z", 2),
        ["2044-02-29 00:00+00:00", "2072-02-29 00:00+00:00"]
    );
    assert_eq!(
        fires("0 9 * * friL", "UTC", "2026-12-01T00:00:00Z", 2),
        ["2026-12-25 09:00+00:00", "2027-01-29 09:00+00:00"]
    );
    // Both days restricted: either. One of them with a star: both.
    assert_eq!(
        fires("0 0 13 * 5", "UTC", "2026-11-01T00:00:00Z", 3),
        ["2026-11-06 00:00+00:00", "2026-11-13 00:00+00:00", "2026-11-20 00:00+00:00"]
    );
    assert_eq!(cron("@weekly"), cron("0 0 * * SUN"));
    assert_eq!(cron("0 0 * * 5-7"), cron("0 0 * * 0,5,6"));
}

#[test]
fn what_is_wrong_is_named_with_the_way_out() {
    let said = |text: &str| text.parse::<Cron>().map(drop).unwrap_err().to_string();
    assert_eq!(
        said("* * * *"),
        "4 fields; five fields are needed: minute, hour, day of month, month, day of week, such as `30 8 * * MON-FRI`"
    );
    assert_eq!(said("60 * * * *"), "the minute field cannot be `60`: it takes 0 to 59");
    assert_eq!(said("0 0 * JANUARY *"), "the month field cannot be `JANUARY`: it takes 1 to 12 or JAN to DEC");
    assert_eq!(
        said("0 22-6 * * *"),
        "the hour field cannot be `22-6`: a range goes upwards; write two ranges with a comma between"
    );
    assert_eq!(said("*/0 * * * *"), "the minute field cannot be `*/0`: after `/` comes a step from 1 to 59");
    assert!(said("0 0 30 2 *").contains("never comes"), "{}", said("0 0 30 2 *"));
    assert!(said("@reboot").starts_with("no such word"));
    for text in [
        "",
        "* * * * * *",
        "a b c d e",
        "1,,2 * * * *",
        "- * * * *",
        "0 0 15W * *",
        "0 0 * * 1#6",
        "0 0 * * #2",
        "+5 * * * *",
    ] {
        said(text);
    }
    said(&"*".repeat(300));
}

/// An expression and the sets it means.
#[derive(Debug, Clone)]
struct Made {
    text: String,
    minutes: Vec<i8>,
    hours: Vec<i8>,
    day: Option<i8>,
    weekday: Option<i8>,
}

impl Made {
    fn matches(&self, wall: DateTime) -> bool {
        let weekday = wall.date().weekday().to_sunday_zero_offset();
        let day = match (self.day, self.weekday) {
            (None, None) => true,
            (Some(day), None) => wall.day() == day,
            (None, Some(of_week)) => weekday == of_week,
            (Some(day), Some(of_week)) => wall.day() == day || weekday == of_week,
        };
        day && self.minutes.contains(&wall.minute()) && self.hours.contains(&wall.hour())
    }
}

fn field(star: bool, set: &[i8]) -> String {
    if star { "*".to_owned() } else { set.iter().map(i8::to_string).collect::<Vec<_>>().join(",") }
}

prop_compose! {
    fn made()(
        minutes in prop::collection::btree_set(0..60i8, 1..4), hours in prop::collection::btree_set(0..5i8, 1..4),
        every_minute in prop::bool::weighted(0.1), every_hour in prop::bool::weighted(0.3),
        day in prop::option::weighted(0.2, 1..29i8), weekday in prop::option::weighted(0.2, 0..7i8),
    ) -> Made {
        let minutes: Vec<i8> = if every_minute { (0..60).collect() } else { minutes.into_iter().collect() };
        let hours: Vec<i8> = if every_hour { (0..24).collect() } else { hours.into_iter().collect() };
        let star = |value: Option<i8>| value.map_or_else(|| "*".to_owned(), |value| value.to_string());
        let text = format!(
            "{} {} {} * {}", field(every_minute, &minutes), field(every_hour, &hours), star(day), star(weekday)
        );
        Made { text, minutes, hours, day, weekday }
    }
}

/// Walks through the real minutes and looks at the wall clock.
fn oracle(made: &Made, zone: &TimeZone, from: Timestamp, until: Timestamp) -> Vec<Timestamp> {
    let every_hour = made.hours.len() == 24;
    let wall_at = |at: Timestamp| zone.to_offset(at).to_datetime(at);
    // The latest the clock has shown.
    let mut shown = wall_at(from);
    let mut found = Vec::new();
    let mut at = from;
    while at < until {
        at += 1.minute();
        let wall = wall_at(at);
        if every_hour {
            found.extend(made.matches(wall).then_some(at));
            continue;
        }
        // Everything the clock passed, or jumped over, since it last showed something new.
        let mut fires = false;
        while shown < wall {
            shown += 1.minute();
            fires |= made.matches(shown);
        }
        found.extend(fires.then_some(at));
    }
    found
}

/// Days with something about their clocks, and plain ones: (zone, from).
const PLACES: &[(&str, &str)] = &[
    ("Europe/Vienna", "2026-03-28T12:00:00Z"),
    ("Europe/Vienna", "2026-10-24T12:00:00Z"),
    ("America/New_York", "2027-03-13T12:00:00Z"),
    ("America/New_York", "2027-11-06T12:00:00Z"),
    ("Australia/Lord_Howe", "2026-04-03T12:00:00Z"),
    ("Australia/Lord_Howe", "2026-10-02T12:00:00Z"),
    ("Africa/Casablanca", "2026-02-14T00:00:00Z"),
    ("Africa/Casablanca", "2026-03-21T00:00:00Z"),
    ("Pacific/Apia", "2011-12-28T12:00:00Z"),
    ("America/Sao_Paulo", "2018-11-03T00:00:00Z"),
    ("Asia/Kathmandu", "2030-06-01T00:00:00Z"),
    ("UTC", "2028-02-27T00:00:00Z"),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn moments_are_those_of_a_walk_through_the_minutes(made in made(), place in prop::sample::select(PLACES)) {
        let (cron, zone) = (cron(&made.text), zone(place.0));
        let from: Timestamp = place.1.parse().unwrap();
        let until = from + 72.hours();
        let expected = oracle(&made, &zone, from, until);
        let mut found = Vec::new();
        let mut at = from;
        while let Some(next) = cron.next(at, &zone).filter(|next| *next <= until) {
            prop_assert!(next > at);
            found.push(next);
            at = next;
        }
        prop_assert_eq!(found, expected, "{} in {}", made.text, place.0);
    }

    /// Where clocks never jump, another implementation of cron says the same.
    #[test]
    fn in_utc_another_implementation_agrees(made in made(), days in 0..4000i64) {
        let from = Timestamp::from_second(1_700_000_000 + days * 86_400).unwrap();
        let theirs = cronexpr::parse_crontab(&format!("{} UTC", made.text)).unwrap();
        let theirs = theirs.iter_after(from).unwrap().take(20).map(|next| next.unwrap().timestamp());
        let (cron, mut at) = (cron(&made.text), from);
        for expected in theirs {
            at = cron.next(at, &TimeZone::UTC).unwrap();
            prop_assert_eq!(at, expected);
        }
    }

    #[test]
    fn no_text_is_too_much(text in "[-*/,#L0-9A-Z@ ]{0,40}") {
        if let Ok(cron) = text.parse::<Cron>() {
            prop_assert!(cron.next(Timestamp::UNIX_EPOCH, &TimeZone::UTC).is_some(), "{text}");
        }
    }
}
