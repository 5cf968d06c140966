//! A crash at every point: what is asked again, what is run again, and what is never done twice.

use livery_harness::{Effect, Input, Recovery, SandboxFate};
use livery_llm::message::Part;
use livery_llm::stream::ModelErrorClass;
use serde_json::json;

use crate::run::{Run, agent, calls, error, says, shell};

/// The process dies; another one folds the log.
fn crash(run: &mut Run, sandbox: SandboxFate) {
    run.state = run.folded();
    run.effects.clear();
    run.take_text();
    run.put(Input::Recovered { sandbox, recovery: Recovery::default() });
}

#[test]
fn before_the_first_call_it_starts() {
    let mut run = Run::new(agent());
    crash(&mut run, SandboxFate::Untouched);
    assert_eq!(run.asked().0, 1);
    run.put(Input::Start);
    assert_eq!(run.asked().0, 1, "a doubled start asks nothing twice");
}

#[test]
fn an_unanswered_model_call_is_made_again_with_the_same_key() {
    let mut run = Run::started(agent());
    run.fail(error(ModelErrorClass::Timeout)).retry();
    let before = run.effects.clone();
    crash(&mut run, SandboxFate::Untouched);
    assert_eq!(run.effects, before);
    run.answer(says("Done."));
    assert!(run.state.is_finished());
}

#[test]
fn a_delay_begins_again() {
    let mut run = Run::started(agent());
    run.fail(error(ModelErrorClass::Timeout));
    let before = run.effects.clone();
    crash(&mut run, SandboxFate::Untouched);
    assert_eq!(run.effects, before);
}

