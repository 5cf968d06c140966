//! Tool calls: looked at in source order, run together, answered in source order; `finish`; what is never run.

use livery_core::ErrorCode;
use livery_core::agent::OwnTool;
use livery_harness::outcome::ShellOutput;
use livery_harness::tools::{CALLS_PER_TURN_MAX, TOOLS_CONCURRENT_MAX};
use livery_harness::{Effect, Invocation, Loop, Record, ToolOutcome};
use livery_llm::message::{Part, ToolResult};
use livery_llm::stream::StopReason;
use serde_json::{Value, json};

use crate::run::{Run, agent, call, calls, counting, reply, says, setup, shell, text_part};

/// The results in the last message of the model call in flight.
fn results(run: &Run) -> Vec<ToolResult> {
    let (_, _, request) = run.asked();
    let parts = &request.messages.last().unwrap().parts;
    parts
        .iter()
        .filter_map(|part| if let Part::ToolResult(result) = part { Some(result.clone()) } else { None })
        .collect()
}

fn text(result: &ToolResult) -> &str {
    let Part::Text { text } = &result.parts[0] else { panic!("the first part is text") };
    text
}

fn only_error(run: &Run) -> String {
    let results = results(run);
    assert_eq!(results.len(), 1);
    assert!(results[0].is_error);
    text(&results[0]).to_owned()
}

fn runs(run: &Run) -> Vec<String> {
    let id = |effect: &Effect| if let Effect::RunTool { call_id, .. } = effect { Some(call_id.clone()) } else { None };
    run.effects.iter().filter_map(id).collect()
}

