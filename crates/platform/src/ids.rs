//! The one place that mints ids: UUIDv7 bits from the clock and the machine's randomness (RFC 9562 §5.7).

use std::sync::Mutex;

use livery_core::Timestamp;

/// Mints ids that sort by creation time, also within one millisecond on one node.
#[derive(Debug, Default)]
pub struct Ids {
    last: Mutex<u128>,
}

impl Ids {
    /// The bits of a new UUIDv7, greater than every one minted here before.
    pub fn mint(&self, now: Timestamp) -> u128 {
        let mut random = [0u8; 10];
        // The system's randomness does not fail on a supported kernel; without it no id may be made at all.
        getrandom::fill(&mut random).expect("the kernel gives randomness");
        let millis = u64::try_from(now.as_micros() / 1000).unwrap_or(0);
        let fresh = uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().as_u128();
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // The clock may stand still or step back: then count on from the last id.
        *last = if fresh > *last { fresh } else { last.wrapping_add(1) };
        *last
    }
}

#[cfg(test)]
mod tests {
    use super::Ids;
    use livery_core::Timestamp;

    #[test]
    fn ids_rise_even_when_the_clock_steps_back() {
        let ids = Ids::default();
        let first = ids.mint(Timestamp::from_micros(2_000_000));
        let second = ids.mint(Timestamp::from_micros(1_000_000));
        let third = ids.mint(Timestamp::from_micros(3_000_000));
        assert!(first < second && second < third);
    }
}
