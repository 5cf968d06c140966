//! What must hold of everything a guest says to its host.

use std::collections::BTreeMap;

use livery_core::terminal::{Keep, Sieve};
use livery_guest::wire::flow::{FLOW_WINDOW_BYTES, FLOWS_MAX, Grant, Ledger, Listen, Step};
use livery_guest::wire::job::Job;
use livery_guest::wire::message::{Done, Entry, Exec, Exit, Failure, Get, Hello, List, Put, Stat, Tail};
use livery_guest::wire::{Decoder as FrameDecoder, Kind, PAYLOAD_BYTES_MAX, Reader, Side, terminal};
use livery_sandbox::monitor::{Answer, BODY_BYTES_MAX, FAULT_CHARS_MAX, HEAD_BYTES_MAX};

use crate::cut;

/// Frames come out the same however the bytes are cut, never larger than the limit; no payload makes a message parser panic.
pub fn guest_wire(bytes: &[u8]) {
    let Some((one, two)) = cut(bytes) else { return };
    for side in [Side::Host, Side::Guest] {
        let whole = frames(side, &[&bytes[1..]]);
        assert_eq!(whole, frames(side, &[one, two]), "a cut changes the frames");
        for (_, payload) in whole {
            messages(&payload);
        }
    }
    messages(&bytes[1..]);
}

fn frames(side: Side, pieces: &[&[u8]]) -> Vec<(u32, Vec<u8>)> {
    let mut decoder = FrameDecoder::new(side);
    let mut frames = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        while let Ok(Some(frame)) = decoder.next() {
            assert!(frame.payload.len() <= PAYLOAD_BYTES_MAX, "a frame beyond the limit");
            frames.push((frame.stream, frame.payload.to_vec()));
        }
    }
    frames
}

/// Whatever a guest sends about its flows, the host never holds more of one than its window, nor more flows than the limit, nor
/// one number twice.
pub fn flow_ledger(bytes: &[u8]) {
    let mut decoder = FrameDecoder::new(Side::Host);
    decoder.push(bytes);
    let (mut ledger, mut held, mut last) = (Ledger::default(), BTreeMap::new(), 0);
    while let Ok(Some(frame)) = decoder.next() {
        if !frame.kind.is_of_flow() {
            // The host acts on the flow of that number: it takes what it holds, sends, or has its last word.
            let flow = frame.stream;
            if let Some(bytes) = held.get_mut(&flow) {
                if ledger.consumed(flow, *bytes) {
                    *bytes = 0;
                }
            }
            if let Some(room) = ledger.room(flow) {
                ledger.sends(flow, room.min(7));
            }
            if frame.payload.is_empty() {
                ledger.ends(flow);
            }
            continue;
        }
        match ledger.receive(frame.kind, frame.stream, frame.payload) {
            Ok(Step::Opened) => {
                assert!(frame.stream > last, "a number twice");
                last = frame.stream;
                held.insert(frame.stream, 0_u32);
            }
            Ok(Step::Read(bytes)) => {
                let held = held.get_mut(&frame.stream).expect("it was opened");
                *held += u32::try_from(bytes.len()).expect("a frame's payload");
                assert!(*held <= FLOW_WINDOW_BYTES, "beyond the window");
            }
            Ok(Step::Granted(bytes)) => assert!(bytes <= FLOW_WINDOW_BYTES, "a grant beyond the window"),
            Ok(Step::Closed) => drop(held.remove(&frame.stream)),
            Ok(Step::ReadEnd) => {}
            Err(_) => return,
        }
        assert!(ledger.len() <= FLOWS_MAX && ledger.len() == held.len(), "flows beyond the limit");
    }
}

/// Whatever a guest says of a terminal, the host takes no more of it than it asked for, nothing from before what it asked for, and
/// no answer twice; what is typed stays within its window.
pub fn terminal_ledger(bytes: &[u8]) {
    let mut decoder = FrameDecoder::new(Side::Host);
    decoder.push(bytes);
    let (mut books, mut offset, mut typed) = (terminal::Ledger::new(), 0, 0_u32);
    let mut asked = None;
    while let Ok(Some(frame)) = decoder.next() {
        if frame.kind == Kind::TerminalOutput {
            match books.answers(frame.payload) {
                Ok(Some(output)) => {
                    let limit = asked.take().expect("an answer nobody asked for, or a second one");
                    assert!(output.bytes.len() <= limit && output.start >= offset, "more than was asked for");
                    offset = output.start + output.bytes.len() as u64;
                }
                Ok(None) => {}
                Err(_) => return,
            }
        } else if frame.kind == Kind::TerminalGranted {
            match Grant::decode(frame.payload).and_then(|grant| books.granted(grant.bytes).map(|()| grant.bytes)) {
                Ok(bytes) => typed = typed.checked_sub(bytes).expect("a grant of what was never typed"),
                Err(_) => return,
            }
        } else {
            // The host acts: it asks for as much as the frame is long, and types as much.
            let length = frame.payload.len() as u32;
            let read = books.asks(offset, length);
            asked = Some(read.limit as usize);
            if books.types(length) {
                typed += length;
            }
            assert_eq!(typed + books.room(), terminal::INPUT_WINDOW_BYTES, "beyond the window");
        }
    }
}

