//! Reading an expression: five fields, names, ranges, steps, `L`, `#`, and the usual words with an `@`.

use std::str::FromStr;

use super::{Cron, Days};

/// Longest expression.
const BYTES_MAX: usize = 256;

const MONTHS: &[&str] = &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// Words for common expressions.
const WORDS: &[(&str, &str)] = &[
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// What is wrong with an expression, and how to put it right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::schedules) struct Error(pub(super) String);

/// One of the five.
struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const MINUTE: Field = Field { name: "minute", min: 0, max: 59, names: &[] };
const HOUR: Field = Field { name: "hour", min: 0, max: 23, names: &[] };
const DAY: Field = Field { name: "day of month", min: 1, max: 31, names: &[] };
const MONTH: Field = Field { name: "month", min: 1, max: 12, names: MONTHS };
// 7 is Sunday too.
const WEEKDAY: Field = Field { name: "day of week", min: 0, max: 7, names: WEEKDAYS };

impl FromStr for Cron {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.len() > BYTES_MAX {
            return Err(Error(format!("at most {BYTES_MAX} bytes")));
        }
        let text = match text.trim() {
            word if word.starts_with('@') => {
                let known = WORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word));
                known.map(|(_, text)| *text).ok_or_else(|| {
                    let words: Vec<_> = WORDS.iter().map(|(known, _)| *known).collect();
                    Error(format!("no such word; there are {}", words.join(", ")))
                })?
            }
            text => text,
        };
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            let detail =
                "five fields are needed: minute, hour, day of month, month, day of week, such as `30 8 * * MON-FRI`";
            return Err(Error(format!("{} fields; {detail}", fields.len())));
        };
        let cron = Self {
            minutes: MINUTE.set(minute)?,
            hours: narrow(HOUR.set(hour)?),
            months: narrow(MONTH.set(month)?),
            days: days(day, weekday)?,
        };
        if cron.ever_matches() {
            return Ok(cron);
        }
        Err(Error("this day never comes: no month the expression names has it (such as the 30th of February)".into()))
    }
}

/// A set whose field has fewer values than the target has bits.
fn narrow<T: TryFrom<u64> + Default>(set: u64) -> T {
    T::try_from(set).unwrap_or_default()
}

fn days(day: &str, weekday: &str) -> Result<Days, Error> {
    let mut days = Days { both: day.starts_with('*') || weekday.starts_with('*'), ..Days::default() };
    let mut of_month = 0;
    for item in day.split(',') {
        if item.eq_ignore_ascii_case("L") {
            days.last = true;
        } else {
            of_month |= DAY.item(item)?;
        }
    }
    days.of_month = narrow(of_month);
    let mut of_week = 0;
    for item in weekday.split(',') {
        if let Some((name, nth)) = item.split_once('#') {
            let nth = nth.parse::<u32>().ok().filter(|nth| (1..=5).contains(nth));
            let nth =
                nth.ok_or_else(|| WEEKDAY.wrong(item, "after `#` comes 1 to 5: the first to the fifth of a month"))?;
            days.nth_of_week |= 1 << (7 * (nth - 1) + WEEKDAY.value(name, item)? % 7);
        } else if let Some(name) = item.strip_suffix(['L', 'l']) {
            days.last_of_week |= 1 << (WEEKDAY.value(name, item)? % 7);
        } else {
            of_week |= WEEKDAY.item(item)?;
        }
    }
    days.of_week = narrow(of_week & 0x7f | of_week >> 7);
    Ok(days)
}

impl Field {
    /// A whole field: items with commas between.
    fn set(&self, text: &str) -> Result<u64, Error> {
        text.split(',').try_fold(0, |set, item| Ok(set | self.item(item)?))
    }

    /// `*`, `n`, `a-b`, each with `/step`. `n/step` goes on to the end.
    fn item(&self, item: &str) -> Result<u64, Error> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => {
                let step = step.parse::<u32>().ok().filter(|step| (1..=self.max).contains(step));
                let wrong = || self.wrong(item, &format!("after `/` comes a step from 1 to {}", self.max));
                (range, Some(step.ok_or_else(wrong)?))
            }
            None => (item, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (self.min, self.max),
            Some((first, last)) => (self.value(first, item)?, self.value(last, item)?),
            None if step.is_some() => (self.value(range, item)?, self.max),
            None => self.value(range, item).map(|value| (value, value))?,
        };
        if first > last {
            return Err(self.wrong(item, "a range goes upwards; write two ranges with a comma between"));
        }
        let step = usize::try_from(step.unwrap_or(1)).unwrap_or(1);
        // In steps of two, Sunday counts once: as 0.
        let last = if range == "*" { last.min(self.min + self.count() - 1) } else { last };
        Ok((first..=last).step_by(step).fold(0, |set, value| set | 1 << value))
    }

    /// How many values there are: one less than numbers where two mean the same.
    fn count(&self) -> u32 {
        if self.max == WEEKDAY.max { 7 } else { self.max - self.min + 1 }
    }

    fn value(&self, text: &str, item: &str) -> Result<u32, Error> {
        if let Some(index) = self.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            return Ok(self.min + u32::try_from(index).unwrap_or(0));
        }
        let digits = !text.is_empty() && text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        let value = digits.then(|| text.parse().ok()).flatten();
        value.filter(|value| (self.min..=self.max).contains(value)).ok_or_else(|| {
            let names = self.names.first().zip(self.names.last());
            let names = names.map(|(first, last)| format!(" or {first} to {last}")).unwrap_or_default();
            self.wrong(item, &format!("it takes {} to {}{names}", self.min, self.max))
        })
    }

    fn wrong(&self, item: &str, what: &str) -> Error {
        let item: String = item.chars().take(40).collect();
        Error(format!("the {} field cannot be `{item}`: {what}", self.name))
    }
}
