//! The parser against what a hostile peer may send: any bytes, in any pieces, give frames or an error, never a panic.

use proptest::prelude::*;

use super::job::Job;
use super::message::{Done, Entry, Exec, Exit, Failure, FileKind, Get, Hello, List, Outcome, Put, Reach, Stat, Tail};
use super::{Decoder, Error, HEADER_BYTES, Kind, PAYLOAD_BYTES_MAX, Reader, Side, Writer, encode};

fn drain(decoder: &mut Decoder, into: &mut Vec<(Kind, u32, Vec<u8>)>) -> Result<(), Error> {
    while let Some(frame) = decoder.next()? {
        into.push((frame.kind, frame.stream, frame.payload.to_vec()));
    }
    Ok(())
}

fn guest_kinds() -> impl Strategy<Value = Kind> {
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|k| k.is_from_guest()).collect();
    proptest::sample::select(kinds)
}

proptest! {
    #[test]
    fn frames_survive_any_split(
        frames in proptest::collection::vec((guest_kinds(), any::<u32>(), proptest::collection::vec(any::<u8>(), 0..300)), 0..8),
        step in 1_usize..64,
    ) {
        let mut bytes = Vec::new();
        for (kind, stream, payload) in &frames {
            encode(&mut bytes, *kind, *stream, payload);
        }
        let mut decoder = Decoder::new(Side::Host);
        let mut seen = Vec::new();
        for chunk in bytes.chunks(step) {
            decoder.push(chunk);
            drain(&mut decoder, &mut seen).unwrap();
        }
        prop_assert_eq!(seen, frames);
    }

    #[test]
    fn rubbish_never_panics_and_never_grows(bytes in proptest::collection::vec(any::<u8>(), 0..4096), side in any::<bool>()) {
        let mut decoder = Decoder::new(if side { Side::Host } else { Side::Guest });
        let mut seen = Vec::new();
        for chunk in bytes.chunks(97) {
            decoder.push(chunk);
            if drain(&mut decoder, &mut seen).is_err() {
                break;
            }
        }
        prop_assert!(decoder.buffer.len() <= HEADER_BYTES + PAYLOAD_BYTES_MAX + 97);
    }

    #[test]
    fn rubbish_payloads_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = Hello::decode(&bytes);
        let _ = Exec::decode(&bytes);
        let _ = Exit::decode(&bytes);
        let _ = Tail::decode(&bytes);
        let _ = Put::decode(&bytes);
        let _ = Get::decode(&bytes);
        let _ = List::decode(&bytes);
        let _ = Stat::decode(&bytes);
        let _ = Done::decode(&bytes);
        let _ = Failure::decode(&bytes);
        let mut reader = Reader::new(&bytes);
        while !reader.is_empty() && Entry::decode(&mut reader).is_ok() {}
        let mut reader = Reader::new(&bytes);
        while !reader.is_empty() && Job::decode(&mut reader).is_ok() {}
    }

    #[test]
    fn exec_round_trips(
        argv in proptest::collection::vec("[^\0]{0,20}", 1..5),
        env in proptest::collection::vec("[A-Z]{1,5}=[^\0]{0,20}", 0..5),
        timeout_ms in any::<u32>(), background in any::<bool>(), has_stdin in any::<bool>(),
    ) {
        let exec = Exec {
            argv: argv.into_iter().map(String::into_bytes).collect(),
            env: env.into_iter().map(String::into_bytes).collect(),
            cwd: b"/workspace".to_vec(), timeout_ms, background, output_limit: 4096, has_stdin,
        };
        prop_assert_eq!(Exec::decode(&exec.encode().unwrap()).unwrap(), exec);
    }
}

#[test]
fn each_side_refuses_its_own_kinds_and_bad_headers() {
    let refusal = |side, kind: u8, length: u32, reserved: u8| {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend_from_slice(&[1, 0, 0, 0, kind, reserved, 0, 0]);
        let mut decoder = Decoder::new(side);
        decoder.push(&bytes);
        decoder.next().map(|frame| frame.map(|f| f.kind))
    };
    assert_eq!(refusal(Side::Host, Kind::Exec as u8, 0, 0), Err(Error::Kind(1)));
    assert_eq!(refusal(Side::Guest, Kind::Exit as u8, 0, 0), Err(Error::Kind(69)));
    assert_eq!(refusal(Side::Host, 200, 0, 0), Err(Error::Kind(200)));
    assert_eq!(refusal(Side::Host, Kind::Exit as u8, 0, 1), Err(Error::Reserved));
    assert_eq!(refusal(Side::Host, Kind::Exit as u8, 65_537, 0), Err(Error::TooLong));
    assert_eq!(refusal(Side::Host, Kind::Exit as u8, 65_536, 0), Ok(None));
    assert_eq!(refusal(Side::Host, Kind::Exit as u8, 0, 0), Ok(Some(Kind::Exit)));
}

#[test]
fn answers_round_trip() {
    let exit = Exit { outcome: Outcome::Signal(9), timed_out: true, full_output: b"/workspace/x".to_vec() };
    assert_eq!(Exit::decode(&exit.encode()).unwrap(), exit);
    let failure = Failure { errno: 2, reason: "é".repeat(600) };
    let decoded = Failure::decode(&failure.encode()).unwrap();
    assert_eq!((decoded.errno, decoded.reason.len()), (2, 1024));
    let entry = Entry { path: b"a/b".to_vec(), kind: FileKind::Symlink, size: 7, mode: 0o755, modified_us: 3 };
    let mut w = Writer::new();
    entry.encode(&mut w);
    let bytes = w.into_bytes();
    let mut reader = Reader::new(&bytes);
    assert_eq!(Entry::decode(&mut reader).unwrap(), entry);
    assert!(reader.is_empty());
    let put = Put { path: b"/workspace/\0".to_vec(), mode: 0o644, reach: Reach::Workspace };
    assert_eq!(Put::decode(&put.encode()), Err(Error::Malformed));
}
