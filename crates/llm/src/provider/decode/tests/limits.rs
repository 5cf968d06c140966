//! Nothing a server sends can make the decoder grow without end, panic or wait.

use proptest::prelude::*;
use serde_json::json;

use super::{dialect, read, request};
use crate::message::{Arguments, Part};
use crate::provider::{ANSWER_BYTES_MAX, ARGUMENTS_BYTES_MAX, BLOCKS_MAX, Decoder};
use crate::stream::ModelErrorClass;

fn chunk(delta: &serde_json::Value) -> String {
    format!("data: {}\n\n", json!({"choices": [{"delta": delta}]}))
}

#[test]
fn arguments_above_the_limit_are_unusable_but_the_turn_goes_on() {
    let piece = "x".repeat(64 * 1024);
    let mut body =
        chunk(&json!({"tool_calls": [{"index": 0, "id": "1", "function": {"name": "a", "arguments": "{\"a\":\""}}]}));
    for _ in 0..=ARGUMENTS_BYTES_MAX / piece.len() {
        body += &chunk(&json!({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}));
    }
    body += &chunk(&json!({"tool_calls": [{"index": 1, "id": "2", "function": {"name": "b", "arguments": "{}"}}]}));
    body += "data: [DONE]\n\n";
    let response = read("openai", &[body.as_bytes()]).0.unwrap();
    let calls: Vec<_> = response
        .message
        .parts
        .iter()
        .map(|part| match part {
            Part::ToolCall(call) => call.arguments.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(
        matches!(&calls[0], Arguments::Unusable { reason, text } if reason.contains("larger than 1048576") && text.len() == 2000)
    );
    assert!(matches!(&calls[1], Arguments::Object(_)));
}

#[test]
fn an_answer_above_the_limits_ends() {
    let piece = chunk(&json!({"content": "x".repeat(1024 * 1024)}));
    let endless: Vec<&[u8]> = std::iter::repeat_n(piece.as_bytes(), ANSWER_BYTES_MAX / (1024 * 1024) + 1).collect();
    let error = read("openai", &endless).0.unwrap_err();
    assert_eq!((error.class, error.is_retryable()), (ModelErrorClass::BadGateway, false));

    let call = |n: usize| chunk(&json!({"tool_calls": [{"index": n, "id": n.to_string(), "function": {"name": "a"}}]}));
    let calls: String = (0..=BLOCKS_MAX).map(call).collect();
    assert!(read("openai", &[calls.as_bytes()]).0.unwrap_err().message.contains("blocks"));

    let body = vec![b' '; 1024 * 1024];
    let whole: Vec<&[u8]> = std::iter::once(&b"{"[..]).chain(std::iter::repeat_n(&body[..], 32)).collect();
    assert_eq!(read("anthropic", &whole).0.unwrap_err().class, ModelErrorClass::BadGateway);
}

#[test]
fn json_nested_beyond_reason_is_an_error() {
    let deep = format!("data: {{\"type\":\"error\",\"error\":{}\n\n", "[".repeat(100_000));
    assert!(read("anthropic", &[deep.as_bytes()]).0.is_err());
    let deep = format!("{{\"choices\":[{}", "{\"a\":".repeat(100_000));
    assert!(read("openai", &[deep.as_bytes()]).0.is_err());
}

/// Pieces that look enough like the formats to get far into them.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&'static str> = vec![
        "data: ",
        "event: error",
        "\n",
        "\n\n",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\\ud83d",
        "null",
        "-1",
        "1e400",
        "[DONE]",
        "\"type\":",
        "\"message_start\"",
        "\"content_block_start\"",
        "\"content_block_delta\"",
        "\"message_delta\"",
        "\"message_stop\"",
        "\"index\":0",
        "\"delta\":{",
        "\"text\":\"a\"",
        "\"partial_json\":\"{\"",
        "\"content_block\":{\"type\":\"tool_use\",\"name\":\"x\"}",
        "\"usage\":{",
        "\"choices\":[{",
        "\"tool_calls\":[{",
        "\"function\":{",
        "\"arguments\":",
        "\"content\":",
        "\"finish_reason\":\"stop\"",
        "\"error\":",
        "é",
        " ",
        "\u{feff}",
    ];
    let lines: Vec<&'static str> = vec![
        "data: {\"type\":\"message_start\",\"message\":{}}\n\n",
        "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"name\":\"x\",\"input\":[]}}\n\n",
        "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"partial_json\":\"\\u0000\"}}\n\n",
        "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"refusal\"},\"usage\":[]}\n\n",
        "data: {\"type\":\"message_stop\"}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":[{\"type\":3}],\"tool_calls\":[{}]}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"reasoning_details\":[1,{\"type\":\"x\"}]},\"finish_reason\":\"length\"}]}\n\n",
    ];
    let piece = prop_oneof![4 => prop::sample::select(words), 3 => prop::sample::select(lines)]
        .prop_map(|text| text.as_bytes().to_vec());
    let noise = prop::collection::vec(any::<u8>(), 0..6);
    prop::collection::vec(prop_oneof![9 => piece, 1 => noise], 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn nothing_panics_and_no_cut_changes_the_outcome(body in pieces(), cut in any::<prop::sample::Index>()) {
        for kind in ["anthropic", "openai"] {
            let whole = read(kind, &[&body]);
            let cut = if body.is_empty() { 0 } else { cut.index(body.len()) };
            prop_assert_eq!(&read(kind, &[&body[..cut], &body[cut..]]), &whole);
            let mut decoder = Decoder::new(&dialect(kind), &request(), "c");
            let _ = decoder.push(&body, &mut |_| {});
            decoder.partial();
        }
    }
}