#[test]
fn reads_are_repeated_and_everything_else_is_unknown() {
    let mut run = Run::started(agent());
    run.answer(calls([
        ("done", "shell", shell("make a")),
        ("write", "shell", shell("make b")),
        ("read", "read_file", json!({"path": "a"})),
    ]));
    run.done("done", "made");
    crash(&mut run, SandboxFate::Restarted);
    insta::assert_snapshot!(run.take_text(), @r#"
    > Recovered { sandbox: Restarted, recovery: Recovery { number: 0, node: None, from: None, snapshot_seq: None, lacking: [], held: [] } }
      run.recovered {"notice":"The machine was interrupted and your sandbox started again: your files are as they were, every process is gone, those in the background included.","number":0,"pending":["tool shell (write)","tool read_file (read)"],"sandbox":"restarted"}
      tool.outcome_unknown {"call_id":"write","result":"Interrupted, outcome unknown: the call was running when the machine was interrupted. It may have done all, some or none of its work. Check before you repeat it.","tool":"shell"}
      -> run read {"tool":"read_file","path":"a","offset":1,"limit":2000} (safe)
    "#);
    run.done("write", "a ghost of before");
    run.done("read", "     1\ta");
    let (_, _, request) = run.asked();
    insta::assert_json_snapshot!(request.messages.last().unwrap().parts.iter().map(|part| match part {
        Part::ToolResult(result) => format!("{} error={}", result.call_id, result.is_error),
        Part::Text { text } => text.clone(),
        _ => String::new(),
    }).collect::<Vec<_>>(), @r#"
    [
      "done error=false",
      "write error=true",
      "read error=false",
      "The machine was interrupted and your sandbox started again: your files are as they were, every process is gone, those in the background included."
    ]
    "#);
}

#[test]
fn a_call_that_waited_for_its_turn_was_not_started_and_is_run() {
    let mut run = Run::started(agent());
    let parts = (0..9).map(|n| crate::run::call(&format!("c{n}"), "shell", shell("true"))).collect();
    run.answer(crate::run::reply(parts, livery_llm::stream::StopReason::ToolUse));
    crash(&mut run, SandboxFate::Untouched);
    let [Effect::RunTool { call_id, .. }] = run.effects.as_slice() else { panic!("{:?}", run.effects) };
    assert_eq!(call_id, "c8");
    run.done("c8", "");
    assert_eq!(run.asked().0, 2);
}

#[test]
fn nothing_is_done_twice_over_two_crashes() {
    let mut run = Run::started(agent());
    run.answer(calls([("a", "shell", shell("pay"))]));
    crash(&mut run, SandboxFate::Lost);
    assert_eq!(run.asked().0, 2, "the model is told and decides");
    let before = run.effects.clone();
    crash(&mut run, SandboxFate::Untouched);
    assert_eq!(run.effects, before);
}

#[test]
fn a_model_in_mid_answer_is_asked_the_same_and_told_of_its_new_sandbox_afterwards() {
    let told = |run: &Run| {
        let (_, _, request) = run.asked();
        let last = request.messages.last().unwrap().parts.last().unwrap();
        matches!(last, Part::Text { text } if text.contains("replaced by a new one"))
    };
    let mut run = Run::started(agent());
    run.answer(calls([("a", "write_file", json!({"path": "x", "content": "1"}))])).done("a", "ok");
    let before = run.effects.clone();
    crash(&mut run, SandboxFate::Lost);
    assert_eq!(run.effects, before, "other words would be another request, with another key");
    let mut with_calls = run;
    with_calls.answer(calls([("b", "shell", shell("ls"))])).done("b", "");
    assert!(told(&with_calls));

    let mut failed = Run::started(agent());
    failed.answer(calls([("a", "write_file", json!({"path": "x", "content": "1"}))])).done("a", "ok");
    crash(&mut failed, SandboxFate::Lost);
    failed.fail(error(ModelErrorClass::Timeout)).retry();
    assert!(told(&failed), "another attempt has other words, and so another key");
}

#[test]
fn an_ended_run_stays_ended() {
    let mut run = Run::started(agent());
    run.answer(says("Done."));
    crash(&mut run, SandboxFate::Lost);
    assert!(run.effects.is_empty());
}

#[test]
fn a_log_cut_inside_a_decision_goes_on_too() {
    // One commit holds a whole decision; this is what a log that was cut by hand would lead to.
    let mut whole = Run::started(agent());
    whole.answer(calls([("a", "read_file", json!({"path": "x"})), ("b", "nonsense", json!({}))])).done("a", "x");
    whole.answer(says("Done."));
    let end = whole.log.len();
    for length in 0..end {
        let mut run = Run::new(agent());
        run.log = whole.log[..length].to_vec();
        crash(&mut run, SandboxFate::Untouched);
        assert!(!run.effects.is_empty(), "cut after {length} of {end} records it stands still");
    }
}

/// Every tool that only reads is run again without a word; every other one never is, and the model is told.
#[test]
fn each_tool_is_repeated_or_told_of() {
    let tools = [
        ("shell", shell("pay"), false),
        ("read_file", json!({"path": "a"}), true),
        ("write_file", json!({"path": "a", "content": "1"}), false),
        ("edit_file", json!({"path": "a", "old": "1", "new": "2"}), false),
        ("list_files", json!({}), true),
        ("search_files", json!({"pattern": "x"}), true),
    ];
    for (tool, arguments, repeats) in tools {
        let mut run = Run::started(agent());
        run.answer(calls([("a", tool, arguments)]));
        let before = run.effects.clone();
        crash(&mut run, SandboxFate::Untouched);
        let told = run.records().iter().any(|record| matches!(record, livery_harness::Record::ToolOutcomeUnknown(_)));
        assert_eq!((run.effects == before, told), (repeats, !repeats), "{tool}");
    }
}

/// A call that was held for a person had done nothing, whatever it is; the one beside it may have.
#[test]
fn what_was_held_is_run_and_what_was_not_is_told_of() {
    let mut run = Run::started(agent());
    run.answer(calls([("a", "shell", shell("pay")), ("b", "shell", shell("refund"))]));
    run.state = run.folded();
    let recovery = Recovery { held: vec!["b".into()], ..Recovery::default() };
    run.put(Input::Recovered { sandbox: SandboxFate::Untouched, recovery });
    let told: Vec<String> = run
        .records()
        .iter()
        .filter_map(|record| match record {
            livery_harness::Record::ToolOutcomeUnknown(unknown) => Some(unknown.call_id.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["a"]);
    assert!(matches!(run.effects.as_slice(), [Effect::RunTool { call_id, .. }] if call_id == "b"), "{:?}", run.effects);
}

#[test]
fn retries_of_one_step_have_one_name_and_another_step_another() {
    let key = |run: &Run| match run.effects.as_slice() {
        [Effect::CallModel { idempotency, .. }] => idempotency.clone(),
        other => panic!("{other:?}"),
    };
    let mut run = Run::started(agent());
    assert_eq!(key(&run), "1");
    run.fail(error(ModelErrorClass::Timeout)).retry();
    assert_eq!(key(&run), "1", "the same request");
    run.answer(calls([("a", "read_file", json!({"path": "a"}))]));
    run.done("a", "x");
    assert_eq!(key(&run), "2");
}

#[test]
fn a_restored_workspace_is_told_with_what_it_may_lack() {
    let mut run = Run::started(agent());
    run.answer(calls([("a", "write_file", json!({"path": "x", "content": "1"}))])).done("a", "ok");
    run.state = run.folded();
    let recovery = Recovery {
        number: 2,
        node: Some("nod_b".into()),
        from: Some("nod_a".into()),
        snapshot_seq: Some(4),
        lacking: vec!["write_file (a)".into()],
        held: vec![],
    };
    run.take_text();
    run.put(Input::Recovered { sandbox: SandboxFate::Restored, recovery });
    let text = run.take_text();
    assert!(text.contains(r#""from":"nod_a""#) && text.contains(r#""number":2"#), "{text}");
    assert!(text.contains(r#""pending":["model call of step 2, attempt 1"]"#), "{text}");
    run.answer(calls([("b", "shell", shell("ls"))])).done("b", "");
    let (_, _, request) = run.asked();
    let Part::Text { text } = request.messages.last().unwrap().parts.last().unwrap() else { panic!("text") };
    assert!(text.contains("restored from a copy") && text.contains("missing: write_file (a)"), "{text}");
}

/// A log of another version: fields it added are passed over, fields it did not know have their defaults.
#[test]
fn a_log_of_another_version_is_folded() {
    let log = include_str!("../fixtures/log_of_another_version.jsonl");
    let mut run = Run::new(agent());
    for line in log.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        run.log.push((event["type"].as_str().unwrap().to_owned(), event["data"].to_string()));
    }
    crash(&mut run, SandboxFate::Restarted);
    let (step, _, request) = run.asked();
    assert_eq!(
        (step, request.messages.len()),
        (2, 4),
        "input, note, answer, result; the notice comes with the next question"
    );
    run.answer(calls([("c2", "shell", shell("ls"))])).done("c2", "");
    let (step, _, request) = run.asked();
    assert_eq!(
        (step, request.messages.len()),
        (3, 6),
        "it goes on: call and result, with the notice in the result's message"
    );
}
