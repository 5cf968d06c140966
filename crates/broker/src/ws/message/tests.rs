use proptest::prelude::*;

use super::super::wire::frame;
use super::*;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn read(sender: Sender, bytes: &[u8]) -> (Vec<Event>, Option<Violation>) {
    read_in(sender, &[bytes])
}

fn read_in(sender: Sender, pieces: &[&[u8]]) -> (Vec<Event>, Option<Violation>) {
    let (mut inlet, mut events) = (Inlet::new(sender), Vec::new());
    for piece in pieces {
        inlet.push(piece);
        loop {
            match inlet.take() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(violation) => return (events, Some(violation)),
            }
        }
    }
    (events, None)
}

fn refused(sender: Sender, bytes: &[u8]) -> Violation {
    let (events, violation) = read(sender, bytes);
    assert_eq!(events, [], "{bytes:02x?}");
    violation.unwrap_or_else(|| panic!("{bytes:02x?} was taken"))
}

/// Who needs less takes less, and says so before the payload is there.
#[test]
fn a_narrower_limit_holds_for_a_message_and_all_of_its_frames() {
    let take = |bytes: &[u8]| {
        let mut inlet = Inlet::within(Sender::Upstream, 4);
        inlet.push(bytes);
        inlet.take()
    };
    assert_eq!(take(b"\x82\x04abcd"), Ok(Some(Event::Message(Kind::Binary, b"abcd".to_vec()))));
    assert_eq!(take(b"\x82\x05"), Err(Violation::TooLarge));
    assert_eq!(take(b"\x02\x03abc\x80\x02"), Err(Violation::TooLarge));
    assert_eq!(take(b"\x89\x05Hello"), Ok(Some(Event::Ping(b"Hello".to_vec()))), "a ping is no message");
}

/// The examples of RFC 6455 §5.7.
#[test]
fn the_examples_of_the_standard_are_read() {
    let hello = || vec![Event::Message(Kind::Text, b"Hello".to_vec())];
    assert_eq!(read(Sender::Upstream, b"\x81\x05Hello"), (hello(), None));
    assert_eq!(read(Sender::Program, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), (hello(), None));
    assert_eq!(read(Sender::Upstream, b"\x01\x03Hel\x80\x02lo"), (hello(), None));
    assert_eq!(read(Sender::Upstream, b"\x89\x05Hello"), (vec![Event::Ping(b"Hello".to_vec())], None));
    let long = [b"\x82\x7e\x01\x00".as_slice(), &[7; 256]].concat();
    assert_eq!(read(Sender::Upstream, &long), (vec![Event::Message(Kind::Binary, vec![7; 256])], None));
    // A ping between two fragments is heard at once.
    let (events, _) = read(Sender::Upstream, b"\x01\x03Hel\x89\x00\x80\x02lo");
    assert_eq!(events, [Event::Ping(Vec::new()), hello().remove(0)]);
}

