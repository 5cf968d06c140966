//! Better is better in both directions, and what was not taken is not good.

use super::{json, short, text, times_better, verdict};
use crate::bench::reference::{Measured, ROWS, row};

#[test]
fn verdicts() {
    let (time, rate) = (row("start_data_ms").unwrap(), row("list_8_per_s").unwrap());
    for (row, value, expected) in [
        (time, Some(60.0), "goal"),
        (time, Some(61.0), "must"),
        (time, Some(151.0), "MISSED"),
        (time, None, "not taken"),
        (rate, Some(15_000.0), "goal"),
        (rate, Some(5_000.0), "must"),
        (rate, Some(4_999.0), "MISSED"),
        (row("run_p99_ms").unwrap(), Some(1.0), "–"),
    ] {
        assert_eq!(verdict(row, value), expected, "{} {value:?}", row.key);
    }
    assert_eq!(times_better(time, 53.0).map(short).as_deref(), Some("100"));
    assert_eq!(times_better(rate, 25.0).map(short).as_deref(), Some("0.50"));
}

#[test]
fn keys_are_unique() {
    for (index, one) in ROWS.iter().enumerate() {
        assert!(ROWS.iter().skip(index + 1).all(|other| other.key != one.key), "{} twice", one.key);
    }
}

#[test]
fn both_forms_name_what_broke() {
    let measured =
        [Measured { key: "run_500_lost", value: Some(2.0), note: None, broken: Some("2 of 500 lost".into()) }];
    assert!(text(&measured).contains("BROKEN: 500 at a time: runs lost: 2 of 500 lost"));
    let document: serde_json::Value = serde_json::from_str(&json(&measured).unwrap()).unwrap();
    assert_eq!(document["figures"][0]["broken"], "2 of 500 lost");
    assert_eq!(document["figures"][0]["verdict"], "MISSED");
}
