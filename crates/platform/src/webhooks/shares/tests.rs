use livery_core::Timestamp;
use livery_core::id::OrgId;
use livery_store::{CircuitRow, Destination};

use super::{DESTINATION_SLOTS, Load, ORGANIZATION_SLOTS, Plan, SLOTS, plan};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn destination(org: u128, name: &str, due: i64) -> Destination {
    let circuit =
        CircuitRow { failures: 0, failing_since: at(0), opened_at: None, next_probe_at: None, paused_until: None };
    Destination { org: OrgId::from_bits(org), destination: name.into(), due_at: at(due), circuit }
}

fn of(plan: &Plan, org: u128) -> u32 {
    plan.claims.iter().filter(|claim| claim.org == OrgId::from_bits(org)).map(|claim| claim.max).sum()
}

#[test]
fn a_tenant_with_a_thousand_destinations_takes_its_share_and_no_more() {
    let mut due: Vec<Destination> = (0..1000).map(|n| destination(1, &format!("whk_{n}"), 1)).collect();
    due.push(destination(2, "late", 9));
    let planned = plan(at(10), due.clone(), &Load::default());
    assert_eq!((of(&planned, 1), of(&planned, 2)), (ORGANIZATION_SLOTS, DESTINATION_SLOTS));
    assert_eq!(planned.next_at, None);
    assert!(planned.claims.iter().filter(|claim| claim.org == OrgId::from_bits(1)).all(|claim| claim.max == 1));

    let mut load = Load::default();
    for claim in planned.claims.iter().filter(|claim| claim.org == OrgId::from_bits(1)) {
        load.add(&(claim.org, claim.destination.clone()));
    }
    let again = plan(at(10), due, &load);
    assert_eq!((of(&again, 1), of(&again, 2)), (0, DESTINATION_SLOTS), "full until one of its own ends");
}

#[test]
fn when_all_slots_are_taken_for_everybody_at_once_each_gets_the_same() {
    let due: Vec<Destination> = (1..=16).map(|org| destination(org, "whk_1", i64::try_from(org).unwrap())).collect();
    let planned = plan(at(100), due, &Load::default());
    assert!((1..=16).all(|org| of(&planned, org) == SLOTS / 16), "{planned:?}");
}

#[test]
fn failures_halve_the_share_and_an_open_circuit_gets_its_probe_when_due() {
    let mut failing = destination(1, "whk_1", 1);
    for (failures, slots) in [(0, 8), (1, 4), (2, 2), (3, 1), (4, 1), (4000, 1)] {
        failing.circuit.failures = failures;
        assert_eq!(of(&plan(at(10), vec![failing.clone()], &Load::default()), 1), slots, "{failures}");
    }
    failing.circuit.opened_at = Some(at(5));
    failing.circuit.next_probe_at = Some(at(20));
    let closed = plan(at(10), vec![failing.clone()], &Load::default());
    assert_eq!((closed.claims.len(), closed.next_at), (0, Some(at(20))));
    assert_eq!(of(&plan(at(20), vec![failing], &Load::default()), 1), 1);
}

#[test]
fn what_is_not_due_or_paused_says_when_to_look_again() {
    let mut paused = destination(1, "whk_1", 1);
    paused.circuit.paused_until = Some(at(30));
    let planned = plan(at(10), vec![paused, destination(2, "whk_2", 25)], &Load::default());
    assert_eq!(planned, Plan { claims: Vec::new(), next_at: Some(at(25)) });
}

#[test]
fn the_load_forgets_what_ended() {
    let (mut load, place) = (Load::default(), (OrgId::from_bits(1), "whk_1".to_owned()));
    for _ in 0..DESTINATION_SLOTS {
        load.add(&place);
    }
    let due = || vec![destination(1, "whk_1", 1)];
    assert_eq!(of(&plan(at(10), due(), &load), 1), 0);
    for _ in 0..DESTINATION_SLOTS {
        load.remove(&place);
    }
    assert_eq!(of(&plan(at(10), due(), &load), 1), DESTINATION_SLOTS);
}
