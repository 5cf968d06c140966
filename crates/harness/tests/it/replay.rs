//! A run again from its log. That every finished run of the other tables, and of any order of inputs, replays identically,
//! `Run::put` sees to; here stand the differences.

use livery_core::canonical;
use livery_harness::replay::{DivergenceKind, Logged, Report, Verdict, replay};
use livery_harness::{Input, Loop, SandboxFate, ToolOutcome};
use livery_llm::stream::ModelErrorClass;
use serde_json::{Value, json};

use crate::run::{Run, agent, call, calls, counting, error, reply, says, setup, shell, text_part};

/// A run with nearly everything: a failure, calls side by side, one that fails, a crash, a `finish` that comes too early, one
/// that does not fit, and one that does.
fn eventful() -> Run {
    let mut run = Run::started(counting());
    run.fail(error(ModelErrorClass::Timeout)).retry();
    run.answer(calls([("one", "shell", shell("ls")), ("two", "shell", shell("wc -l *"))]));
    run.ended("two", ToolOutcome::failed("no such file"));
    run.done("one", "a.txt\nb.txt");
    run.answer(calls([("three", "shell", shell("make")), ("four", "read_file", json!({"path": "a.txt"}))]));
    run.put(Input::Recovered { sandbox: SandboxFate::Restarted, recovery: livery_harness::Recovery::default() });
    run.done("four", "1\thello");
    run.answer(calls([("five", "finish", json!({"count": "two"}))]));
    run.answer(reply(
        vec![text_part("so"), call("six", "finish", json!({"count": 2}))],
        livery_llm::stream::StopReason::ToolUse,
    ));
    assert!(run.state.is_finished());
    run
}

fn diverged(machine: &Loop, log: &[Logged]) -> livery_harness::replay::Divergence {
    let Report { result, divergence, .. } = replay(machine, log);
    assert_eq!(result, Verdict::Diverged);
    divergence.expect("a divergence is named")
}

/// Whether a record is decided, rather than what a decision begins with.
fn is_decided(run: &Run, at: usize) -> bool {
    let (event_type, data) = &run.log[at];
    let data: Value = serde_json::from_str(data).unwrap();
    match event_type.as_str() {
        "model.responded" | "model.retried" | "run.recovered" => false,
        "tool.finished" => !data["refused"].is_null() || data["tool"] == "finish",
        _ => true,
    }
}

#[test]
fn every_changed_byte_of_every_payload_is_found_where_it_is() {
    let run = eventful();
    let log = run.logged();
    let (mut exact, mut searched) = (0, 0);
    for at in 0..log.len() {
        let payload = log[at].data.clone().unwrap();
        let step = (0..=at).rev().find_map(|index| {
            let data: Value = serde_json::from_str(&run.log[index].1).unwrap();
            (run.log[index].0 == "model.requested").then(|| data["step"].as_u64().unwrap())
        });
        // What only its digest tells of is searched for, which takes a while: some bytes of it stand for all.
        for byte in (0..payload.len()).step_by(if is_decided(&run, at) { 1 } else { 23 }) {
            let mut bytes = payload.clone().into_bytes();
            bytes[byte] ^= 1;
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            let mut log = log.clone();
            log[at].data = Some(changed.clone());
            let found = diverged(&run.machine, &log);
            assert_eq!(found.seq, log[at].seq, "byte {byte} of {changed}: {found:#?}");
            assert_eq!(Some(u64::from(found.step)), step, "byte {byte} of {changed}: {found:#?}");
            if is_decided(&run, at) {
                exact += 1;
            } else {
                searched += 1;
            }
            assert_eq!(found.byte, Some(byte as u64), "byte {byte} of {changed}: {found:#?}");
        }
    }
    assert!(exact > 1_000 && searched > 50, "{exact} bytes compared, {searched} searched for");
}

