//! The books against a guest that sends what it may not: every case is a refusal, never a panic or an endless account.

use proptest::prelude::*;

use super::*;

fn opened() -> Ledger {
    let mut ledger = Ledger::default();
    assert_eq!(ledger.receive(Kind::FlowOpened, 1, b""), Ok(Step::Opened));
    ledger
}

#[test]
fn a_flow_lives_and_ends_in_order() {
    let mut ledger = opened();
    assert_eq!(ledger.receive(Kind::FlowRead, 1, b"abc"), Ok(Step::Read(b"abc")));
    assert!(ledger.consumed(1, 3) && ledger.sends(1, 10));
    assert_eq!(ledger.receive(Kind::FlowGranted, 1, &Grant { bytes: 10 }.encode()), Ok(Step::Granted(10)));
    assert_eq!(ledger.receive(Kind::FlowReadEnd, 1, b""), Ok(Step::ReadEnd));
    assert_eq!(ledger.receive(Kind::FlowClosed, 1, b""), Err(Error::Malformed), "before the host's last word");
    assert!(ledger.ends(1) && !ledger.sends(1, 1), "nothing after the last word");
    assert_eq!(ledger.receive(Kind::FlowClosed, 1, b""), Ok(Step::Closed));
    assert!(ledger.is_empty() && !ledger.consumed(1, 1) && !ledger.ends(1));
}

#[test]
fn what_a_guest_may_not_send() {
    let refused = |kind, flow, payload: &[u8]| opened().receive(kind, flow, payload).unwrap_err();
    assert_eq!(refused(Kind::FlowOpened, 1, b""), Error::Malformed, "a number twice");
    assert_eq!(refused(Kind::FlowOpened, 0, b""), Error::Malformed);
    assert_eq!(refused(Kind::FlowRead, 2, b"x"), Error::Malformed, "a flow that is not");
    assert_eq!(refused(Kind::FlowRead, 1, b""), Error::Malformed, "frames of nothing");
    assert_eq!(refused(Kind::FlowGranted, 1, &Grant { bytes: 1 }.encode()), Error::Malformed, "nothing was sent");
    assert_eq!(refused(Kind::FlowGranted, 1, &[0; 4]), Error::Malformed);
    assert_eq!(refused(Kind::Stdout, 1, b"x"), Error::Malformed);
    let mut ledger = opened();
    let window = vec![0; FLOW_WINDOW_BYTES as usize];
    assert!(ledger.receive(Kind::FlowRead, 1, &window).is_ok());
    assert_eq!(ledger.receive(Kind::FlowRead, 1, b"x"), Err(Error::TooLong), "beyond its window");
    let mut ledger = opened();
    for flow in 2..=32 {
        ledger.receive(Kind::FlowOpened, flow, b"").unwrap();
    }
    assert_eq!(ledger.receive(Kind::FlowOpened, 33, b""), Err(Error::TooLong), "a flow too many");
    assert!(!ledger.sends(1, FLOW_WINDOW_BYTES + 1));
}

proptest! {
    #[test]
    fn any_frames_leave_the_books_bounded(frames in proptest::collection::vec(
        (75_u8..80, 0_u32..40, proptest::collection::vec(any::<u8>(), 0..6)), 0..200)) {
        let mut ledger = Ledger::default();
        for (kind, flow, payload) in frames {
            let kind = Kind::from_byte(kind).unwrap();
            let _ = ledger.receive(kind, flow, &payload);
            ledger.ends(flow);
            prop_assert!(ledger.len() <= FLOWS_MAX);
        }
    }
}