/// What passes is the same however the bytes are cut, and passes again as it is; a text has no control characters, and what goes to
/// a person's terminal nothing that makes it answer, remember or print.
pub fn terminal_text(bytes: &[u8]) {
    let Some((one, two)) = cut(bytes) else { return };
    let shown = |keep, pieces: &[&[u8]]| {
        let mut sieve = Sieve::new(keep);
        let mut out: String = pieces.iter().map(|piece| sieve.pass(piece)).collect();
        out.push_str(&sieve.finish());
        out
    };
    for keep in [Keep::Text, Keep::Display] {
        let out = shown(keep, &[&bytes[1..]]);
        assert_eq!(out, shown(keep, &[one, two]), "a cut changes what passes");
        assert_eq!(out, shown(keep, &[out.as_bytes()]), "what passed does not pass");
        assert!(!out.contains('\u{5}') && !out.contains("\u{1b}]") && !out.contains("\u{1b}P"), "a string passes");
        let is_control = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
        assert!(keep == Keep::Display || !out.contains(is_control), "a text with a control character");
    }
}

/// What decodes is what its encoding decodes to.
fn messages(payload: &[u8]) {
    if let Ok(hello) = Hello::decode(payload) {
        assert_eq!(hello.encode(), payload);
    }
    if let Ok(exec) = Exec::decode(payload) {
        assert_eq!(exec.encode().expect("it was within the limits"), payload);
    }
    if let Ok(exit) = Exit::decode(payload) {
        assert_eq!(Exit::decode(&exit.encode()), Ok(exit));
    }
    if let Ok(tail) = Tail::decode(payload) {
        assert_eq!(tail.encode(), payload);
    }
    if let Ok(put) = Put::decode(payload) {
        assert_eq!(Put::decode(&put.encode()), Ok(put));
    }
    if let Ok(get) = Get::decode(payload) {
        assert_eq!(Get::decode(&get.encode()), Ok(get));
    }
    if let Ok(list) = List::decode(payload) {
        assert_eq!(List::decode(&list.encode()), Ok(list));
    }
    if let Ok(stat) = Stat::decode(payload) {
        assert_eq!(Stat::decode(&stat.encode()), Ok(stat));
    }
    if let Ok(open) = terminal::Open::decode(payload) {
        assert_eq!(open.encode().expect("it was within the limits"), payload);
    }
    if let Ok(size) = terminal::Size::decode(payload) {
        assert_eq!(size.encode(), payload);
    }
    if let Ok(read) = terminal::Read::decode(payload) {
        assert_eq!(read.encode(), payload);
    }
    if let Ok(output) = terminal::Output::decode(payload) {
        assert_eq!(output.encode(), payload);
    }
    if let Ok(job) = Job::decode(&mut Reader::new(payload)) {
        assert!(payload.len() >= 8 && job.pid.to_le_bytes() == payload[4..8]);
    }
    if let Ok(done) = Done::decode(payload) {
        assert_eq!(done.encode(), payload);
    }
    if let Ok(failure) = Failure::decode(payload) {
        assert_eq!(Failure::decode(&failure.encode()), Ok(failure));
    }
    if let Ok(listen) = Listen::decode(payload) {
        assert_eq!(listen.encode(), payload);
    }
    if let Ok(grant) = Grant::decode(payload) {
        assert_eq!(grant.encode(), payload);
    }
    let mut reader = Reader::new(payload);
    while Entry::decode(&mut reader).is_ok() {}
}

/// A monitor, which its guest may have taken over, answers the same however its bytes are cut and whatever follows them, within the limits;
/// what is passed on of it is printable.
pub fn monitor_answer(bytes: &[u8]) {
    let Some((one, _)) = cut(bytes) else { return };
    let whole = Answer::read(&bytes[1..]);
    match Answer::read(one) {
        Ok(None) => {}
        early => assert_eq!(early, whole, "a cut changes the answer"),
    }
    if let Ok(Some(answer)) = &whole {
        assert!(answer.bytes <= (bytes.len() - 1).min(HEAD_BYTES_MAX + BODY_BYTES_MAX), "longer than the limits");
        let fault = answer.fault.as_deref().unwrap_or_default();
        assert!(fault.chars().count() <= FAULT_CHARS_MAX && !fault.chars().any(char::is_control), "unprintable");
        assert_eq!(Answer::read(&bytes[1..=answer.bytes]), whole, "what follows changes the answer");
    }
}
