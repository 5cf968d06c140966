//! How much a run's programs may ask for, and how much of what they tried is written down.

use std::collections::HashMap;
use std::time::Instant;

/// Requests that may come at once after a rest.
const BURST: f64 = 200.0;
/// Requests for each second in the long run.
const PER_SECOND: f64 = 50.0;
/// Times that the same refusal is told.
const SAME_DENIALS_MAX: u32 = 8;
/// Refusals that are told in one life of a run.
const DENIALS_MAX: u32 = 256;

/// A bucket that fills by the second.
pub(super) struct Pace {
    tokens: f64,
    at: Instant,
}

impl Default for Pace {
    fn default() -> Self {
        Self { tokens: BURST, at: Instant::now() }
    }
}

impl Pace {
    /// Whether one more may come now.
    pub(super) fn allows(&mut self) -> bool {
        let passed = self.at.elapsed();
        self.at += passed;
        self.tokens = PER_SECOND.mul_add(passed.as_secs_f64(), self.tokens).min(BURST);
        let allowed = self.tokens >= 1.0;
        if allowed {
            self.tokens -= 1.0;
        }
        allowed
    }
}

/// What was refused so far: a program that tries for ever fills no log.
#[derive(Default)]
pub(super) struct Denials {
    seen: HashMap<(&'static str, String), u32>,
    told: u32,
}

impl Denials {
    /// Whether this one is told.
    pub(super) fn is_told(&mut self, rule: &'static str, what: &str) -> bool {
        if self.told >= DENIALS_MAX {
            return false;
        }
        let times = self.seen.entry((rule, what.to_owned())).or_default();
        *times += 1;
        let is_told = *times <= SAME_DENIALS_MAX;
        self.told += u32::from(is_told);
        is_told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_for_ever_fills_no_log() {
        let mut denials = Denials::default();
        let same = (0..100).filter(|_| denials.is_told("host_not_allowed", "evil.example")).count();
        let others = (0..1000).filter(|n| denials.is_told("host_not_allowed", &n.to_string())).count();
        assert_eq!((same, others), (8, 248));
        assert!(denials.seen.len() <= 256);
    }

    #[test]
    fn a_burst_is_followed_by_a_pace() {
        let mut pace = Pace::default();
        let at_once = (0..1000).filter(|_| pace.allows()).count();
        assert!((200..400).contains(&at_once), "{at_once}");
    }
}
