//! Names of processes cannot confuse the reading; our own process weighs something.

use super::{parent_of, peak_during, tree};

#[test]
fn a_name_may_hold_anything() {
    assert_eq!(parent_of("7 (a) S 1 (x) ) R 42 7 7 0"), Some(42));
    assert_eq!(parent_of("nonsense"), None);
}

#[test]
fn we_weigh_something() {
    let me = std::process::id();
    let (bytes, count) = tree(me);
    assert!(bytes > 0 && count >= 1);
    let (peak, result) = peak_during(me, || 5);
    assert!(peak > 0);
    assert_eq!(result, 5);
}
