//! OpenAI Chat Completions and its dialects, hand-written.

use serde_json::{Value, json};

use super::{check, decode};
use crate::stream::{Delta, ModelErrorClass};

fn chunk(delta: Value) -> Value {
    json!({"id": "c-1", "object": "chat.completion.chunk", "model": "m-1", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

fn finish(reason: &str) -> Value {
    json!({"id": "c-1", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

fn usage() -> Value {
    json!({"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120,
        "prompt_tokens_details": {"cached_tokens": 60}, "completion_tokens_details": {"reasoning_tokens": 8}}})
}

fn sse(chunks: &[Value]) -> String {
    let frames: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    frames + "data: [DONE]\n\n"
}

fn call(index: u32, id: &str, name: &str, arguments: &str) -> Value {
    json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}}]})
}

fn more(index: u32, arguments: &str) -> Value {
    json!({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]})
}

#[test]
fn text_and_usage() {
    let body = sse(&[
        chunk(json!({"role": "assistant", "content": "", "refusal": null})),
        chunk(json!({"content": "Hé"})),
        chunk(json!({"content": "llo"})),
        finish("stop"),
        usage(),
    ]);
    let response = check("openai", &body, "text(Héllo) => EndTurn");
    let usage = &response.usage;
    assert_eq!(
        (usage.input_uncached, usage.input_cache_read, usage.output_total, usage.output_reasoning),
        (40, 60, 20, 8)
    );
    assert_eq!((response.model.as_str(), response.response_id.as_deref()), ("m-1", Some("c-1")));
}

#[test]
fn parallel_calls_that_arrive_mixed_with_the_first_in_the_first_chunk() {
    let mut first = call(0, "a", "shell", "");
    first["role"] = "assistant".into();
    let body = sse(&[
        chunk(first),
        chunk(call(1, "b", "finish", "{\"x\"")),
        chunk(more(0, "{\"a\":")),
        chunk(more(1, ":2}")),
        chunk(more(0, "1}")),
        finish("tool_calls"),
    ]);
    check("openai", &body, "call_1_1:shell{\"a\":1} call_1_2:finish{\"x\":2} => ToolUse");
}

#[test]
fn how_servers_spell_calls() {
    let expected = "call_1_1:a{\"x\":1} call_1_2:b{} => ToolUse";
    let whole_without_index = json!({"tool_calls": [
        {"id": "1", "function": {"name": "a", "arguments": "{\"x\":1}"}}, {"id": "2", "function": {"name": "b", "arguments": ""}}]});
    let arguments_as_object = json!({"tool_calls": [
        {"index": 0, "id": "1", "function": {"name": "a", "arguments": {"x": 1}}}, {"index": 1, "id": "2", "function": {"name": "b"}}]});
    let empty_name_repeated = json!({"tool_calls": [{"index": 0, "id": "1", "type": "function", "function": {"name": "", "arguments": "1}"}}]});
    let tables: [&[Value]; 6] = [
        &[chunk(whole_without_index)],
        &[chunk(arguments_as_object)],
        &[chunk(call(0, "1", "a", "{\"x\":")), chunk(empty_name_repeated), chunk(call(1, "2", "b", ""))],
        &[chunk(call(0, "1", "a", "{\"x\":1}")), chunk(call(0, "2", "b", ""))],
        &[chunk(call(1, "same", "a", "{\"x\":1}")), chunk(call(2, "same", "b", "{}"))],
        &[
            chunk(json!({"tool_calls": [{"id": "1", "function": {"name": "a", "arguments": "{\"x\""}}]})),
            chunk(json!({"tool_calls": [{"function": {"arguments": ":1}"}}]})),
            chunk(json!({"tool_calls": [{"id": "2", "function": {"name": "b", "arguments": null}}]})),
        ],
    ];
    for chunks in tables {
        // A server that says `stop` has called all the same.
        for reason in ["tool_calls", "stop"] {
            let body = sse(&[chunks, &[finish(reason)]].concat());
            check("openai", &body, expected);
        }
    }
}

#[test]
fn stop_reasons_and_refusals() {
    let table = [
        ("length", "MaxTokens"),
        ("content_filter", "ContentFilter"),
        ("model_length", "ContextOverflow"),
        ("tool_calls", "EndTurn"),
    ];
    for (reason, expected) in table {
        check("openai", &sse(&[chunk(json!({"content": "a"})), finish(reason)]), &format!("text(a) => {expected}"));
    }
    let refused = sse(&[chunk(json!({"refusal": "I "})), chunk(json!({"refusal": "won't."})), finish("stop")]);
    check("openai", &refused, "refusal(I won't.) => Refusal");
    check("openai", &sse(&[chunk(json!({"content": "", "refusal": ""})), finish("stop")]), " => EndTurn");
    let cut = "call_1_1:a!the output limit cut the call off before its arguments were whole => MaxTokens";
    check("openai", &sse(&[chunk(call(0, "1", "a", "{\"x")), finish("length")]), cut);
    check("openai", &sse(&[chunk(call(0, "1", "a", "")), finish("length")]), cut);
}

