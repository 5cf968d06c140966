//! Anthropic Messages, hand-written.

use serde_json::{Value, json};

use super::{check, decode, read, request};
use crate::message::Part;
use crate::provider::{Decoder, Dialect};
use crate::stream::{Delta, ModelErrorClass};

/// Frames JSON events as the provider does.
fn sse(events: &[Value]) -> String {
    events.iter().map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap())).collect()
}

fn start() -> Value {
    json!({"type": "message_start", "message": {"id": "msg_1", "model": "m-20260101", "content": [],
        "usage": {"input_tokens": 10, "output_tokens": 1, "cache_read_input_tokens": 4, "cache_creation_input_tokens": null}}})
}

fn block(index: u32, block: Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn delta(index: u32, delta: Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn text(index: u32, text: &str) -> [Value; 2] {
    [block(index, json!({"type": "text", "text": ""})), delta(index, json!({"type": "text_delta", "text": text}))]
}

fn call(index: u32, name: &str, pieces: &[&str]) -> Vec<Value> {
    let mut events = vec![block(index, json!({"type": "tool_use", "id": "toolu_1", "name": name, "input": {}}))];
    events.extend(pieces.iter().map(|piece| delta(index, json!({"type": "input_json_delta", "partial_json": piece}))));
    events.push(json!({"type": "content_block_stop", "index": index}));
    events
}

fn end(reason: &str) -> [Value; 2] {
    [
        json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": ""}, "usage": {"output_tokens": 7}}),
        json!({"type": "message_stop"}),
    ]
}

fn stream(middle: impl IntoIterator<Item = Value>, reason: &str) -> String {
    let events: Vec<Value> = std::iter::once(start()).chain(middle).chain(end(reason)).collect();
    sse(&events)
}

#[test]
fn everything_at_once() {
    let mut events = vec![
        json!({"type": "ping"}),
        block(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
        delta(0, json!({"type": "thinking_delta", "thinking": "hm é🐎"})),
        delta(0, json!({"type": "signature_delta", "signature": "sig=="})),
        block(1, json!({"type": "redacted_thinking", "data": "xyz"})),
    ];
    events.extend(text(2, "Hello"));
    // Interleaved, although nobody was seen to do it.
    events.extend([
        block(3, json!({"type": "tool_use", "id": "same", "name": "shell", "input": {}})),
        block(4, json!({"type": "tool_use", "id": "same", "name": "finish", "input": {}})),
        delta(3, json!({"type": "input_json_delta", "partial_json": ""})),
        delta(3, json!({"type": "input_json_delta", "partial_json": "{\"a\":"})),
        delta(4, json!({"type": "input_json_delta", "partial_json": "\"{}\""})),
        delta(3, json!({"type": "input_json_delta", "partial_json": " 1}"})),
        json!({"type": "something_new", "index": "strange", "delta": 3}),
        delta(2, json!({"type": "new_delta", "what": 1})),
    ]);
    let body = stream(events, "tool_use") + "data: [DONE]\n\n";
    let (outcome, deltas) = decode("anthropic", &body);
    let response = outcome.unwrap();
    assert_eq!(
        super::shorthand(&response),
        "think(hm é🐎/sig==) redacted(xyz) text(Hello) call_1_1:shell{\"a\":1} call_1_2:finish{} => ToolUse"
    );
    assert_eq!((response.model.as_str(), response.response_id.as_deref()), ("m-20260101", Some("msg_1")));
    let usage = &response.usage;
    assert_eq!(
        (usage.input_uncached, usage.input_cache_read, usage.input_cache_write, usage.output_total),
        (10, 4, 0, 7)
    );
    assert_eq!(usage.raw["output_tokens"], 7);
    let argument = |id: &str, text: &str| Delta::Arguments { id: id.to_owned(), text: text.to_owned() };
    let begun = |id: &str, name: &str| Delta::ToolCall { id: id.to_owned(), name: name.to_owned() };
    assert_eq!(
        deltas,
        [
            Delta::Thinking { text: "hm é🐎".to_owned() },
            Delta::Text { text: "Hello".to_owned() },
            begun("call_1_1", "shell"),
            begun("call_1_2", "finish"),
            argument("call_1_1", "{\"a\":"),
            argument("call_1_2", "\"{}\""),
            argument("call_1_1", " 1}"),
        ]
    );
}

#[test]
fn stop_reasons() {
    let table = [
        ("end_turn", "EndTurn"),
        ("stop_sequence", "StopSequence"),
        ("max_tokens", "MaxTokens"),
        ("pause_turn", "Pause"),
        ("model_context_window_exceeded", "ContextOverflow"),
        ("tool_use", "EndTurn"),
        ("from_the_future", "EndTurn"),
    ];
    for (reason, expected) in table {
        check("anthropic", &stream(text(0, "a"), reason), &format!("text(a) => {expected}"));
    }
    check("anthropic", &stream([], "end_turn"), " => EndTurn");
    check("anthropic", &stream([], "refusal"), "refusal() => Refusal");
    let details = json!({"stop_reason": "refusal", "stop_details": {"category": "cyber", "explanation": "No."}});
    let body = sse(&[start(), json!({"type": "message_delta", "delta": details}), json!({"type": "message_stop"})]);
    check("anthropic", &body, "refusal(No.) => Refusal");
}

#[test]
fn a_call_that_the_output_limit_cut_is_unusable_and_the_one_before_is_not() {
    let cut = "the output limit cut the call off before its arguments were whole";
    let both = |pieces: &[&str]| [call(0, "a", &["{}"]), call(1, "b", pieces)].concat();
    check(
        "anthropic",
        &stream(both(&["{\"x\": "]), "max_tokens"),
        &format!("call_1_1:a{{}} call_1_2:b!{cut} => MaxTokens"),
    );
    check("anthropic", &stream(both(&[]), "max_tokens"), &format!("call_1_1:a{{}} call_1_2:b!{cut} => MaxTokens"));
    check("anthropic", &stream(both(&["{\"x\":1}"]), "max_tokens"), "call_1_1:a{} call_1_2:b{\"x\":1} => MaxTokens");
    check("anthropic", &stream(both(&[]), "tool_use"), "call_1_1:a{} call_1_2:b{} => ToolUse");
}

#[test]
fn a_second_start_begins_again() {
    let twice = [
        [start()].to_vec(),
        text(0, "lost").to_vec(),
        vec![start()],
        text(0, "kept").to_vec(),
        end("end_turn").to_vec(),
    ];
    let (outcome, deltas) = decode("anthropic", &sse(&twice.concat()));
    assert_eq!(super::shorthand(&outcome.unwrap()), "text(kept) => EndTurn");
    assert_eq!(deltas[1], Delta::Reset);

    let at_once = [[start(), start()].to_vec(), text(0, "kept").to_vec(), end("end_turn").to_vec()];
    let (_, deltas) = decode("anthropic", &sse(&at_once.concat()));
    assert_eq!(deltas, [Delta::Text { text: "kept".to_owned() }], "nobody has seen anything that must be forgotten");
}

#[test]
fn blocks_of_the_provider_go_through_as_they_are() {
    let events = [
        block(0, json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}})),
        delta(0, json!({"type": "input_json_delta", "partial_json": "{\"query\":\"x\"}"})),
        block(1, json!({"type": "web_search_tool_result", "tool_use_id": "s", "content": []})),
        block(2, json!({"type": "text", "text": "", "citations": []})),
        delta(2, json!({"type": "citations_delta", "citation": {"url": "u"}})),
        delta(2, json!({"type": "text_delta", "text": "so"})),
        block(3, json!({"type": "compaction", "content": null})),
        delta(3, json!({"type": "compaction_delta", "content": "short"})),
        delta(3, json!({"type": "compaction_delta", "content": "er"})),
    ];
    let response = check(
        "anthropic",
        &stream(events, "end_turn"),
        concat!(
            r#"opaque({"id":"s","input":{"query":"x"},"name":"web_search","type":"server_tool_use"}) "#,
            r#"opaque({"content":[],"tool_use_id":"s","type":"web_search_tool_result"}) text(so) "#,
            r#"opaque({"citations":[{"url":"u"}],"type":"text_citations"}) opaque({"content":"shorter","type":"compaction"}) => EndTurn"#,
        ),
    );
    assert!(
        matches!(&response.message.parts[0], Part::Opaque { provider, model, .. } if provider == "anthropic" && model == "m")
    );
}

