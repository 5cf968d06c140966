//! When to come back: headers first, then the body, then the prose. Never below zero, never above a day.

use std::str::FromStr;

use livery_core::Timestamp;
use serde_json::Value;

use super::Headers;

/// The longest wait that is believed: a clock that is off, or a typing error, must not park a run for years.
pub(super) const DELAY_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// The first of `retry-after-ms`, `retry-after`, the body's `retryDelay` and "try again in …".
pub(super) fn delay_ms(headers: &Headers<'_>, body: Option<&Value>, text: &str, now: Timestamp) -> Option<u64> {
    let in_ms = || headers.get("retry-after-ms").and_then(|value| scaled(value, 1.0));
    let in_header = || headers.get("retry-after").and_then(|value| of_header(value, now));
    in_ms().or_else(in_header).or_else(|| body.and_then(of_body)).or_else(|| of_text(text))
}

/// `error.details[].retryDelay: "34.4s"`.
pub(super) fn of_body(body: &Value) -> Option<u64> {
    let details = body.get(0).unwrap_or(body).get("error")?.get("details")?.as_array()?;
    details.iter().find_map(|detail| duration(detail.get("retryDelay")?.as_str()?))
}

/// "Please try again in 41.724s", "retry in 6m0s", "try again in 20 seconds".
pub(super) fn of_text(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let after = |phrase: &str| text.find(phrase).and_then(|at| duration(&text[at + phrase.len()..]));
    ["try again in ", "retry in ", "retry after "].into_iter().find_map(after)
}

/// Seconds, whole or not, or a date of RFC 9110 (§5.6.7, all three forms).
fn of_header(value: &str, now: Timestamp) -> Option<u64> {
    let value = value.trim();
    scaled(value, 1000.0).or_else(|| date(value).map(|then| then.millis_since(now).min(DELAY_MS_MAX)))
}

/// `Thu, 01 Oct 2026 12:00:09 GMT`, `Thursday, 01-Oct-26 12:00:09 GMT` or `Thu Oct  1 12:00:09 2026`.
fn date(value: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<&str> = value.split([' ', '-']).filter(|word| !word.is_empty()).collect();
    let (day, month, year, time) = match words[..] {
        [_, day, month, year, time, "GMT"] => (day, month, year, time),
        [_, month, day, time, year] => (day, month, year, time),
        _ => return None,
    };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let year: u16 = year.parse().ok()?;
    let year = match year {
        0..70 => year + 2000,
        70..100 => year + 1900,
        _ => year,
    };
    format!("{year:04}-{month:02}-{:02}T{time}Z", day.parse::<u8>().ok()?).parse().ok()
}

/// `1h2m3.5s`, `250ms`, `20 seconds`, from the start of the text; what follows is not looked at.
fn duration(text: &str) -> Option<u64> {
    let (mut total, mut rest, mut found) = (0_u64, text, false);
    loop {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        // A full stop at the end of a sentence is not part of the number.
        let number = rest[..digits].trim_end_matches('.');
        let after = rest[digits..].trim_start_matches(' ');
        let unit = &after[..after.len() - after.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len()];
        let scale = match unit {
            "ms" | "millisecond" | "milliseconds" => 1.0,
            "s" | "sec" | "secs" | "second" | "seconds" => 1000.0,
            "m" | "min" | "mins" | "minute" | "minutes" => 60_000.0,
            "h" | "hour" | "hours" => 3_600_000.0,
            _ => break,
        };
        let Some(part) = scaled(number, scale) else { break };
        total = total.saturating_add(part).min(DELAY_MS_MAX);
        found = true;
        rest = &after[unit.len()..];
    }
    found.then_some(total)
}

/// A number times `scale`, as milliseconds within 0 and [`DELAY_MS_MAX`].
fn scaled(number: &str, scale: f64) -> Option<u64> {
    let number = number.trim();
    // `inf` and `nan` are numbers to Rust, not to RFC 9110.
    if !number.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '.') {
        return None;
    }
    let ms = (f64::from_str(number).ok()? * scale).ceil();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0 and a day"
    )]
    let ms = ms.clamp(0.0, DELAY_MS_MAX as f64) as u64;
    Some(ms)
}
