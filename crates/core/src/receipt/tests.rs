use serde_json::json;

use super::log::{Chain, ExportedEvent, Header, LogStatement, MARKS_MAX, parse_events};
use super::*;
use crate::Usd;
use crate::run::Pricing;

const RUN: RunId = RunId::from_bits(7);

fn events(count: u64) -> Vec<ExportedEvent> {
    let event = |seq: u64| {
        let data = json!({"step": seq, "text": format!("number {seq}")});
        ExportedEvent {
            seq,
            run_id: RUN.to_string(),
            event_type: "model.responded".into(),
            at: format!("2026-10-01T12:00:00.{seq:06}Z"),
            actor: "worker".into(),
            digest: canonical::sha256_hex(canonical::text(&data)),
            data,
        }
    };
    (1..=count).map(event).collect()
}

fn chained(events: &[ExportedEvent]) -> LogStatement {
    let mut chain = Chain::new(RUN, events.len() as u64);
    for event in events {
        let ExportedEvent { seq, event_type, actor, at, digest, .. } = event;
        chain.push(&Header { seq: *seq, event_type, actor, at, digest });
    }
    chain.finish()
}

fn receipt() -> Receipt {
    let at = Timestamp::from_micros(1_790_000_000_000_001);
    let statement = Statement {
        version: VERSION,
        livery: "0.1.0".into(),
        run: RUN,
        organization: OrgId::from_bits(1),
        application: None,
        end_user: None,
        status: RunStatus::Succeeded,
        agent: AgentStatement { name: "clerk".into(), version: Some(3), sha256: canonical::sha256_hex("agent") },
        model: "acme/large".into(),
        sandbox: SandboxStatement { tier: "container".into(), minimum_tier: None },
        policy: PolicyStatement { sha256: NO_POLICY_SHA256.into(), note: "none".into() },
        input_sha256: canonical::sha256_hex("{}"),
        output_sha256: Some(canonical::sha256_hex("{}")),
        error: None,
        log: chained(&events(3)),
        usage: Usage { input_tokens: 10, ..Usage::default() },
        cost: Cost { usd: Usd::ZERO, pricing: Pricing::Free },
        created_at: at,
        started_at: Some(at),
        finished_at: at,
    };
    let signature = Signature { algorithm: ALGORITHM.into(), key_id: "rk_1".into(), value: "AAAA".into() };
    Receipt { receipt: statement, signature }
}

#[test]
fn a_receipt_reads_as_it_was_written() {
    let receipt = receipt();
    assert_eq!(Receipt::parse(&format!("{}\n", receipt.text())), Ok(receipt));
}

/// Together with a signature over the statement, and one name for each key, this leaves no byte that could be changed.
#[test]
fn every_changed_byte_is_refused_or_changes_what_is_said() {
    let receipt = receipt();
    let text = receipt.text();
    for byte in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[byte] ^= 1;
        let Ok(changed) = String::from_utf8(bytes) else { continue };
        if let Ok(read) = Receipt::parse(&changed) {
            assert_ne!(read, receipt, "byte {byte} of {changed}");
        }
    }
}

#[test]
fn other_forms_of_the_same_value_are_refused() {
    let text = receipt().text();
    let pretty = serde_json::to_string_pretty(&receipt()).unwrap();
    assert!(matches!(Receipt::parse(&pretty), Err(ReceiptRefused::NotCanonical { .. })));
    let doubled = text.replacen("\"model\":", "\"model\":\"acme/small\",\"model\":", 1);
    assert!(matches!(Receipt::parse(&doubled), Err(ReceiptRefused::NotCanonical { .. })));
    let zone = text.replace("Z\",\"cost", "+00:00\",\"cost");
    assert!(zone == text || matches!(Receipt::parse(&zone), Err(ReceiptRefused::NotCanonical { .. })));
}

