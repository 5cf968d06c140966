//! Small conversations in, shorthand out.

use serde_json::{Map, json};

use super::{Reader, Unsigned, prepare};
use crate::message::{Arguments, Message, Part, Role, Thinking, ToolCall, ToolResult};

fn text(text: &str) -> Part {
    Part::Text { text: text.to_owned() }
}

fn call(id: &str) -> Part {
    Part::ToolCall(ToolCall { id: id.to_owned(), name: "t".to_owned(), arguments: Arguments::Object(Map::new()) })
}

fn result(id: &str, words: &str) -> Part {
    Part::ToolResult(ToolResult {
        call_id: id.to_owned(),
        name: "t".to_owned(),
        parts: vec![text(words)],
        is_error: false,
    })
}

fn thinking(provider: &str, model: &str, signature: Option<&str>) -> Part {
    Part::Thinking(Thinking {
        text: "hm".to_owned(),
        signature: signature.map(str::to_owned),
        redacted: None,
        provider: provider.to_owned(),
        model: model.to_owned(),
    })
}

fn user(parts: Vec<Part>) -> Message {
    Message { role: Role::User, parts }
}

fn model(parts: Vec<Part>) -> Message {
    Message { role: Role::Assistant, parts }
}

/// `U(hi) A(call:1) U(1=ok)`.
fn check(messages: &[Message], unsigned: Unsigned, expected: &str) {
    let prepared = prepare(messages, Reader { provider: "anthropic", model: "m", unsigned });
    let part = |part: &Part| match part {
        Part::Text { text } => text.clone(),
        Part::Image { .. } => "image".to_owned(),
        Part::ToolCall(call) => format!("call:{}", call.id),
        Part::ToolResult(result) => {
            let words: Vec<String> = result.parts.iter().map(|part| format!("{part:?}")).collect();
            let words = words.join(" ").replace("Text { text: ", "").replace([' ', '}', '"', '\\'], "");
            format!("{}={words}{}", result.call_id, if result.is_error { "!" } else { "" })
        }
        Part::Thinking(thinking) => format!("think:{}", thinking.signature.as_deref().unwrap_or("-")),
        other => format!("{other:?}"),
    };
    let message = |message: &Message| {
        let parts: Vec<String> = message.parts.iter().map(part).collect();
        format!("{}({})", if message.role == Role::User { "U" } else { "A" }, parts.join(" "))
    };
    assert_eq!(prepared.iter().map(message).collect::<Vec<_>>().join(" "), expected);
}

#[test]
fn results_stand_first_and_in_the_order_of_the_calls() {
    let messages = [
        Message::user("hi"),
        model(vec![text("ok"), call("1"), call("2")]),
        user(vec![text("steer"), result("2", "b")]),
        user(vec![result("1", "a")]),
    ];
    check(&messages, Unsigned::Drop, "U(hi) A(ok call:1 call:2) U(1=a 2=b steer)");
}

#[test]
fn a_call_without_a_result_is_told_so_and_a_result_without_a_call_is_dropped() {
    let messages =
        [Message::user("hi"), model(vec![call("1"), call("2")]), user(vec![result("9", "x"), result("1", "a")])];
    check(&messages, Unsigned::Drop, "U(hi) A(call:1 call:2) U(1=a 2={error:aborted!)");
    check(&messages[..2], Unsigned::Drop, "U(hi) A(call:1 call:2) U(1={error:aborted! 2={error:aborted!)");
    check(&[user(vec![result("1", "a"), text("b")])], Unsigned::Drop, "U(b)");
}

#[test]
fn two_calls_of_one_id_become_two_ids() {
    let messages = [
        Message::user("hi"),
        model(vec![call("1"), call("1")]),
        user(vec![result("1", "a"), result("1", "b")]),
        model(vec![call("1")]),
        user(vec![result("1", "c")]),
    ];
    check(&messages, Unsigned::Drop, "U(hi) A(call:1 call:1_2) U(1=a 1_2=b) A(call:1_3) U(1_3=c)");
}

#[test]
fn reasoning_goes_back_to_its_maker_only() {
    let thoughts = vec![
        thinking("anthropic", "m", Some("s")),
        thinking("anthropic", "m", None),
        thinking("anthropic", "other", Some("s")),
        thinking("openai", "m", Some("s")),
        Part::Opaque { provider: "openai".to_owned(), model: "m".to_owned(), block: json!({}) },
    ];
    let said = [Message::user("hi"), model([thoughts.clone(), vec![text("so")]].concat())];
    check(&said, Unsigned::Drop, "U(hi) A(think:s so)");
    check(&said, Unsigned::Keep, "U(hi) A(think:s think:- so)");
    check(&[Message::user("hi"), model(thoughts), Message::user("and?")], Unsigned::Drop, "U(hi and?)");
}

#[test]
fn nothing_empty_and_roles_alternate() {
    let messages =
        [model(vec![text(" \n")]), model(vec![text("a\0b")]), user(vec![text("\0 "), text("c")]), user(vec![])];
    check(&messages, Unsigned::Drop, "A(ab) U(c)");
    check(&[], Unsigned::Drop, "");
}