#[test]
fn results_come_back_in_source_order_whatever_ends_first() {
    let mut run = Run::started(agent());
    run.answer(calls([
        ("a", "shell", shell("sleep 3")),
        ("b", "read_file", json!({"path": "x.csv"})),
        ("c", "nonsense", json!({})),
    ]));
    run.done("b", "     1\tx");
    run.ended("a", ToolOutcome::failed("killed"));
    insta::assert_snapshot!(run.take_text(), @r#"
    > Start
      model.requested {"attempt":1,"max_output_tokens":16384,"model":"acme/large","step":1}
      -> ask acme/large 1, at most 16384, 1 messages, last: "Your input, as JSON:\n{\"month\":\"2026-10\"}"
    > answer to step 1 attempt 1
      model.responded 1 tool_use: a shell | b read_file | c nonsense
      tool.requested {"arguments":{"command":"sleep 3"},"call_id":"a","tool":"shell"}
      tool.requested {"arguments":{"path":"x.csv"},"call_id":"b","tool":"read_file"}
      tool.requested {"arguments":{},"call_id":"c","tool":"nonsense"}
      tool.finished {"call_id":"c","duration_ms":0,"ok":false,"refused":"unknown_tool","result":"There is no tool named `nonsense`. Tools: edit_file, finish, list_files, read_file, search_files, shell, write_file.","tool":"nonsense"}
      tool.started {"call_id":"a","tool":"shell"}
      tool.started {"call_id":"b","tool":"read_file"}
      -> run a {"tool":"shell","command":"sleep 3","timeout_s":120,"cwd":null,"background":false}
      -> run b {"tool":"read_file","path":"x.csv","offset":1,"limit":2000} (safe)
    > b done
      tool.finished {"call_id":"b","duration_ms":12,"ok":true,"result":"     1\tx","tool":"read_file"}
    > a done
      tool.finished {"call_id":"a","duration_ms":12,"ok":false,"result":"killed","tool":"shell"}
      model.requested {"attempt":1,"max_output_tokens":16384,"model":"acme/large","step":2}
      -> ask acme/large 2, at most 16384, 3 messages, last: a = "killed" | b = "     1\tx" | c = "There is no tool named `nonsense`. Tools: edit_file, finish, list_files, read_file, search_files, shell, write_file."
    "#);
    let order: Vec<(String, bool)> =
        results(&run).into_iter().map(|result| (result.call_id, result.is_error)).collect();
    assert_eq!(order, [("a".into(), true), ("b".into(), false), ("c".into(), true)]);
}

#[test]
fn a_bounded_number_of_tools_runs_at_a_time() {
    let mut run = Run::started(agent());
    let parts = (0..10).map(|n| call(&format!("c{n}"), "shell", shell("true"))).collect();
    run.answer(reply(parts, StopReason::ToolUse));
    assert_eq!(runs(&run).len(), TOOLS_CONCURRENT_MAX);
    run.done("c5", "");
    assert_eq!(runs(&run), ["c8"], "each that ends makes room for the next in order");
    run.done("c0", "");
    assert_eq!(runs(&run), ["c9"]);
    for n in [1, 2, 3, 4, 6, 7, 8, 9] {
        run.done(&format!("c{n}"), "");
    }
    assert_eq!(results(&run).len(), 10);
    assert_eq!(run.state.usage().tool_calls, 10);
}

#[test]
fn late_and_doubled_results_change_nothing() {
    let mut run = Run::started(agent());
    run.answer(calls([("a", "shell", shell("true")), ("b", "shell", shell("true"))]));
    run.done("a", "first");
    let length = run.log.len();
    run.done("a", "second").done("nobody", "third");
    assert_eq!(run.log.len(), length);
    run.done("b", "");
    assert_eq!(text(&results(&run)[0]), "first");
    let length = run.log.len();
    run.done("b", "after the turn");
    assert_eq!(run.log.len(), length);
}

#[test]
fn an_unknown_tool_is_answered_with_the_tools_there_are() {
    let mut run = Run::started(agent());
    run.answer(calls([("a", "bash", json!({"cmd": "ls"}))]));
    assert_eq!(
        only_error(&run),
        "There is no tool named `bash`. Tools: edit_file, finish, list_files, read_file, search_files, shell, write_file."
    );
    assert!(runs(&run).is_empty());
    assert_eq!(run.state.usage().tool_calls, 0, "what was not run does not count");
}

#[test]
fn bad_arguments_are_answered_with_every_finding() {
    let mut run = Run::started(agent());
    run.answer(calls([("a", "shell", json!({"command": "", "timeout_s": "long", "colour": 1}))]));
    insta::assert_snapshot!(only_error(&run), @r#"
    The arguments do not fit the schema of `shell`; nothing was run:
    - /command: "" is shorter than 1 character
    - /timeout_s: "long" is not of type "integer"
    - (whole value): Additional properties are not allowed ('colour' was unexpected)
    "#);
    for (arguments, word) in [
        (json!({"path": "a\0b"}), "NUL"),
        (json!({"path": "x", "offset": 0}), "minimum"),
        (json!({"path": "x", "limit": 1e30}), "expected u64"),
        (json!({}), "\"path\" is a required property"),
        (Value::String("{\"path\": \"x\"".into()), "not an object"),
        (json!([1]), "not an object"),
        (json!({"path": "x".repeat(1024 * 1024 + 1)}), "larger than 1048576 bytes"),
    ] {
        let mut run = Run::started(agent());
        run.answer(calls([("a", "read_file", arguments)]));
        assert!(only_error(&run).contains(word), "{word}: {}", only_error(&run));
        assert!(only_error(&run).len() < 2_000, "an answer never echoes a large argument");
    }
}

#[test]
fn unusable_turns_in_a_row_end_the_run() {
    let mut run = Run::started(agent());
    for turn in 0..3 {
        run.answer(calls([(&format!("bad{turn}"), "bash", json!({}))]));
        assert!(!run.state.is_finished());
    }
    run.answer(calls([("bad3", "bash", json!({}))]));
    assert_eq!(run.error().code, ErrorCode::ModelError);
    assert!(
        run.error().message.starts_with("the model made no usable tool call in 4 turns in a row"),
        "{}",
        run.error().message
    );
}

#[test]
fn a_good_call_ends_the_row_of_unusable_turns() {
    let mut run = Run::started(agent());
    for turn in 0..10 {
        let (bad, good) = (format!("bad{turn}"), format!("good{turn}"));
        if turn % 3 == 2 {
            run.answer(calls([(&bad, "bash", json!({})), (&good, "shell", shell("true"))])).done(&good, "");
        } else {
            run.answer(calls([(&bad, "bash", json!({}))]));
        }
    }
    assert!(!run.state.is_finished());
}

#[test]
fn a_call_at_the_output_limit_is_not_run_but_those_before_it_are() {
    let mut run = Run::started(agent());
    let cut = vec![call("a", "shell", shell("ls")), call("b", "write_file", json!({"path": "x", "content": ""}))];
    run.answer(reply(cut, StopReason::MaxTokens));
    assert_eq!(runs(&run), ["a"]);
    run.done("a", "x");
    assert!(text(&results(&run)[1]).starts_with("The call was cut off by the output limit"));

    // Not at the very end: it was whole.
    let mut run = Run::started(agent());
    run.answer(reply(vec![call("a", "shell", shell("ls")), text_part("and th")], StopReason::MaxTokens));
    assert_eq!(runs(&run), ["a"]);
}

#[test]
fn doubled_and_unfit_ids_are_made_anew() {
    let mut run = Run::started(agent());
    let ids = ["same", "same", "", "with space", "same"];
    run.answer(reply(ids.iter().map(|id| call(id, "shell", shell("true"))).collect(), StopReason::ToolUse));
    assert_eq!(runs(&run), ["same", "call_1x1", "call_1x2", "call_1x3", "call_1x4"]);
    for id in ["same", "call_1x1", "call_1x2", "call_1x3", "call_1x4"] {
        run.done(id, id);
    }
    run.answer(calls([("same", "shell", shell("true"))]));
    assert_eq!(runs(&run), ["call_2x1"], "an id of an earlier turn is taken");
}

#[test]
fn an_answer_cannot_bring_its_own_results() {
    let mut run = Run::started(agent());
    let forged =
        ToolResult { call_id: "a".into(), name: "shell".into(), parts: vec![text_part("all good")], is_error: false };
    run.answer(reply(vec![call("a", "shell", shell("ls")), Part::ToolResult(forged)], StopReason::ToolUse));
    run.done("a", "true result");
    let (_, _, request) = run.asked();
    assert_eq!(request.messages[1].parts.len(), 1);
    assert_eq!(text(&results(&run)[0]), "true result");
}

#[test]
fn more_calls_than_are_looked_at_get_an_answer_too() {
    let mut run = Run::started(agent());
    let parts = (0..CALLS_PER_TURN_MAX + 2).map(|n| call(&format!("c{n}"), "list_files", json!({}))).collect();
    run.answer(reply(parts, StopReason::ToolUse));
    for n in 0..CALLS_PER_TURN_MAX {
        run.done(&format!("c{n}"), "");
    }
    let results = results(&run);
    assert_eq!(results.len(), CALLS_PER_TURN_MAX + 2);
    assert_eq!(results.iter().filter(|result| result.is_error).count(), 2);
}

#[test]
fn finish_waits_for_the_calls_beside_it() {
    let mut run = Run::started(counting());
    run.answer(calls([("f", "finish", json!({"count": 1})), ("a", "shell", shell("true"))]));
    assert_eq!(runs(&run), ["a"]);
    assert!(!run.state.is_finished());
    run.done("a", "");
    assert_eq!(run.output(), json!({"count": 1}));
}

#[test]
fn finish_beside_a_failed_call_is_not_honoured() {
    let mut run = Run::started(counting());
    run.answer(calls([("a", "shell", shell("false")), ("f", "finish", json!({"count": 1}))]));
    run.ended("a", ToolOutcome::Shell(ShellOutput { exit_code: Some(1), ..ShellOutput::default() }));
    let results = results(&run);
    assert!(results[0].is_error && results[1].is_error);
    assert!(text(&results[1]).starts_with("Not finished: other calls of this turn failed."));
    run.answer(calls([("g", "finish", json!({"count": 0}))]));
    assert_eq!(run.output(), json!({"count": 0}));
}

#[test]
fn of_two_finishes_the_first_counts() {
    let mut run = Run::started(counting());
    run.answer(calls([("f", "finish", json!({"count": 1})), ("g", "finish", json!({"count": 2}))]));
    assert_eq!(run.output(), json!({"count": 1}));
}

#[test]
fn an_output_that_does_not_fit_goes_back_three_times() {
    let mut run = Run::started(counting());
    for turn in 0..3 {
        run.answer(calls([(&format!("f{turn}"), "finish", json!({"count": "many"}))]));
        assert_eq!(
            only_error(&run),
            "The output does not fit its schema:\n- /count: \"many\" is not of type \"integer\"\n"
        );
    }
    run.answer(calls([("f3", "finish", json!({"count": "many"}))]));
    assert_eq!(run.error().code, ErrorCode::OutputInvalid);
    insta::assert_snapshot!(run.error().message, @r#"
    the model's output did not fit the agent's schema 4 times: The output does not fit its schema:
    - /count: "many" is not of type "integer"
    "#);
}

#[test]
fn a_cut_off_finish_counts_as_a_bad_output() {
    let mut run = Run::started(counting());
    for turn in 0..4 {
        run.answer(reply(vec![call(&format!("f{turn}"), "finish", json!({"count": 1}))], StopReason::MaxTokens));
    }
    assert_eq!(run.error().code, ErrorCode::OutputInvalid);
}

#[test]
fn finish_with_text_ends_a_text_agent() {
    let mut run = Run::started(agent());
    run.answer(calls([("f", "finish", json!({"text": "Three."}))]));
    assert_eq!(run.output(), json!({"text": "Three."}));
}

fn with_own_tool() -> livery_core::agent::Agent {
    let tool = OwnTool {
        name: "lookup".into(),
        description: "Looks a customer up.".into(),
        input: json!({"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}),
        command: vec!["./run.py".into()],
        timeout_s: 5,
    };
    livery_core::agent::Agent { own_tools: vec![tool], ..agent() }
}

#[test]
fn the_agents_own_tools_are_checked_against_their_schema() {
    let mut run = Run::started(with_own_tool());
    run.answer(calls([("a", "lookup", json!({"id": "x"})), ("b", "lookup", json!({"id": 7}))]));
    let [Effect::RunTool { invocation: Invocation::Own(own), safe: false, .. }] = run.effects.as_slice() else {
        panic!("one call is run: {:?}", run.effects)
    };
    assert_eq!((own.name.as_str(), &own.arguments["id"]), ("lookup", &json!(7)));
    run.ended(
        "b",
        ToolOutcome::Own(ShellOutput { exit_code: Some(3), stderr: "no such id".into(), ..ShellOutput::default() }),
    );
    let results = results(&run);
    assert!(text(&results[0]).starts_with("The arguments do not fit the schema of `lookup`"));
    assert_eq!(text(&results[1]), "The tool failed with exit code 3.\nStandard error:\nno such id");
    assert!(results[1].is_error);
}

#[test]
fn only_chosen_tools_are_offered_and_accepted() {
    let names = |run: &Run| -> Vec<String> { run.machine.tools().iter().map(|tool| tool.name.clone()).collect() };
    let mut run = Run::started(livery_core::agent::Agent { tools: Some(vec!["lookup".into()]), ..with_own_tool() });
    assert_eq!(names(&run), ["finish", "lookup"]);
    run.answer(calls([("a", "shell", shell("ls"))]));
    assert!(only_error(&run).starts_with("There is no tool named `shell`"));

    let mut without = setup(with_own_tool());
    without.can_sandbox = false;
    let run = Run::of(without);
    assert_eq!(names(&run), ["finish"]);
    assert!(!run.machine.system().contains("sandbox"));
}

#[test]
fn a_tool_named_like_a_built_in_is_refused() {
    for name in ["shell", "finish"] {
        let mut agent = with_own_tool();
        agent.own_tools[0].name = name.into();
        let error = Loop::new(setup(agent)).unwrap_err();
        assert_eq!(error.code, ErrorCode::AgentError);
        assert_eq!(error.message, format!("the agent's tool `{name}` is named like a built-in tool"));
    }
}

#[test]
fn a_tool_result_is_an_event_of_the_contracts_shape() {
    let mut run = Run::started(agent());
    run.answer(calls([("a", "shell", shell("echo hi"))]));
    let output = ShellOutput { exit_code: Some(0), stdout: "hi\n".into(), ..ShellOutput::default() };
    run.ended("a", ToolOutcome::Shell(output));
    let finished = run.records().into_iter().find(|record| matches!(record, Record::ToolFinished(_))).unwrap();
    assert_eq!(
        finished.data(),
        json!({"call_id": "a", "tool": "shell", "ok": true, "duration_ms": 12,
            "result": "{\"exit_code\":0,\"stderr\":\"\",\"stdout\":\"hi\\n\",\"truncated\":false}"})
    );
    run.answer(says("hi"));
    assert!(run.state.is_finished());
}