#[test]
fn a_cut_before_every_event_is_told_and_keeps_the_partial_text() {
    let mut events =
        [vec![start()], text(0, "Hello").to_vec(), call(1, "shell", &["{}"]), end("tool_use").to_vec()].concat();
    while let Some(last) = events.pop() {
        let body = sse(&events);
        let mut decoder = Decoder::new(&Dialect::Anthropic, &request(), "c");
        decoder.push(body.as_bytes(), &mut |_| {}).unwrap();
        assert!(!decoder.is_done());
        let expected = if events.len() > 2 { vec![Part::Text { text: "Hello".to_owned() }] } else { vec![] };
        assert_eq!(decoder.partial().parts, expected, "without {last}");
        let error = decoder.finish().unwrap_err();
        assert_eq!(error.class, ModelErrorClass::StreamCut);
        assert!(error.is_retryable());
    }
}

#[test]
fn an_error_in_the_stream_is_the_answer() {
    let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    let body = sse(&[vec![start()], text(0, "a").to_vec(), vec![error.clone()]].concat());
    assert_eq!(decode("anthropic", &body).0.unwrap_err().class, ModelErrorClass::Overloaded);
    assert_eq!(decode("anthropic", &error.to_string()).0.unwrap_err().class, ModelErrorClass::Overloaded);
}

