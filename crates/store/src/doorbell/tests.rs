use futures_util::FutureExt;
use livery_core::id::RunId;

use super::{Doorbell, Doorbells};
use crate::tx::Rings;

fn rings(run: u128) -> Rings {
    Rings { runs: vec![RunId::from_bits(run)], ..Rings::default() }
}

fn rang(bell: &mut Doorbell) -> bool {
    bell.rung().now_or_never().is_some()
}

#[test]
fn a_ring_reaches_its_listeners_once_and_no_others() {
    let bells = Doorbells::new();
    let (mut one, mut same, mut other) =
        (bells.run(RunId::from_bits(1)), bells.run(RunId::from_bits(1)), bells.run(RunId::from_bits(2)));
    let (mut queue, mut deliveries) = (bells.queue(), bells.deliveries());
    bells.ring(&rings(1));
    bells.ring(&rings(1));
    assert!(rang(&mut one) && rang(&mut same), "two rings are one look again");
    assert!(!rang(&mut one) && !rang(&mut other) && !rang(&mut queue) && !rang(&mut deliveries));
    bells.ring(&Rings { runs: Vec::new(), queue: true, deliveries: true, connections: true });
    assert!(rang(&mut queue) && rang(&mut deliveries) && !rang(&mut one));
}

#[test]
fn the_last_listener_takes_the_bell_with_it() {
    let bells = Doorbells::new();
    let one = bells.run(RunId::from_bits(1));
    let mut same = bells.run(RunId::from_bits(1));
    drop(one);
    bells.ring(&rings(1));
    assert!(rang(&mut same));
    drop(same);
    assert!(bells.runs.lock().unwrap().is_empty());
}

#[test]
fn beyond_the_limit_a_listener_hears_every_run() {
    let bells = Doorbells::with_limit(1);
    let _first = bells.run(RunId::from_bits(1));
    let mut second = bells.run(RunId::from_bits(2));
    assert_eq!(bells.runs.lock().unwrap().len(), 1);
    bells.ring(&rings(2));
    assert!(rang(&mut second));
    bells.ring(&rings(3));
    assert!(rang(&mut second), "one ring too many, never one too few");
}

/// Whoever shares a read goes by these numbers: a bell that is new, or shared, must never seem to be ahead of its news.
#[test]
fn rings_are_numbered_over_all_bells() {
    let bells = Doorbells::with_limit(2);
    let mut one = bells.run(RunId::from_bits(1));
    assert_eq!(one.newest_ring(), 0);
    bells.ring(&rings(1));
    bells.ring(&rings(2));
    assert_eq!(one.newest_ring(), 1);
    assert!(!rang(&mut one), "asking for the number is hearing the ring");
    drop(one);
    bells.ring(&rings(1));
    let (mut again, _second, mut shared) =
        (bells.run(RunId::from_bits(1)), bells.run(RunId::from_bits(2)), bells.run(RunId::from_bits(3)));
    assert_eq!(again.newest_ring(), 3, "what rang while it was away counts");
    assert_eq!(shared.newest_ring(), 3);
    bells.ring_everything();
    assert_eq!((again.newest_ring(), shared.newest_ring()), (4, 4));
}
