//! A crash at every point: what is asked again, what is run again, and what is never done twice.

use livery_harness::{Effect, Input, SandboxFate};
use livery_llm::message::Part;
use livery_llm::stream::ModelErrorClass;
use serde_json::json;

use crate::run::{Run, agent, calls, error, says, shell};

/// The process dies; another one folds the log.
fn crash(run: &mut Run, sandbox: SandboxFate) {
    run.state = run.folded();
    run.effects.clear();
    run.take_text();
    run.put(Input::Recovered { sandbox });
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
    > Recovered { sandbox: Restarted }
      run.recovered {"notice":"The machine was interrupted and your sandbox started again: your files are as they were, every process is gone, those in the background included.","sandbox":"restarted"}
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
    assert_eq!(run.effects, before, "the same key with other words would be another request");
    let mut with_calls = run;
    with_calls.answer(calls([("b", "shell", shell("ls"))])).done("b", "");
    assert!(told(&with_calls));

    let mut failed = Run::started(agent());
    failed.answer(calls([("a", "write_file", json!({"path": "x", "content": "1"}))])).done("a", "ok");
    crash(&mut failed, SandboxFate::Lost);
    failed.fail(error(ModelErrorClass::Timeout)).retry();
    assert!(told(&failed), "another attempt has another key");
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
