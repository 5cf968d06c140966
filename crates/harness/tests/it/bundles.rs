//! A run in one file: it reads as it was written, replays as the log does, and is believed in nothing.

use livery_core::RunStatus;
use livery_core::id::RunId;
use livery_harness::Loop;
use livery_harness::replay::bundle::{Bundle, EVENTS_MAX, PAYLOAD_BYTES_MAX};
use livery_harness::replay::{DivergenceKind, Logged, Verdict, replay};
use serde_json::{Value, json};

use crate::run::{Run, agent, calls, says, setup, shell};

/// A finished run with one tool, exported.
fn exported() -> Bundle {
    let mut run = Run::started(agent());
    run.answer(calls([("a", "shell", shell("cat list"))])).done("a", "first\nsecond\nthird").answer(says("Done."));
    assert!(run.state.is_finished());
    Bundle { run: RunId::from_bits(7), status: RunStatus::Succeeded, setup: setup(agent()), events: run.logged() }
}

#[test]
fn it_reads_as_it_was_written_and_replays() {
    let bundle = exported();
    let text = bundle.clone().text();
    let read = Bundle::parse(&text).unwrap();
    assert_eq!(read, bundle);
    assert_eq!(read.clone().text(), text);
    let report = replay(&Loop::new(read.setup).unwrap(), &read.events);
    assert_eq!((report.result, report.compared_events), (Verdict::Identical, read.events.len() as u64));
}

#[test]
fn a_changed_byte_inside_a_text_result_is_found_where_it_is() {
    let bundle = exported();
    let rules = Loop::new(bundle.setup.clone()).unwrap();
    let at = bundle.events.iter().position(|event| event.event_type == "tool.finished").unwrap();
    let payload = bundle.events[at].data.clone().unwrap();
    let from = payload.find("second").unwrap();
    for byte in from..from + "second".len() {
        for to in [b'x', b'9', b' '] {
            let mut changed = payload.clone().into_bytes();
            changed[byte] = to;
            let mut events = bundle.events.clone();
            events[at].data = Some(String::from_utf8(changed).unwrap());
            let report = replay(&rules, &events);
            let found = report.divergence.unwrap();
            assert_eq!((found.kind, found.seq), (DivergenceKind::PayloadAltered, events[at].seq));
            assert_eq!((found.step, found.byte), (1, Some(byte as u64)), "{found:#?}");
            assert!(found.expected.contains("second") && !found.found.contains("second"), "{found:#?}");
        }
    }
    // More than one byte: the digest says that it was changed, and not where.
    let mut events = bundle.events.clone();
    events[at].data = Some(payload.replace("second", "zweite"));
    assert_eq!(replay(&rules, &events).divergence.unwrap().byte, None);
}

/// The lines of a bundle, one of them changed as JSON.
fn with(line: usize, change: impl FnOnce(&mut Value)) -> String {
    let text = exported().text();
    let mut change = Some(change);
    let lines = text.lines().enumerate().map(|(index, text)| {
        let mut value: Value = serde_json::from_str(text).unwrap();
        if index == line
            && let Some(change) = change.take()
        {
            change(&mut value);
        }
        format!("{value}\n")
    });
    lines.collect()
}

#[test]
fn what_is_no_bundle_is_refused_with_its_line() {
    let text = exported().text();
    let count = text.lines().count();
    let large =
        |bytes: usize| Logged { seq: 1, event_type: "run.queued".into(), digest: None, data: Some("x".repeat(bytes)) };
    let too_large = Bundle { events: vec![large(PAYLOAD_BYTES_MAX + 1)], ..exported() }.text();
    for (what, file, line, words) in [
        ("nothing", String::new(), 1, "no bundle"),
        ("rubbish", "\u{0}{".to_owned(), 1, "no bundle"),
        ("another version", with(0, |head| head["livery_bundle"] = json!(9)), 1, "version 9"),
        ("an unknown field", with(0, |head| head["more"] = json!(1)), 1, "cannot be read"),
        ("a run that is not over", with(0, |head| head["status"] = json!("running")), 1, "not over"),
        ("too many events", with(0, |head| head["events"] = json!(EVENTS_MAX + 1)), 1, "at most 50000"),
        ("cut off", text.lines().take(2).collect::<Vec<_>>().join("\n"), 2, "cut off"),
        ("an event more", format!("{text}{{}}\n"), count + 1, "more than the"),
        ("a gap", with(2, |event| event["seq"] = json!(3)), 3, "event 2 stands here, not 3"),
        ("a name", with(1, |event| event["type"] = json!("Run\u{1b}")), 2, "name of an event"),
        ("a digest", with(1, |event| event["digest"] = json!("ABC")), 2, "64 digits"),
        ("a shape", with(1, |event| event["data"] = json!({})), 2, "cannot be read"),
        ("too large", too_large, 2, "larger than"),
    ] {
        let refused = Bundle::parse(&file).unwrap_err();
        assert_eq!(refused.line, line, "{what}: {refused}");
        assert!(refused.detail.contains(words), "{what}: {refused}");
        assert!(!refused.detail.contains('\u{1b}'), "{what}");
    }
}
