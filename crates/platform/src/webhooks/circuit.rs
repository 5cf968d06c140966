//! When a destination is left alone, asked again, and given up. The state is a row that all nodes share.

use livery_core::Timestamp;
use livery_store::CircuitRow;

use super::attempt::Answered;

/// Failures in a row that open the circuit: from then on one probe at a time.
pub(super) const OPENING_FAILURES: u32 = 5;
/// The wait before the first probe; each failed one doubles it.
const FIRST_PROBE_WAIT_MS: u32 = 10_000;
/// The longest wait between two probes.
pub(super) const PROBE_WAIT_MAX_MS: u32 = 5 * 60 * 1000;
/// A destination that took nothing for so long is given up.
const HOPELESS_MS: u64 = 3 * 24 * 3600 * 1000;
/// And that failed so often: a clock that jumps by days gives nobody up.
const HOPELESS_FAILURES: u32 = 10;
/// Why an endpoint is given up.
pub(super) const HOPELESS: &str = "nothing could be delivered for three days";

/// Answers that slow a destination down: too many requests, bad gateway, gateway timeout.
const SLOWING: &[u16] = &[429, 502, 504];
/// How long such an answer pauses a destination that names no time.
const PAUSE_S: u64 = 10;
/// The longest pause a receiver may ask for.
const PAUSE_S_MAX: u64 = 3600;

/// The wait before the first probe, stretched by up to a tenth, so that destinations that failed together are not probed
/// together.
pub(super) fn first_probe_wait_ms(jitter_per_mille: u16) -> u32 {
    FIRST_PROBE_WAIT_MS + FIRST_PROBE_WAIT_MS / 10 * u32::from(jitter_per_mille.min(1000)) / 1000
}

/// Until when nothing goes to a destination that answered so.
pub(super) fn pause_until(now: Timestamp, answered: Answered) -> Option<Timestamp> {
    let slowing = SLOWING.contains(&answered.status).then_some(PAUSE_S);
    let pause_s = answered.retry_after_s.or(slowing)?.min(PAUSE_S_MAX);
    Some(now.plus_millis(i64::try_from(pause_s).unwrap_or(i64::MAX).saturating_mul(1000)))
}

/// Whether everything has failed for days.
pub(super) fn is_hopeless(now: Timestamp, circuit: &CircuitRow) -> bool {
    circuit.failures >= HOPELESS_FAILURES && now.millis_since(circuit.failing_since) >= HOPELESS_MS
}

#[cfg(test)]
mod tests {
    use livery_core::Timestamp;
    use livery_store::CircuitRow;

    use super::super::attempt::Answered;
    use super::{first_probe_wait_ms, is_hopeless, pause_until};

    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn some_answers_pause_a_destination_and_all_may_ask_for_it() {
        let now = Timestamp::from_micros(0);
        let pause = |status, retry_after_s| pause_until(now, Answered { status, retry_after_s });
        assert_eq!(pause(500, None), None);
        for status in [429, 502, 504] {
            assert_eq!(pause(status, None), Some(now.plus_millis(10_000)));
        }
        assert_eq!(pause(503, Some(60)), Some(now.plus_millis(60_000)));
        assert_eq!(pause(429, Some(u64::MAX)), Some(now.plus_millis(HOUR_MS)));
    }

    #[test]
    fn only_days_of_many_failures_are_hopeless() {
        let circuit = |failures| CircuitRow {
            failures,
            failing_since: Timestamp::from_micros(0),
            opened_at: None,
            next_probe_at: None,
            paused_until: None,
        };
        let after = |hours: i64| Timestamp::from_micros(0).plus_millis(hours * HOUR_MS);
        assert!(is_hopeless(after(72), &circuit(10)));
        assert!(!is_hopeless(after(71), &circuit(900)));
        assert!(!is_hopeless(after(720), &circuit(9)), "a clock that jumped");
    }

    #[test]
    fn probes_are_spread() {
        assert_eq!((first_probe_wait_ms(0), first_probe_wait_ms(1000)), (10_000, 11_000));
    }
}
