//! Every recorded answer decodes to what a naive reading of it says, whatever the cuts.

use std::collections::BTreeMap;

use livery_llm::message::Message;
use livery_llm::provider::{Decoder, Dialect};
use livery_llm::request::{ModelRequest, ToolChoice};
use livery_llm::stream::{Delta, ModelError, ModelErrorClass, ModelResponse, StopReason};

use crate::naive;
use crate::recordings::{self, Exchange, Format};

/// 200 and plain words: what the source recorded to see its client fail.
const NO_ANSWER: &str = "pydantic-ai/openai/test_openai/test_text_response.yaml#0";

#[test]
fn every_recorded_answer() {
    let Some(exchanges) = recordings::all() else { return recordings::skipped("recorded answers of both formats") };
    let mut counts: BTreeMap<(Format, &str, &str), usize> = BTreeMap::new();
    let mut failures = Vec::new();
    for exchange in exchanges.iter().filter(|exchange| exchange.is_stream() || exchange.is_whole()) {
        let kind = if exchange.is_stream() { "stream" } else { "whole" };
        match check(exchange) {
            Ok(()) if exchange.name == NO_ANSWER => {
                recordings::say(&format!("  refused as no answer, as it should be: {NO_ANSWER}"))
            }
            Ok(()) => *counts.entry((exchange.format, &exchange.provider, kind)).or_default() += 1,
            Err(failure) => failures.push(format!("{}: {failure}", exchange.name)),
        }
    }
    for ((format, provider, kind), count) in &counts {
        recordings::say(&format!("  {format:?} {provider} {kind}: {count}"));
    }
    let total = |kind: &str| counts.iter().filter(|((.., k), _)| *k == kind).map(|(_, count)| count).sum::<usize>();
    recordings::say(&format!(
        "decoded {} streams and {} whole bodies at 7 kinds of cuts; {} failed",
        total("stream"),
        total("whole"),
        failures.len()
    ));
    assert!(total("stream") >= 100, "the recordings are there, but were they read?");
    assert!(failures.is_empty(), "{} of them:\n{}", failures.len(), failures.join("\n"));
}

fn check(exchange: &Exchange) -> Result<(), String> {
    let body = &exchange.body;
    let (whole, deltas) = read(exchange, &[body]);
    for (what, pieces) in cuts(body) {
        let (cut, cut_deltas) = read(exchange, &pieces);
        if cut != whole {
            return Err(format!("{what} changes the transcript"));
        }
        if cut_deltas != deltas {
            return Err(format!("{what} changes the deltas"));
        }
    }
    if exchange.name == NO_ANSWER {
        let class = whole.err().map(|error| error.class);
        return if class == Some(ModelErrorClass::BadGateway) {
            Ok(())
        } else {
            Err(format!("is no answer, but {class:?}"))
        };
    }
    let response = whole.map_err(|error| format!("{error:?}"))?;
    let expected = naive::of_exchange(exchange);
    let decoded = naive::of_response(&response, expected.reason.clone());
    if decoded != expected {
        return Err(format!("\n decoded {decoded:?}\n naive   {expected:?}"));
    }
    check_reason(&expected, &response)?;
    check_deltas(exchange, &response, &deltas)
}

fn check_reason(expected: &naive::Summary, response: &ModelResponse) -> Result<(), String> {
    let calls = !expected.calls.is_empty();
    let wanted = match expected.reason.as_str() {
        "max_tokens" | "length" => StopReason::MaxTokens,
        "refusal" => StopReason::Refusal,
        "content_filter" => StopReason::ContentFilter,
        "stop_sequence" => StopReason::StopSequence,
        "pause_turn" => StopReason::Pause,
        _ if calls => StopReason::ToolUse,
        _ if !expected.refusal.is_empty() => StopReason::Refusal,
        _ => StopReason::EndTurn,
    };
    if response.stop_reason == wanted {
        Ok(())
    } else {
        Err(format!("{:?} stops as {:?}", expected.reason, response.stop_reason))
    }
}

/// What a reader was told on the way is what came out at the end.
fn check_deltas(exchange: &Exchange, response: &ModelResponse, deltas: &[Delta]) -> Result<(), String> {
    if exchange.is_whole() {
        return Ok(());
    }
    let (mut text, mut thinking, mut names) = (String::new(), String::new(), Vec::new());
    for delta in deltas {
        match delta {
            Delta::Text { text: more } => text.push_str(more),
            Delta::Thinking { text: more } => thinking.push_str(more),
            Delta::ToolCall { name, .. } => names.push(name.clone()),
            Delta::Arguments { .. } => {}
            Delta::Reset => (text, thinking, names) = Default::default(),
        }
    }
    let expected = naive::of_response(response, String::new());
    // A refusal in words of its own is text to the reader; one in the stop details is not streamed.
    let said = text == expected.text || text == format!("{}{}", expected.text, expected.refusal);
    let called: Vec<_> = expected.calls.into_iter().map(|(name, _)| name).collect();
    if said && thinking == expected.thinking && names == called {
        Ok(())
    } else {
        Err("the deltas tell another story".to_owned())
    }
}

fn read(exchange: &Exchange, pieces: &[&[u8]]) -> (Result<ModelResponse, ModelError>, Vec<Delta>) {
    let dialect = match exchange.format {
        Format::Anthropic => Dialect::Anthropic,
        Format::Chat => Dialect::of("openai", None).unwrap(),
    };
    let request = ModelRequest {
        model: "recorded".to_owned(),
        system: String::new(),
        messages: vec![Message::user("x")],
        tools: Vec::new(),
        tool_choice: ToolChoice::Auto,
        max_output_tokens: 1,
    };
    let mut decoder = Decoder::new(&dialect, &request, "call_1");
    let mut deltas = Vec::new();
    for piece in pieces {
        if let Err(error) = decoder.push(piece, &mut |delta| deltas.push(delta)) {
            return (Err(error), deltas);
        }
    }
    (decoder.finish(), deltas)
}

/// Byte by byte, at random (the same every time), and inside each character of more than one byte.
fn cuts(body: &[u8]) -> Vec<(String, Vec<&[u8]>)> {
    let mut out: Vec<(String, Vec<&[u8]>)> = vec![("byte by byte".to_owned(), body.chunks(1).collect())];
    for seed in 1..=4_u64 {
        let (mut state, mut rest, mut pieces) = (seed, body, Vec::new());
        while !rest.is_empty() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let size = usize::try_from((state >> 33) % 97).unwrap().clamp(1, rest.len());
            let (piece, after) = rest.split_at(size);
            pieces.push(piece);
            rest = after;
        }
        out.push((format!("random cut {seed}"), pieces));
    }
    let (mut pieces, mut from) = (Vec::new(), 0);
    for (at, byte) in body.iter().enumerate() {
        // The second and later bytes of a character.
        if byte & 0b1100_0000 == 0b1000_0000 {
            pieces.push(&body[from..at]);
            from = at;
        }
    }
    pieces.push(&body[from..]);
    out.push(("inside characters".to_owned(), pieces));
    out
}
