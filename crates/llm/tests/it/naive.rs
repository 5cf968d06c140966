//! A second reading of a recorded answer, as simple as it can be, to compare the decoder with: the whole body, generic
//! JSON, no limits, no dialects that the recordings do not have.

use std::collections::BTreeMap;

use livery_llm::message::{Arguments, Part};
use livery_llm::stream::ModelResponse;
use serde_json::Value;

use crate::recordings::{Exchange, Format};

/// What both readings are reduced to.
#[derive(Debug, PartialEq, Eq, Default)]
pub(crate) struct Summary {
    pub(crate) text: String,
    pub(crate) thinking: String,
    pub(crate) signatures: String,
    pub(crate) refusal: String,
    /// Name and arguments; text that is no object stands for itself.
    pub(crate) calls: Vec<(String, String)>,
    /// Prompt tokens in all, from the cache, written to it, output.
    pub(crate) tokens: [u64; 4],
    pub(crate) reason: String,
}

/// The decoder's answer, reduced.
pub(crate) fn of_response(response: &ModelResponse, reason: String) -> Summary {
    let usage = &response.usage;
    let tokens = [usage.input_total(), usage.input_cache_read, usage.input_cache_write, usage.output_total];
    let mut out = Summary { tokens, reason, ..Summary::default() };
    for part in &response.message.parts {
        match part {
            Part::Text { text } => out.text.push_str(text),
            Part::Thinking(thinking) => {
                out.thinking.push_str(&thinking.text);
                out.signatures.push_str(thinking.signature.as_deref().unwrap_or_default());
                out.signatures.push_str(thinking.redacted.as_deref().unwrap_or_default());
            }
            Part::Refusal { text } => out.refusal.push_str(text),
            Part::ToolCall(call) => out.calls.push((
                call.name.clone(),
                match &call.arguments {
                    Arguments::Object(map) => serde_json::to_string(map).unwrap(),
                    Arguments::Unusable { text, .. } => text.clone(),
                },
            )),
            _ => {}
        }
    }
    out
}

/// The recording's own events, added up.
pub(crate) fn of_exchange(exchange: &Exchange) -> Summary {
    let events = events(&exchange.body);
    match exchange.format {
        Format::Anthropic => anthropic(&events),
        Format::Chat => chat(&events),
    }
}

fn events(body: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(body).unwrap();
    if text.trim_start().starts_with('{') {
        return vec![serde_json::from_str(text).unwrap()];
    }
    let data = text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim);
    data.filter(|data| !data.is_empty() && *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Arguments as both sides write them.
fn shown(arguments: &str) -> String {
    match serde_json::from_str::<Value>(arguments) {
        Ok(Value::Object(map)) => serde_json::to_string(&map).unwrap(),
        _ if arguments.is_empty() => "{}".to_owned(),
        _ => arguments.to_owned(),
    }
}

fn anthropic(events: &[Value]) -> Summary {
    let mut out = Summary::default();
    let mut blocks: BTreeMap<u64, Value> = BTreeMap::new();
    let mut usage = serde_json::Map::new();
    let mut add_usage = |more: &Value| {
        let known = more.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
        usage.extend(known.map(|(key, value)| (key.clone(), value.clone())));
    };
    for event in events {
        match text(&event["type"]) {
            "message_start" => add_usage(&event["message"]["usage"]),
            "message" => {
                add_usage(&event["usage"]);
                blocks.extend(
                    event["content"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .enumerate()
                        .map(|(at, block)| (at as u64, block.clone())),
                );
                out.reason = text(&event["stop_reason"]).to_owned();
                out.refusal = text(&event["stop_details"]["explanation"]).to_owned();
            }
            "content_block_start" => {
                blocks.insert(event["index"].as_u64().unwrap(), event["content_block"].clone());
            }
            "content_block_delta" => {
                let block = blocks.get_mut(&event["index"].as_u64().unwrap()).unwrap();
                for key in ["text", "thinking", "signature", "partial_json"] {
                    if let Some(more) = event["delta"][key].as_str() {
                        block[key] = format!("{}{more}", text(&block[key])).into();
                    }
                }
            }
            "message_delta" => {
                add_usage(&event["usage"]);
                out.reason = text(&event["delta"]["stop_reason"]).to_owned();
                out.refusal = text(&event["delta"]["stop_details"]["explanation"]).to_owned();
            }
            _ => {}
        }
    }
    for block in blocks.values() {
        match text(&block["type"]) {
            "text" => out.text.push_str(text(&block["text"])),
            "thinking" => {
                out.thinking.push_str(text(&block["thinking"]));
                out.signatures.push_str(text(&block["signature"]));
            }
            "redacted_thinking" => out.signatures.push_str(text(&block["data"])),
            "tool_use" => {
                let arguments =
                    block["partial_json"].as_str().map_or_else(|| block["input"].to_string(), str::to_owned);
                out.calls.push((text(&block["name"]).to_owned(), shown(&arguments)));
            }
            _ => {}
        }
    }
    let count = |key: &str| usage.get(key).and_then(Value::as_u64).unwrap_or(0);
    let (read, write) = (count("cache_read_input_tokens"), count("cache_creation_input_tokens"));
    out.tokens = [count("input_tokens") + read + write, read, write, count("output_tokens")];
    out
}

fn chat(events: &[Value]) -> Summary {
    let mut out = Summary::default();
    let mut calls: BTreeMap<i64, (String, String)> = BTreeMap::new();
    let mut usage = Value::Null;
    for event in events {
        if event["usage"].is_object() {
            usage = event["usage"].clone();
        }
        for choice in event["choices"].as_array().into_iter().flatten() {
            let message = if choice["delta"].is_object() { &choice["delta"] } else { &choice["message"] };
            match &message["content"] {
                Value::Array(parts) => {
                    for part in parts {
                        out.text.push_str(text(&part["text"]));
                        out.thinking.extend(
                            part["thinking"].as_array().into_iter().flatten().map(|piece| text(&piece["text"])),
                        );
                    }
                }
                content => out.text.push_str(text(content)),
            }
            let reasoning = ["reasoning_content", "reasoning"].map(|key| text(&message[key]));
            out.thinking.push_str(if reasoning[0].is_empty() { reasoning[1] } else { reasoning[0] });
            out.refusal.push_str(text(&message["refusal"]));
            for (at, call) in message["tool_calls"].as_array().into_iter().flatten().enumerate() {
                let index = call["index"].as_i64().unwrap_or_else(|| i64::try_from(at).unwrap());
                let slot = calls.entry(index).or_default();
                slot.0.push_str(text(&call["function"]["name"]));
                slot.1.push_str(text(&call["function"]["arguments"]));
            }
            if let Some(reason) = choice["finish_reason"].as_str() {
                reason.clone_into(&mut out.reason);
            }
        }
    }
    out.calls = calls.into_values().map(|(name, arguments)| (name, shown(&arguments))).collect();
    let count = |pointer: &str| usage.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let (prompt, completion) = (count("/prompt_tokens"), count("/completion_tokens"));
    let reasoning = count("/completion_tokens_details/reasoning_tokens");
    let apart = if count("/total_tokens") == prompt + completion + reasoning { reasoning } else { 0 };
    let read = count("/prompt_tokens_details/cached_tokens");
    out.tokens = [prompt, read, count("/prompt_tokens_details/cache_write_tokens"), completion + apart];
    out
}
