//! Percentiles are ranks that exist; the number of calls is kept whatever the connections.

use super::{Until, drive, percentile};
use crate::bench::http::Target;

#[test]
fn percentiles_are_ranks() {
    let values: Vec<f64> = (1..=100).map(f64::from).collect();
    for (share, expected) in [(0.0, 1.0), (0.5, 50.0), (0.99, 99.0), (0.991, 100.0), (1.0, 100.0)] {
        assert_eq!(percentile(&values, share).to_bits(), f64::to_bits(expected), "{share}");
    }
    assert_eq!(percentile(&[], 0.5).to_bits(), 0f64.to_bits());
    assert_eq!(percentile(&[7.0], 0.99).to_bits(), 7f64.to_bits());
}

#[test]
fn every_call_is_counted_once() {
    let target = Target { address: "127.0.0.1:9".parse().unwrap(), api_key: String::new() };
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let seen = drive(&target, 7, Until::Calls(100), |_| {
        let call = calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        anyhow::ensure!(call != 3, "the fourth fails");
        Ok(())
    })
    .unwrap();
    assert_eq!((seen.latencies_ms.len(), seen.failures.as_slice()), (99, &["the fourth fails".to_owned()][..]));
}