#[test]
fn reasoning_in_its_spellings() {
    let say = |field: &str| {
        sse(&[
            chunk(json!({field: "h", "content": null})),
            chunk(json!({field: "m"})),
            chunk(json!({"content": "Hi"})),
            finish("stop"),
        ])
    };
    check("openai_compatible", &say("reasoning_content"), "think(hm/-) text(Hi) => EndTurn");
    check("openai_compatible", &say("reasoning"), "think(hm/-) text(Hi) => EndTurn");
    let both = sse(&[chunk(json!({"reasoning": "hm", "reasoning_content": "hm"})), finish("stop")]);
    check("openai_compatible", &both, "think(hm/-) => EndTurn");

    let list = json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "Hi"}]});
    check("mistral", &sse(&[chunk(list), finish("stop")]), "think(hm/-) text(Hi) => EndTurn");

    let detail = |detail: Value| chunk(json!({"reasoning": detail["summary"], "reasoning_details": [detail]}));
    let router = sse(&[
        detail(json!({"type": "reasoning.summary", "summary": "h", "index": 0, "format": "f"})),
        detail(json!({"type": "reasoning.summary", "summary": "m", "index": 0, "format": null})),
        detail(json!({"type": "reasoning.encrypted", "data": "x", "index": 1})),
        chunk(json!({"content": "Hi"})),
        finish("stop"),
    ]);
    check(
        "openai_compatible",
        &router,
        concat!(
            r#"opaque({"details":[{"format":"f","index":0,"summary":"hm","type":"reasoning.summary"},"#,
            r#"{"data":"x","index":1,"type":"reasoning.encrypted"}],"type":"reasoning_details"}) think(hm/-) text(Hi) => EndTurn"#,
        ),
    );
}

#[test]
fn comments_padding_strange_indexes_and_missing_ends() {
    let body = ": ROUTER PROCESSING\n\n".to_owned()
        + &sse(&[
            chunk(json!({"content": "a"})),
            json!({"id": "c-1", "choices": [], "obfuscation": "xxxx"}),
            json!({"progress": 3}),
            json!({"choices": [{"index": 1, "delta": {"content": ""}, "finish_reason": "stop"}], "p": "abc",
                "usage": {"prompt_tokens": 5, "completion_tokens": 26, "total_tokens": 258, "completion_tokens_details": {"reasoning_tokens": 227}}}),
        ]);
    let usage = check("openai", &body, "text(a) => EndTurn").usage;
    assert_eq!((usage.output_total, usage.output_reasoning), (253, 227), "reasoning that the sum counts apart");
    let without_done = body.replace("data: [DONE]\n\n", "");
    check("openai", &without_done, "text(a) => EndTurn");
    check("openai", &sse(&[chunk(json!({"content": "a"}))]), "text(a) => EndTurn");
}

#[test]
fn failures() {
    let begun = format!("data: {}\n\n", chunk(json!({"content": "a"})));
    let table = [
        (begun.clone(), ModelErrorClass::StreamCut),
        (String::new(), ModelErrorClass::StreamCut),
        (begun.clone() + "data: {\"error\":{\"code\":502,\"message\":\"Upstream\"}}\n\n", ModelErrorClass::ServerError),
        (
            begun.clone()
                + "event: error\ndata: {\"message\":\"too many requests\",\"type\":\"rate_limit_exceeded\"}\n\n",
            ModelErrorClass::RateLimited,
        ),
        (
            begun.clone()
                + "data: {\"choices\":[{\"finish_reason\":\"error\",\"error\":{\"code\":429,\"message\":\"x\"}}]}\n\n",
            ModelErrorClass::RateLimited,
        ),
        (begun.clone() + &format!("data: {}\n\n", finish("error")), ModelErrorClass::ServerError),
        (begun.clone() + &format!("data: {}\n\n", finish("insufficient_system_resource")), ModelErrorClass::Overloaded),
        (begun + "data: {\"choices\": 3}\n\n", ModelErrorClass::BadGateway),
        ("data: {oops\n\n".to_owned(), ModelErrorClass::BadGateway),
        ("<!doctype html><title>Login</title>".to_owned(), ModelErrorClass::BadGateway),
        ("{\"hello\": \"world\"}".to_owned(), ModelErrorClass::BadGateway),
        (
            "{\"error\": {\"type\": \"insufficient_quota\", \"message\": \"x\"}}".to_owned(),
            ModelErrorClass::QuotaExhausted,
        ),
        (" data: {\"choices\": 3}\n\n".to_owned(), ModelErrorClass::BadGateway),
        ("plain words".to_owned(), ModelErrorClass::BadGateway),
        (": only comments\n\n".to_owned(), ModelErrorClass::BadGateway),
    ];
    for (body, expected) in table {
        assert_eq!(decode("openai", &body).0.unwrap_err().class, expected, "{body}");
    }
}

#[test]
fn a_server_that_does_not_stream() {
    let body = json!({"id": "c-2", "object": "chat.completion", "model": "m-1", "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
        "role": "assistant", "content": "Hi", "reasoning_content": "hm", "refusal": null,
        "tool_calls": [{"id": "x", "type": "function", "function": {"name": "shell", "arguments": "{}"}}]}}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8, "prompt_cache_hit_tokens": 2}, "error": null});
    let response = check("openai", &format!("\u{feff} \n{body}"), "think(hm/-) text(Hi) call_1_1:shell{} => ToolUse");
    assert_eq!((response.usage.input_uncached, response.usage.input_cache_read), (3, 2));
}

#[test]
fn a_name_that_comes_late_is_told_with_the_arguments_before_it() {
    let nameless = json!({"tool_calls": [{"index": 0, "id": "x", "function": {"arguments": "{\"a\""}}]});
    let (outcome, deltas) =
        decode("openai", &sse(&[chunk(nameless), chunk(call(0, "x", "shell", ":1}")), finish("tool_calls")]));
    assert_eq!(super::shorthand(&outcome.unwrap()), "call_1_1:shell{\"a\":1} => ToolUse");
    let told: String = deltas
        .iter()
        .map(|delta| match delta {
            Delta::ToolCall { name, .. } => format!("[{name}]"),
            Delta::Arguments { text, .. } => text.clone(),
            _ => String::new(),
        })
        .collect();
    assert_eq!(told, "[shell]{\"a\":1}");
}