#[test]
fn what_is_no_receipt_says_why() {
    let text = receipt().text();
    let refused = |text: &str| Receipt::parse(text).unwrap_err().to_string();
    assert!(refused(&"x".repeat(RECEIPT_BYTES_MAX + 1)).contains("at most"));
    assert!(refused("{}").contains("no receipt"));
    assert!(refused(&text.replace("\"model\"", "\"nodel\"")).contains("nodel"));
    assert!(refused(&text.replace("\"version\":1}", "\"version\":2}")).contains("version 2"));
    assert!(refused(&text.replace("ed25519", "ed25518")).contains("ed25518"));
}

#[track_caller]
fn found(log: &LogStatement, events: &[ExportedEvent], seq: u64, words: &str) {
    let checked = log.check(RUN, events);
    let first = checked.findings.first().unwrap_or_else(|| panic!("nothing was found"));
    assert_eq!(first.seq, seq, "{checked:?}");
    assert!(first.detail.contains(words), "{checked:?}");
}

#[test]
fn events_that_were_changed_removed_added_or_moved_are_named() {
    let all = events(40);
    let log = chained(&all);
    assert_eq!(log.check(RUN, &all).findings, []);
    let changed = |change: &dyn Fn(&mut Vec<ExportedEvent>)| {
        let mut events = all.clone();
        change(&mut events);
        events
    };
    found(&log, &changed(&|events| events[16].data["text"] = "other".into()), 17, "digest");
    found(&log, &changed(&|events| events[16].actor = "key_1".into()), 17, "actor");
    found(&log, &changed(&|events| events[16].at.replace_range(0..4, "2025")), 17, "time");
    found(&log, &changed(&|events| events[16].event_type = "run.failed".into()), 17, "type");
    found(&log, &changed(&|events| events[16].run_id = "run_1".into()), 17, "belongs to run_1");
    found(&log, &changed(&|events| drop(events.remove(16))), 17, "missing");
    found(&log, &changed(&|events| drop(events.pop())), 40, "missing");
    found(&log, &changed(&|events| events.insert(16, all[16].clone())), 18, "second time");
    found(&log, &changed(&|events| events.push(all[39].clone())), 41, "event 40");
    found(&log, &changed(&|events| events.swap(16, 17)), 17, "another place");
    // Data and digest together: nothing in the event tells, the signed heads do.
    let replaced = changed(&|events| {
        events[16].data["text"] = "other".into();
        events[16].digest = canonical::sha256_hex(canonical::text(&events[16].data));
    });
    found(&log, &replaced, 17, "digest");
}

#[test]
fn a_long_log_is_located_between_two_marks() {
    let mut all = events(2 * MARKS_MAX + 5);
    let log = chained(&all);
    assert!(log.marks.len() as u64 <= MARKS_MAX + 1 && log.mark_every == 3);
    all[100].actor = "somebody".into();
    let checked = log.check(RUN, &all);
    assert_eq!((checked.findings[0].seq, checked.findings.len()), (100, 1), "{checked:?}");
    assert!(checked.findings[0].detail.contains("up to 102"), "{checked:?}");
}

#[test]
fn deleted_payloads_do_not_matter_to_the_head() {
    let mut all = events(9);
    let log = chained(&all);
    all.iter_mut().for_each(|event| event.data = Value::Null);
    let checked = log.check(RUN, &all);
    assert_eq!((checked.findings.len(), checked.events, checked.with_data), (0, 9, 0));
}

#[test]
fn events_are_read_as_a_page_a_list_or_lines() {
    let event = json!({"seq": 1, "run_id": RUN, "type": "a", "at": "t", "actor": "w", "digest": "d", "data": null});
    let lines = format!("{event}\n\n{event}\n");
    assert_eq!(parse_events(&lines).unwrap().len(), 2);
    assert_eq!(parse_events(&json!([event]).to_string()).unwrap().len(), 1);
    assert_eq!(
        parse_events(&json!({"data": [event], "next_after": null, "last_seq": 1}).to_string()).unwrap().len(),
        1
    );
    assert_eq!(parse_events(&event.to_string()).unwrap().len(), 1);
    assert!(parse_events("{}").unwrap_err().contains("data"));
    assert!(parse_events(&format!("{event}\nx")).unwrap_err().starts_with("line 2"));
    assert_eq!(parse_events("").unwrap().len(), 0);
}
