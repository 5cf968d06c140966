//! How fast this host's own counter of time counts: a processor that QEMU plays has the same one.
//!
//! A guest that believed another speed would have a clock that runs fast or slow, and so would every timeout in it. Nothing inside could
//! tell it better: there is no second clock to compare with. Read next: `qemu.rs`.

use std::time::{Duration, Instant};

use crate::launcher::setup;

/// Between the two looks.
const MEASURED: Duration = Duration::from_millis(25);
/// Looks of which the quickest counts: in the others this process may have had to wait.
const LOOKS: usize = 20;

/// Its counts in a millisecond.
pub(super) fn khz() -> u64 {
    let (began, first) = look();
    while began.elapsed() < MEASURED {
        setup::nap();
    }
    let (ended, last) = look();
    let nanos = ended.duration_since(began).as_nanos().max(1);
    let counts = u128::from(last.saturating_sub(first)) * 1_000_000;
    u64::try_from(counts / nanos).unwrap_or(u64::MAX)
}

/// A moment on both clocks.
fn look() -> (Instant, u64) {
    let looks = (0..LOOKS).map(|_| {
        let before = Instant::now();
        let count = counter();
        (before.elapsed(), before, count)
    });
    looks
        .min_by_key(|(took, ..)| *took)
        .map_or_else(|| (Instant::now(), counter()), |(_, moment, count)| (moment, count))
}

#[cfg(target_arch = "x86_64")]
fn counter() -> u64 {
    // SAFETY: reads a register that every processor of this kind has.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
fn counter() -> u64 {
    // Without such a counter QEMU counts nanoseconds. The first moment asked about is its zero.
    static ZERO: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    u64::try_from(ZERO.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_counts_at_one_speed() {
        let (one, two) = (super::khz(), super::khz());
        assert!(one > 100_000 && one.abs_diff(two) < one / 20, "{one} {two}");
    }
}