#[test]
fn what_a_known_event_must_not_be() {
    for data in ["{\"type\":\"content_block_delta\",\"index\":\"x\"}", "{\"type\":\"message_start\"", "nonsense"] {
        let body = format!("event: content_block_delta\ndata: {data}\n\n");
        assert_eq!(read("anthropic", &[body.as_bytes()]).0.unwrap_err().class, ModelErrorClass::BadGateway, "{data}");
    }
}

#[test]
fn half_a_surrogate_pair_spoils_one_letter_only() {
    let body = stream(text(0, "HERE"), "end_turn").replace("HERE", r"a\ud83db\ud83d\ude00");
    check("anthropic", &body, "text(a\u{fffd}b😀) => EndTurn");
}

#[test]
fn a_server_that_does_not_stream() {
    let body = json!({"id": "msg_2", "type": "message", "model": "m", "role": "assistant", "stop_reason": "tool_use", "content": [
        {"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "Hello"},
        {"type": "tool_use", "id": "t", "name": "shell", "input": {"a": 1}}, {"type": "tool_use", "id": "t", "name": "now", "input": {}}],
        "usage": {"input_tokens": 3, "output_tokens": 4, "output_tokens_details": {"thinking_tokens": 2}}});
    let response = check(
        "anthropic",
        &body.to_string(),
        "think(hm/s) text(Hello) call_1_1:shell{\"a\":1} call_1_2:now{} => ToolUse",
    );
    assert_eq!((response.usage.output_total, response.usage.output_reasoning), (4, 2));
}

#[test]
fn absurd_usage_is_not_believed() {
    let mut ending = end("end_turn");
    ending[0]["usage"] = json!({"output_tokens": -5, "input_tokens": 1e300, "cache_read_input_tokens": u64::MAX});
    let body = sse(&[vec![start()], ending.to_vec()].concat());
    let usage = decode("anthropic", &body).0.unwrap().usage;
    assert_eq!((usage.input_uncached, usage.input_cache_read, usage.output_total), (0, 1_000_000_000, 0));
}
