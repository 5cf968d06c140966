//! Scripts, policies and keys, in both formats, streamed and not.

use std::sync::Arc;

use livery_llm::message::{Message, Part, Role, ToolResult};
use livery_llm::script::Script;
use livery_llm::stream::{ModelErrorClass, ModelResponse, StopReason};
use livery_testkit::fake_model::{KeyCheck, Memory, Mode, Policy};
use livery_testkit::{Config, FakeModel};

use crate::client::{KEY, ask, ask_with, dialects, request};

const SCRIPT: &str = r#"
turns:
  - text: "Ich schaue nach: 🐎."
    tools: [{name: shell, arguments: {command: "ls -l"}}, {name: shell, arguments: {command: "wc"}}]
    usage: {input: 10, output: 5, cache_read: 7, cache_write: 2}
  - expect: {tool_result_contains: ["two files", "three lines"], tool_result_is_error: true}
    tools: [{name: shell, arguments: "{\"comm"}]
  - expect: {tool_result_is_error: true}
    text: "Done."
"#;

fn script() -> Mode {
    Mode::Script(Arc::new(Script::parse("s.yaml", SCRIPT).unwrap()))
}

/// Adds the answer and a result for each of its calls.
fn go_on(messages: &mut Vec<Message>, answer: &ModelResponse, results: &[(&str, bool)]) {
    let calls = answer.message.parts.iter().filter_map(|part| match part {
        Part::ToolCall(call) => Some(call),
        _ => None,
    });
    let parts = calls.zip(results).map(|(call, (text, is_error))| {
        let parts = vec![Part::Text { text: (*text).to_owned() }];
        Part::ToolResult(ToolResult { call_id: call.id.clone(), name: call.name.clone(), parts, is_error: *is_error })
    });
    let parts = parts.collect();
    messages.push(answer.message.clone());
    messages.push(Message { role: Role::User, parts });
}

#[tokio::test]
async fn a_script_is_played_the_same_in_every_format() {
    let config = Config { key: Some(KEY.to_owned()), mode: script(), ..Config::default() };
    let server = FakeModel::start(config).await.unwrap();
    let mut transcripts = Vec::new();
    for dialect in dialects() {
        for stream in [true, false] {
            let mut messages = vec![Message::user("Look.")];
            let first = ask(&server, &dialect, &request(messages.clone()), stream).await.unwrap();
            assert_eq!(first.stop_reason, StopReason::ToolUse);
            let usage = (
                first.usage.input_uncached,
                first.usage.input_cache_read,
                first.usage.input_cache_write,
                first.usage.output_total,
            );
            assert_eq!(usage, (10, 7, 2, 5));
            go_on(&mut messages, &first, &[("two files", false), ("Error: three lines", true)]);
            let second = ask(&server, &dialect, &request(messages.clone()), stream).await.unwrap();
            go_on(&mut messages, &second, &[("Error: unusable", true)]);
            let third = ask(&server, &dialect, &request(messages.clone()), stream).await.unwrap();
            messages.push(third.message);
            transcripts.push(messages.clone());

            messages.push(Message::user("And?"));
            let error = ask(&server, &dialect, &request(messages), stream).await.unwrap_err();
            assert!(error.message.contains("the script has run out: it has 3 turns"), "{error:?}");
            assert!(!error.is_retryable());
        }
    }
    for transcript in &transcripts[1..] {
        assert_eq!(*transcript, transcripts[0]);
    }
    assert_eq!(server.count(), 16);
    server.stop().await;
}

#[tokio::test]
async fn a_failed_expectation_is_told_in_the_formats_words() {
    let server = FakeModel::start(Config { mode: script(), ..Config::default() }).await.unwrap();
    for dialect in dialects() {
        let mut messages = vec![Message::user("Look.")];
        let first = ask(&server, &dialect, &request(messages.clone()), true).await.unwrap();
        go_on(&mut messages, &first, &[("nothing", false), ("at all", false)]);
        let error = ask(&server, &dialect, &request(messages), true).await.unwrap_err();
        assert_eq!((error.class, error.status), (ModelErrorClass::InvalidRequest, Some(400)));
        assert!(
            error.message.contains("expects a tool result to contain \"two files\"; seen: \"nothing"),
            "{}",
            error.message
        );
    }
}

