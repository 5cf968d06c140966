//! How fast answers are decoded: `cargo bench -p livery-llm`. The aim is 200 MB/s, far more than any model writes; below
//! it, hundreds of streams at a time would show in the worker's CPU.
#![allow(missing_docs, reason = "criterion's macros make functions without any")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use livery_llm::message::Message;
use livery_llm::provider::{Decoder, Dialect};
use livery_llm::request::{ModelRequest, ToolChoice};
use livery_llm::sse;
use serde_json::{Value, json};

/// As the network hands it over.
const PIECE_BYTES: usize = 16 * 1024;

/// Enough events that the ends do not matter.
const EVENTS: usize = 4_000;

fn request() -> ModelRequest {
    ModelRequest {
        model: "m".to_owned(),
        system: String::new(),
        messages: vec![Message::user("hi")],
        tools: Vec::new(),
        tool_choice: ToolChoice::Auto,
        max_output_tokens: 1,
    }
}

/// Text and arguments in pieces of the size that models stream.
fn anthropic() -> String {
    let frame = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default());
    let mut body = frame(
        &json!({"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": {"input_tokens": 9}}}),
    );
    body += &frame(&json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}));
    for _ in 0..EVENTS {
        body += &frame(
            &json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " a horse in a stall, and"}}),
        );
    }
    body += &frame(
        &json!({"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "t", "name": "shell", "input": {}}}),
    );
    body += &frame(
        &json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{\"command\": \""}}),
    );
    for _ in 0..EVENTS {
        body += &frame(
            &json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "wc -l *.csv \\n"}}),
        );
    }
    body += &frame(
        &json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "\"}"}}),
    );
    body +=
        &frame(&json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 5}}));
    body + &frame(&json!({"type": "message_stop"}))
}

fn chat() -> String {
    let chunk = |delta: Value, reason: Value| {
        json!({"id": "chatcmpl-BTyCi4NY4Dy9fFy0dxpAbzwxKlhGU", "object": "chat.completion.chunk", "created": 1_790_000_000,
            "model": "gpt-4o-mini-2024-07-18", "service_tier": "default", "system_fingerprint": "fp_0392822090",
            "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason}]})
    };
    let frame = |chunk: Value| format!("data: {chunk}\n\n");
    let mut body = frame(chunk(json!({"role": "assistant", "content": ""}), Value::Null));
    for _ in 0..EVENTS {
        body += &frame(chunk(json!({"content": " stall"}), Value::Null));
    }
    body += &frame(chunk(
        json!({"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "shell", "arguments": "{\"a\": \""}}]}),
        Value::Null,
    ));
    for _ in 0..EVENTS {
        body += &frame(chunk(json!({"tool_calls": [{"index": 0, "function": {"arguments": "wc -l"}}]}), Value::Null));
    }
    body += &frame(chunk(json!({"tool_calls": [{"index": 0, "function": {"arguments": "\"}"}}]}), "tool_calls".into()));
    body + "data: [DONE]\n\n"
}

fn decode(dialect: &Dialect, request: &ModelRequest, body: &[u8]) -> usize {
    let mut decoder = Decoder::new(dialect, request, "call_1");
    let mut deltas = 0;
    for piece in body.chunks(PIECE_BYTES) {
        decoder.push(piece, &mut |_| deltas += 1).expect("the stream is a good one");
    }
    let answer = decoder.finish().expect("the stream is whole");
    deltas + answer.message.parts.len()
}

fn benches(criterion: &mut Criterion) {
    let request = request();
    let bodies =
        [("anthropic", Dialect::Anthropic, anthropic()), ("chat", Dialect::OpenAiChat(Default::default()), chat())];
    let mut group = criterion.benchmark_group("decode");
    for (name, dialect, body) in &bodies {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::new("answer", name), body, |bencher, body| {
            bencher.iter(|| decode(dialect, &request, body.as_bytes()));
        });
        group.bench_with_input(BenchmarkId::new("events", name), body, |bencher, body| {
            bencher.iter(|| {
                let (mut reader, mut bytes) = (sse::Reader::new(), 0);
                for piece in body.as_bytes().chunks(PIECE_BYTES) {
                    let count = &mut |event: sse::Event<'_>| {
                        bytes += event.data.len();
                        Ok::<(), sse::EventTooLarge>(())
                    };
                    reader.push(piece, count).expect("no event is large");
                }
                bytes
            });
        });
    }
    group.finish();
}

criterion_group!(decode_benches, benches);
criterion_main!(decode_benches);
