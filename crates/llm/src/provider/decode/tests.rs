//! Whole streams in shorthand: what is decoded, at every cut, and what is told on the way.

mod anthropic;
mod chat;
mod limits;

use crate::message::{Arguments, Message, Part};
use crate::provider::{Decoder, Dialect};
use crate::request::{ModelRequest, ToolChoice};
use crate::stream::{Delta, ModelError, ModelResponse};

fn request() -> ModelRequest {
    ModelRequest {
        model: "m".to_owned(),
        system: String::new(),
        messages: vec![Message::user("hi")],
        tools: vec![],
        tool_choice: ToolChoice::Auto,
        max_output_tokens: 100,
    }
}

fn dialect(kind: &str) -> Dialect {
    Dialect::of(kind, None).unwrap()
}

fn read(kind: &str, pieces: &[&[u8]]) -> (Result<ModelResponse, ModelError>, Vec<Delta>) {
    let mut deltas = Vec::new();
    let mut decoder = Decoder::new(&dialect(kind), &request(), "call_1");
    for piece in pieces {
        if let Err(error) = decoder.push(piece, &mut |delta| deltas.push(delta)) {
            return (Err(error), deltas);
        }
    }
    (decoder.finish(), deltas)
}

/// Decodes the body whole, byte by byte and cut at every place; all must agree.
fn decode(kind: &str, body: &str) -> (Result<ModelResponse, ModelError>, Vec<Delta>) {
    let body = body.as_bytes();
    let whole = read(kind, &[body]);
    let single: Vec<&[u8]> = body.chunks(1).collect();
    assert_eq!(read(kind, &single), whole, "byte by byte");
    for cut in 0..=body.len() {
        assert_eq!(read(kind, &[&body[..cut], &body[cut..]]), whole, "cut at {cut}");
    }
    whole
}

/// `think(hm/sig) text(Hi) call_1_1:shell{"a":1} => ToolUse`.
fn shorthand(response: &ModelResponse) -> String {
    let parts = response.message.parts.iter().map(|part| match part {
        Part::Text { text } => format!("text({text})"),
        Part::Thinking(thinking) => match (&thinking.redacted, &thinking.signature) {
            (Some(data), _) => format!("redacted({data})"),
            (None, signature) => format!("think({}/{})", thinking.text, signature.as_deref().unwrap_or("-")),
        },
        Part::Refusal { text } => format!("refusal({text})"),
        Part::ToolCall(call) => match &call.arguments {
            Arguments::Object(map) => format!("{}:{}{}", call.id, call.name, serde_json::to_string(map).unwrap()),
            Arguments::Unusable { reason, .. } => format!("{}:{}!{reason}", call.id, call.name),
        },
        Part::Opaque { block, .. } => format!("opaque({block})"),
        other => format!("{other:?}"),
    });
    let parts: Vec<String> = parts.collect();
    format!("{} => {:?}", parts.join(" "), response.stop_reason)
}

fn check(kind: &str, body: &str, expected: &str) -> ModelResponse {
    let (outcome, _) = decode(kind, body);
    let response = outcome.unwrap();
    assert_eq!(shorthand(&response), expected);
    response
}