#[test]
fn what_cannot_be_is_refused_with_its_code() {
    let upstream = |bytes: &[u8]| refused(Sender::Upstream, bytes);
    for bytes in [b"\xc1\x00".as_slice(), b"\xa1\x00", b"\x91\x00", b"\x83\x00", b"\x8f\x00", b"\x8b\x00"] {
        assert_eq!(upstream(bytes), Violation::Reserved, "{bytes:02x?}");
    }
    // Lengths in more bytes than they take, and beyond what there is.
    assert_eq!(upstream(b"\x82\x7e\x00\x7d"), Violation::Reserved);
    assert_eq!(upstream(b"\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff"), Violation::Reserved);
    assert_eq!(upstream(b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff"), Violation::TooLarge);
    // Masks.
    assert_eq!(upstream(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), Violation::Masking);
    assert_eq!(refused(Sender::Program, b"\x81\x05Hello"), Violation::Masking);
    // Control frames: in pieces, too long, with half a code or one nobody may send, with a reason that is no text.
    for bytes in
        [b"\x09\x00".as_slice(), b"\x89\x7e\x00\x7e", b"\x88\x01\x03", b"\x88\x02\x03\xed", b"\x88\x02\x00\x00"]
    {
        assert_eq!(upstream(bytes), Violation::Control, "{bytes:02x?}");
    }
    assert_eq!(upstream(b"\x88\x03\x03\xe8\xff"), Violation::Utf8);
    // Order.
    assert_eq!(upstream(b"\x80\x00"), Violation::Order);
    assert_eq!(upstream(b"\x01\x00\x81\x00"), Violation::Order);
    // Text.
    assert_eq!(upstream(b"\x81\x01\xff"), Violation::Utf8);
    assert_eq!(upstream(b"\x01\x01\xc3\x80\x01\x28"), Violation::Utf8);
}

/// R24: a limit is hit as soon as the head says so, not when the bytes are there.
#[test]
fn limits_are_hit_while_it_comes() {
    let of = |length: usize| [b"\x82\x7f".as_slice(), &u64::try_from(length).unwrap().to_be_bytes()].concat();
    assert_eq!(refused(Sender::Upstream, &of(FRAME_BYTES_MAX + 1)), Violation::TooLarge);
    assert_eq!(read(Sender::Upstream, &of(FRAME_BYTES_MAX)), (Vec::new(), None));
    let mut inlet = Inlet::new(Sender::Upstream);
    for n in 0..MESSAGE_BYTES_MAX / FRAME_BYTES_MAX {
        let mut bytes = Vec::new();
        frame(&mut bytes, false, if n == 0 { 2 } else { 0 }, &vec![0; FRAME_BYTES_MAX], None);
        inlet.push(&bytes);
        assert_eq!(inlet.take(), Ok(None));
    }
    inlet.push(b"\x80\x01");
    assert_eq!(inlet.take(), Err(Violation::TooLarge));
    let fragments = [b"\x01\x00".as_slice(), &b"\x00\x00".repeat(FRAGMENTS_MAX - 1)].concat();
    assert_eq!(read(Sender::Upstream, &fragments), (Vec::new(), None));
    assert_eq!(refused(Sender::Upstream, &[&fragments[..], b"\x80\x00"].concat()), Violation::TooLarge);
}

#[test]
fn nothing_is_said_after_a_close() {
    let (events, violation) = read(Sender::Upstream, b"\x88\x02\x03\xe8\x81\x05Hello\xff\xff");
    assert_eq!((events, violation), (vec![Event::Close(Some(1000), String::new())], None));
}

#[test]
fn a_long_message_is_written_in_frames_within_the_limit() {
    for length in [0, 125, 126, 65_535, 65_536, FRAME_BYTES_MAX, FRAME_BYTES_MAX + 1, MESSAGE_BYTES_MAX] {
        let said = Event::Message(Kind::Binary, (0..=250).cycle().take(length).collect());
        for (writes, reads) in [(Sender::Program, Sender::Program), (Sender::Upstream, Sender::Upstream)] {
            assert_eq!(read(reads, &said.encode(writes, || KEY)), (vec![said.clone()], None), "{length}");
        }
    }
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let small = || prop::collection::vec(any::<u8>(), 0..=125);
    let one = prop_oneof![
        ".{0,200}".prop_map(|text| Event::Message(Kind::Text, text.into_bytes())),
        prop::collection::vec(any::<u8>(), 0..70_000).prop_map(|bytes| Event::Message(Kind::Binary, bytes)),
        small().prop_map(Event::Ping),
        small().prop_map(Event::Pong),
    ];
    prop::collection::vec(one, 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What was said is heard, wherever the bytes are cut.
    #[test]
    fn what_is_written_is_read(said in events(), key: [u8; 4], cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
        for sender in [Sender::Program, Sender::Upstream] {
            let bytes: Vec<u8> = said.iter().flat_map(|event| event.encode(sender, || key)).collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            prop_assert_eq!(read_in(sender, &pieces), (said.clone(), None));
        }
    }
}
