//! When a delivery is tried again: the schedule of Standard Webhooks, about three days in all. Probes of an open circuit do not
//! count.

use livery_core::Timestamp;

/// Attempts in all; after the last the delivery has failed.
pub(super) const ATTEMPTS_MAX: u32 = 10;

/// Seconds to wait after attempt 1, 2, …; the first attempt is made at once.
const WAITS_S: [i64; ATTEMPTS_MAX as usize - 1] =
    [5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600, 24 * 3600];

/// Longest wait a receiver may ask for with `Retry-After`.
const RETRY_AFTER_S_MAX: u64 = 24 * 3600;

/// When to try again after `attempts` failed ones; `None`: never. `jitter_per_mille` (0..1000) stretches the wait by up to a
/// tenth, so that endpoints that failed together do not come back together.
pub(crate) fn next_attempt(
    now: Timestamp,
    attempts: u32,
    retry_after_s: Option<u64>,
    jitter_per_mille: u16,
) -> Option<Timestamp> {
    let scheduled = *WAITS_S.get(usize::try_from(attempts.checked_sub(1)?).ok()?)?;
    let asked = i64::try_from(retry_after_s.unwrap_or(0).min(RETRY_AFTER_S_MAX)).unwrap_or(0);
    let wait_ms = scheduled.max(asked).saturating_mul(1000);
    let jitter_ms = wait_ms / 10 * i64::from(jitter_per_mille.min(1000)) / 1000;
    Some(now.plus_millis(wait_ms.saturating_add(jitter_ms)))
}

#[cfg(test)]
mod tests {
    use super::{ATTEMPTS_MAX, next_attempt};
    use livery_core::Timestamp;

    #[test]
    fn ten_attempts_over_three_days_then_never() {
        let start = Timestamp::from_micros(0);
        let mut now = start;
        let mut attempts = 1;
        while let Some(next) = next_attempt(now, attempts, None, 0) {
            assert!(next > now);
            now = next;
            attempts += 1;
        }
        assert_eq!(attempts, ATTEMPTS_MAX);
        assert_eq!(now.millis_since(start) / 3_600_000, 75);
    }

    #[test]
    fn the_receiver_may_ask_for_more_time_but_not_for_ever() {
        let now = Timestamp::from_micros(0);
        assert_eq!(next_attempt(now, 1, Some(60), 0), Some(now.plus_millis(60_000)));
        assert_eq!(next_attempt(now, 1, Some(u64::MAX), 0), Some(now.plus_millis(86_400_000)));
        assert_eq!(next_attempt(now, 1, None, 1000), Some(now.plus_millis(5_500)));
        assert_eq!(next_attempt(now, 0, None, 0), None);
    }
}