#[tokio::test]
async fn keys_are_demanded_and_everything_is_remembered() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let config = Config { key: Some(KEY.to_owned()), record: Some(file.path().to_owned()), ..Config::default() };
    let server = FakeModel::start(config).await.unwrap();
    let asked = request(vec![Message::user("canary-4711")]);
    let table = [
        (None, KeyCheck::Missing),
        (Some("sk-wrong"), KeyCheck::Wrong),
        (Some("lvp_PLACEHOLDER_1"), KeyCheck::Placeholder),
        (Some(KEY), KeyCheck::Right),
    ];
    for dialect in dialects() {
        for (key, expected) in table {
            let outcome = ask_with(&server, &dialect, &asked, true, key).await;
            match expected {
                KeyCheck::Right => assert!(outcome.is_ok(), "{outcome:?}"),
                _ => assert_eq!(outcome.unwrap_err().class, ModelErrorClass::Unauthorized),
            }
            assert_eq!(server.requests().last().unwrap().key, expected);
        }
    }
    let last = server.requests().pop().unwrap();
    assert_eq!(last.header("authorization"), Some("Bearer sk-right"));
    assert_eq!(last.json()["messages"][1]["content"], "canary-4711");
    assert!(server.saw("canary-4711") && server.saw("sk-wrong") && !server.saw("canary-4712"));
    let lines = std::fs::read_to_string(file.path()).unwrap();
    assert_eq!(lines.lines().count(), 8);
    assert!(lines.lines().all(|line| line.contains("canary-4711")));
}

#[tokio::test]
async fn what_a_provider_would_refuse_is_refused() {
    let server = FakeModel::start(Config::default()).await.unwrap();
    let post = |path: &'static str, body: &'static str| {
        let address = server.address();
        async move { crate::client::post(address, path, vec![], body.into()).await.unwrap().status().as_u16() }
    };
    let table = [
        ("/v1/messages", r#"{"model":"m","messages":[{"role":"user","content":"a"}]}"#, 400),
        ("/v1/messages", r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"a"}]}"#, 200),
        ("/v1/messages", r#"{"model":"m","max_tokens":1,"messages":[{"role":"assistant","content":"a"}]}"#, 400),
        (
            "/v1/messages",
            r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":[{"type":"text","text":" "}]}]}"#,
            400,
        ),
        (
            "/v1/messages",
            r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"tool_use","id":"1","name":"x","input":{}}]},{"role":"user","content":"b"}]}"#,
            400,
        ),
        ("/v1/chat/completions", r#"{"model":"m","messages":[{"role":"user","content":"a"}]}"#, 200),
        ("/v1/chat/completions", r#"{"model":"m","messages":[{"role":"tool","tool_call_id":"1","content":"a"}]}"#, 400),
        (
            "/v1/chat/completions",
            r#"{"model":"m","messages":[{"role":"user","content":"a"}],"tools":[{"type":"function","function":{"name":"a.b"}}]}"#,
            400,
        ),
        ("/v1/chat/completions", "nonsense", 400),
        ("/v1/responses", "{}", 404),
    ];
    for (path, body, expected) in table {
        assert_eq!(post(path, body).await, expected, "{path} {body}");
    }
}

#[tokio::test]
async fn policies_answer_over_the_wire() {
    for dialect in dialects() {
        let server =
            FakeModel::start(Config { mode: Mode::Policy(Policy::Obey), memory: Memory::Count, ..Config::default() })
                .await
                .unwrap();
        let answer = ask(&server, &dialect, &request(vec![Message::user("Please shell {\"command\": \"id\"}")]), true)
            .await
            .unwrap();
        assert!(
            matches!(&answer.message.parts[0], Part::ToolCall(call) if call.name == "shell" && call.id == "call_9_1")
        );

        let random = Mode::Policy(Policy::Random { seed: 3, turns: 2 });
        let server = FakeModel::start(Config { mode: random, ..Config::default() }).await.unwrap();
        let mut messages = vec![Message::user("Go.")];
        for turn in 0..3 {
            let answer = ask(&server, &dialect, &request(messages.clone()), true).await.unwrap();
            let finished =
                answer.message.parts.iter().any(|part| matches!(part, Part::ToolCall(call) if call.name == "finish"));
            assert_eq!(finished, turn == 2);
            go_on(&mut messages, &answer, &[("ok", false); 3]);
        }
    }
}
