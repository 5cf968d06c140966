//! Files in, answers or findings out.

use serde_json::json;

use super::{Script, turn_index};
use crate::message::{Arguments, Message, Part, Role, ToolResult};
use crate::request::{ModelRequest, ToolChoice, ToolSpec};
use crate::stream::StopReason;

const INVOICES: &str = r#"
turns:
  - text: "Looking at the files."
    tools: [{name: shell, arguments: {command: "wc -l *.csv"}}]
    delay_ms: 7
    usage: {input: 10, output: 5, cache_read: 3}
  - expect: {tool_result_contains: ["invoices.csv", "12"], tool_result_is_error: false}
    tools: [{name: finish, arguments: {matched: 3, unmatched: []}}, {name: shell}]
"#;

fn request(messages: Vec<Message>) -> ModelRequest {
    ModelRequest {
        model: "scripted/invoices".to_owned(),
        system: "You reconcile.".to_owned(),
        messages,
        tools: vec![ToolSpec { name: "shell".to_owned(), description: String::new(), input_schema: json!({}) }],
        tool_choice: ToolChoice::Auto,
        max_output_tokens: 100,
    }
}

fn answered(text: &str, is_error: bool) -> ModelRequest {
    let parts = vec![Part::Text { text: text.to_owned() }];
    let result = ToolResult { call_id: "call_1_1".to_owned(), name: "shell".to_owned(), parts, is_error };
    request(vec![
        Message::user("Go."),
        Message { role: Role::Assistant, parts: vec![] },
        Message { role: Role::User, parts: vec![Part::ToolResult(result)] },
    ])
}

#[test]
fn turns_are_played_in_order_and_then_it_says_that_it_has_run_out() {
    let script = Script::parse("scripts/invoices.yaml", INVOICES).unwrap();
    let first = request(vec![Message::user("Go.")]);
    let (answer, delay_ms) = script.play(turn_index(&first), &first, "call_1").unwrap();
    assert_eq!((delay_ms, answer.stop_reason, answer.model.as_str()), (7, StopReason::ToolUse, "scripted/invoices"));
    assert_eq!((answer.usage.input_total(), answer.usage.output_total), (13, 5));
    let Part::ToolCall(call) = &answer.message.parts[1] else { panic!("{answer:?}") };
    assert_eq!((call.id.as_str(), call.name.as_str()), ("call_1_1", "shell"));
    assert_eq!(script.play(0, &first, "call_1").unwrap(), (answer, 7), "the same again");

    let second = answered("12 invoices.csv", false);
    assert_eq!(turn_index(&second), 1);
    let mut steered = second.clone();
    steered.messages.push(Message::user("Hurry."));
    assert!(script.play(1, &steered, "call_2").is_ok());
    let (answer, _) = script.play(1, &second, "call_2").unwrap();
    let ids: Vec<_> = answer
        .message
        .parts
        .iter()
        .map(|part| match part {
            Part::ToolCall(call) => call.id.as_str(),
            _ => "",
        })
        .collect();
    assert_eq!(ids, ["call_2_1", "call_2_2"]);
    assert!(answer.usage.input_total() > 0, "estimated");

    let error = script.play(2, &second, "call_3").unwrap_err();
    assert_eq!(
        error.message,
        "the script has run out: it has 2 turns, and this is turn 3 (finish was expected to end the run before)"
    );
    assert!(!error.is_retryable());
}

#[test]
fn an_expectation_that_fails_says_what_was_seen() {
    let script = Script::parse("s.yaml", INVOICES).unwrap();
    let missing = script.play(1, &answered("no such file", false), "c").unwrap_err().message;
    assert_eq!(
        missing,
        "turn 2 of the script (line 7) expects a tool result to contain \"invoices.csv\"; seen: \"no such file\""
    );
    let failed = script.play(1, &answered("12 invoices.csv", true), "c").unwrap_err().message;
    assert_eq!(failed, "turn 2 of the script (line 7) expects no failed tool result; seen: \"12 invoices.csv\"");

    let others = "turns: [{expect: {system_contains: reconcile, user_contains: Go, tool_offered: shell}, text: ok}]";
    let script = Script::parse("s.yaml", others).unwrap();
    assert!(script.play(0, &request(vec![Message::user("Go.")]), "c").is_ok());
    let wrong = script.play(0, &request(vec![Message::user("Stop.")]), "c").unwrap_err().message;
    assert!(wrong.contains("the user's words"), "{wrong}");
}

#[test]
fn a_script_can_be_as_wrong_as_a_model() {
    let yaml = r#"
turns:
  - refusal: "No."
    thinking: "Hm."
  - tools: [{name: shell, arguments: "{\"command\": \"l"}]
    stop: max_tokens
  - tools: [{name: shell, arguments: [1]}]
"#;
    let script = Script::parse("s.yaml", yaml).unwrap();
    let request = request(vec![Message::user("Go.")]);
    let play = |turn| script.play(turn, &request, "c").unwrap().0;
    assert_eq!(play(0).stop_reason, StopReason::Refusal);
    assert!(matches!(&play(0).message.parts[0], Part::Thinking(thinking) if thinking.provider == "scripted"));
    for (turn, stop) in [(1, StopReason::MaxTokens), (2, StopReason::ToolUse)] {
        let answer = play(turn);
        assert_eq!(answer.stop_reason, stop);
        let Part::ToolCall(call) = &answer.message.parts[0] else { panic!("{answer:?}") };
        assert!(matches!(call.arguments, Arguments::Unusable { .. }));
    }
}

#[test]
fn findings_name_their_place_and_what_would_be_right() {
    let table = [
        ("", "s.yaml:1:1 a script must be a mapping, not nothing (begin with `turns:`)"),
        ("turns: []", "s.yaml:1:1 a script needs at least one turn (turns: [{text: \"Hello.\"}])"),
        ("turns: 3", "s.yaml:1:8 turns must be a list, not a number"),
        (
            "turns:\n  - txt: a",
            "s.yaml:2:5 a turn has no field `txt` (known: text, thinking, refusal, tools, expect, usage, delay_ms, stop)",
        ),
        ("turns:\n  - text: 7", "s.yaml:2:11 text must be text (in quotes if need be), not a number"),
        (
            "turns:\n  - tools: [{arguments: {}}]",
            "s.yaml:2:13 a tool call needs a name ({name: shell, arguments: {command: ls}})",
        ),
        ("turns:\n  - delay_ms: -1", "s.yaml:2:15 delay_ms must be a whole number from 0, not a number"),
        (
            "turns:\n  - stop: later",
            "s.yaml:2:11 stop is `later` (one of end_turn, tool_use, max_tokens, stop_sequence, refusal, content_filter, pause, context_overflow)",
        ),
        (
            "turns:\n  - usage: {in: 1}",
            "s.yaml:2:13 usage has no field `in` (known: input, output, cache_read, cache_write)",
        ),
    ];
    for (yaml, expected) in table {
        let findings = Script::parse("s.yaml", yaml).unwrap_err();
        let shown: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(shown, [expected], "{yaml}");
    }
    assert_eq!(Script::parse("s.yaml", "turns: [{a: 1}, {b: 2}]").unwrap_err().len(), 2, "all at once");
    assert!(Script::parse("s.yaml", "turns: [").is_err());
}
