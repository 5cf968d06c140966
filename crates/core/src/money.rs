//! Money as whole micro-dollars; JSON shows a decimal string, never a float.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// US dollars in millionths. `Usd::from_micros(12_300)` shows as `"0.0123"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Usd(i64);

impl Usd {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// From millionths of a dollar.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Millionths of a dollar.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The sum, saturating.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// From a decimal number of dollars (`1.5`, `"0.0123"`); at most six decimals, never negative.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || fraction.len() > 6 || !digits(whole) || !digits(fraction) {
            return None;
        }
        let whole: i64 = whole.parse().ok()?;
        let fraction: i64 = format!("{fraction:0<6}").parse().ok()?;
        Some(Self(whole.checked_mul(1_000_000)?.checked_add(fraction)?))
    }
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let micros = self.0.unsigned_abs();
        let text = format!("{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000);
        // Cents at least, so that a price reads as one.
        let trimmed = text.trim_end_matches('0');
        let decimals = trimmed.len() - trimmed.find('.').map_or(0, |dot| dot + 1);
        match decimals {
            0 => write!(f, "{trimmed}00"),
            1 => write!(f, "{trimmed}0"),
            _ => f.write_str(trimmed),
        }
    }
}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => text,
            serde_json::Value::Number(number) => number.to_string(),
            _ => return Err(serde::de::Error::custom("expected a decimal amount in dollars")),
        };
        Self::parse(&text)
            .ok_or_else(|| serde::de::Error::custom("expected a non-negative decimal with at most six decimals"))
    }
}

#[cfg(test)]
mod tests {
    use super::Usd;

    #[test]
    fn shows_and_reads_decimals() {
        for (micros, text) in
            [(0, "0.00"), (12_300, "0.0123"), (1_500_000, "1.50"), (1, "0.000001"), (100_000_000, "100.00")]
        {
            assert_eq!(Usd::from_micros(micros).to_string(), text);
            assert_eq!(Usd::parse(text), Some(Usd::from_micros(micros)));
        }
        for text in ["", "-1", "1e3", "0.0000001", ".5", "99999999999999999999", "1.2.3", "NaN"] {
            assert_eq!(Usd::parse(text), None, "{text}");
        }
    }
}