/// Whoever changes a payload and its digest too is found by what the loop makes of it: at the latest by the next prompt.
#[test]
fn a_changed_result_with_a_new_digest_is_found_by_the_next_prompt() {
    let run = eventful();
    let mut log = run.logged();
    let at = log.iter().position(|event| event.data.as_ref().unwrap().contains("b.txt")).unwrap();
    let changed = log[at].data.clone().unwrap().replace("b.txt", "c.txt");
    log[at].digest = Some(canonical::sha256_hex(&changed));
    log[at].data = Some(changed);
    let found = diverged(&run.machine, &log);
    assert_eq!((found.kind, found.step), (DivergenceKind::PromptDiffers, 2));
    assert_eq!((found.event_type.as_str(), found.pointer.as_deref()), ("model.requested", Some("/request_digest")));
}

#[test]
fn another_prompt_differs_at_the_first_step() {
    let run = eventful();
    let mut other = counting();
    other.prompt = livery_core::agent::Prompt::parse("Count the files of {{input.month}}!").unwrap();
    let found = diverged(&Loop::new(setup(other)).unwrap(), &run.logged());
    assert_eq!((found.kind, found.step, found.seq), (DivergenceKind::PromptDiffers, 1, 1));
}

#[test]
fn other_rules_are_named_by_what_they_decide() {
    let run = eventful();
    let mut tighter = setup(counting());
    tighter.limits.max_turns = Some(2);
    let found = diverged(&Loop::new(tighter).unwrap(), &run.logged());
    assert_eq!((found.kind, found.step), (DivergenceKind::DecisionDiffers, 2));
    assert!(found.expected.starts_with("run.failed"), "{found:#?}");
    assert!(found.detail.contains("run.failed"), "{found:#?}");
}

#[test]
fn events_that_are_missing_or_too_many_are_named() {
    let run = eventful();
    let log = run.logged();
    let mut shorter = log.clone();
    shorter.pop();
    let found = diverged(&run.machine, &shorter);
    assert_eq!((found.seq, found.found.as_str()), (log.len() as u64, "nothing"));
    let mut longer = log.clone();
    longer.insert(1, log[0].clone());
    assert_eq!(diverged(&run.machine, &longer).seq, 1, "the doubled request");
}

#[test]
fn deleted_payloads_leave_a_replay_incomplete() {
    let run = eventful();
    let mut log = run.logged();
    for event in log.iter_mut().skip(3) {
        event.data = None;
    }
    let report = replay(&run.machine, &log);
    assert_eq!((report.result, report.missing_seq), (Verdict::Incomplete, Some(4)));
}

/// Logs of before the fields that replays were given.
#[test]
fn an_older_log_is_compared_as_far_as_it_goes() {
    let mut run = Run::started(agent());
    run.fail(error(ModelErrorClass::Overloaded)).retry();
    run.fail(error(ModelErrorClass::InvalidRequest));
    assert!(run.state.is_finished());
    let mut log = run.logged();
    for event in &mut log {
        let mut data: Value = serde_json::from_str(event.data.as_ref().unwrap()).unwrap();
        for field in ["request_digest", "failure", "cause"] {
            data.as_object_mut().unwrap().remove(field);
        }
        event.data = Some(data.to_string());
        event.digest = None;
    }
    let report = replay(&run.machine, &log);
    assert_eq!(report.result, Verdict::Identical, "{report:#?}");
    let unchecked: Vec<&str> = report.unchecked.iter().map(String::as_str).collect();
    assert_eq!(unchecked, ["model.requested/request_digest", "model.retried", "run.failed/cause"]);
}

#[test]
fn what_others_wrote_into_the_log_is_passed_over() {
    let mut run = Run::started(agent());
    run.answer(says("Done."));
    let mut log = run.logged();
    let started = Logged { seq: 9, event_type: "sandbox.started".into(), digest: None, data: Some("{}".into()) };
    log.insert(1, started.clone());
    log.insert(1, Logged { event_type: "of.a_newer_version".into(), ..started });
    let report = replay(&run.machine, &log);
    assert_eq!((report.result, report.events, report.compared_events), (Verdict::Identical, 5, 3));
}
