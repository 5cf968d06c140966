//! Anthropic Messages from the server's side.

use bytes::Bytes;
use livery_llm::message::{Arguments, Message, Part, Role, Thinking, ToolCall, ToolResult};
use livery_llm::request::{ModelRequest, ToolChoice, ToolSpec};
use livery_llm::stream::{ModelResponse, StopReason};
use serde_json::{Value, json};

use super::{Asked, arguments_text, check_pairs, check_tool_name, pieces};

pub(super) fn parse(body: &Value) -> Result<Asked, String> {
    let model = body["model"].as_str().ok_or("model: Field required")?;
    let max_tokens =
        body["max_tokens"].as_u64().filter(|tokens| *tokens > 0).ok_or("max_tokens: Field required, at least 1")?;
    let messages = body["messages"]
        .as_array()
        .filter(|list| !list.is_empty())
        .ok_or("messages: at least one message is required")?;
    let messages = messages.iter().map(message).collect::<Result<Vec<_>, _>>()?;
    if messages[0].role != Role::User {
        return Err("messages: first message must use the \"user\" role".to_owned());
    }
    check_pairs(&messages)?;
    let tools = body["tools"].as_array().into_iter().flatten().map(tool).collect::<Result<Vec<_>, _>>()?;
    let choice = &body["tool_choice"];
    let tool_choice = match choice["type"].as_str() {
        Some("any") => ToolChoice::Required,
        Some("none") => ToolChoice::None,
        Some("tool") => ToolChoice::Tool(text(choice, "name")),
        _ => ToolChoice::Auto,
    };
    if body["thinking"]["type"] == "enabled" {
        let budget = body["thinking"]["budget_tokens"].as_u64().unwrap_or(0);
        if !(1024..max_tokens).contains(&budget) {
            return Err("thinking.budget_tokens: at least 1024 and less than max_tokens".to_owned());
        }
    }
    let request = ModelRequest {
        model: model.to_owned(),
        system: texts(&body["system"]),
        messages,
        tools,
        tool_choice,
        max_output_tokens: u32::try_from(max_tokens).unwrap_or(u32::MAX),
    };
    Ok(Asked { request, stream: body["stream"] == true, usage: true })
}

fn message(message: &Value) -> Result<Message, String> {
    let role = match message["role"].as_str() {
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        other => return Err(format!("messages: role {other:?} is neither user nor assistant")),
    };
    let parts = match &message["content"] {
        Value::String(text) if text.is_empty() => return Err("messages: content must not be empty".to_owned()),
        Value::String(text) => vec![Part::Text { text: text.clone() }],
        Value::Array(blocks) if blocks.is_empty() => return Err("messages: content must not be empty".to_owned()),
        Value::Array(blocks) => blocks.iter().map(block).collect::<Result<Vec<_>, _>>()?,
        _ => return Err("messages: content must be a string or a list of blocks".to_owned()),
    };
    Ok(Message { role, parts })
}

fn block(block: &Value) -> Result<Part, String> {
    Ok(match block["type"].as_str() {
        Some("text") => {
            let text = text(block, "text");
            if text.trim().is_empty() {
                return Err("messages: text content blocks must contain non-whitespace text".to_owned());
            }
            Part::Text { text }
        }
        Some("image") => {
            Part::Image { media_type: text(&block["source"], "media_type"), data: text(&block["source"], "data") }
        }
        Some("tool_use") => {
            let Value::Object(input) = &block["input"] else {
                return Err("messages: tool_use.input: Input should be a valid dictionary".to_owned());
            };
            check_tool_name(&text(block, "name"))?;
            Part::ToolCall(ToolCall {
                id: id(block, "id")?,
                name: text(block, "name"),
                arguments: Arguments::Object(input.clone()),
            })
        }
        Some("tool_result") => Part::ToolResult(ToolResult {
            call_id: id(block, "tool_use_id")?,
            name: String::new(),
            parts: match &block["content"] {
                Value::Array(blocks) => blocks.iter().map(self::block).collect::<Result<Vec<_>, _>>()?,
                Value::String(text) => vec![Part::Text { text: text.clone() }],
                _ => Vec::new(),
            },
            is_error: block["is_error"] == true,
        }),
        Some("thinking") if text(block, "signature").is_empty() => {
            return Err("messages: thinking.signature: Field required".to_owned());
        }
        Some("thinking") => thinking(text(block, "thinking"), Some(text(block, "signature")), None),
        Some("redacted_thinking") => thinking(String::new(), None, Some(text(block, "data"))),
        Some(_) => Part::Opaque { provider: "anthropic".to_owned(), model: String::new(), block: block.clone() },
        None => return Err("messages: a block needs a type".to_owned()),
    })
}

const fn thinking(text: String, signature: Option<String>, redacted: Option<String>) -> Part {
    Part::Thinking(Thinking { text, signature, redacted, provider: String::new(), model: String::new() })
}

fn id(block: &Value, field: &str) -> Result<String, String> {
    let id = text(block, field);
    check_tool_name(&id).map_err(|_| format!("messages: {field}: String should match pattern '^[a-zA-Z0-9_-]+$'"))?;
    Ok(id)
}

fn tool(tool: &Value) -> Result<ToolSpec, String> {
    let name = text(tool, "name");
    check_tool_name(&name)?;
    if tool["input_schema"]["type"] != "object" {
        return Err(format!("tools.{name}.input_schema.type: Input should be 'object'"));
    }
    Ok(ToolSpec { name, description: text(tool, "description"), input_schema: tool["input_schema"].clone() })
}

fn text(object: &Value, field: &str) -> String {
    object[field].as_str().unwrap_or_default().to_owned()
}

/// A string, or the texts of a list of blocks.
fn texts(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => blocks.iter().filter_map(|block| block["text"].as_str()).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    }
}

/// An event's bytes; the name is the type.
pub(super) fn frame(event: &Value) -> Bytes {
    format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default()).into()
}

pub(super) fn events(answer: &ModelResponse, piece: usize) -> Vec<Bytes> {
    let mut head = body(answer);
    head["content"] = json!([]);
    head["stop_reason"] = Value::Null;
    head["usage"]["output_tokens"] = 1.into();
    let mut events = vec![json!({"type": "message_start", "message": head}), json!({"type": "ping"})];
    for (index, part) in answer.message.parts.iter().enumerate() {
        push_block(&mut events, index, part, piece);
    }
    events.push(json!({"type": "message_delta", "delta": {"stop_reason": stop_reason(answer.stop_reason), "stop_sequence": null},
        "usage": usage(answer)}));
    events.push(json!({"type": "message_stop"}));
    events.iter().map(frame).collect()
}

fn push_block(events: &mut Vec<Value>, index: usize, part: &Part, piece: usize) {
    let (start, deltas) = match part {
        Part::Text { text } | Part::Refusal { text } => {
            let delta = |text| json!({"type": "text_delta", "text": text});
            (json!({"type": "text", "text": ""}), pieces(text, piece).into_iter().map(delta).collect())
        }
        Part::ToolCall(call) => {
            let delta = |text| json!({"type": "input_json_delta", "partial_json": text});
            let first = std::iter::once(String::new());
            let deltas = first.chain(pieces(&arguments_text(&call.arguments), piece)).map(delta).collect();
            (json!({"type": "tool_use", "id": call.id, "name": call.name, "input": {}}), deltas)
        }
        Part::Thinking(Thinking { redacted: Some(data), .. }) => {
            (json!({"type": "redacted_thinking", "data": data}), Vec::new())
        }
        Part::Thinking(thinking) => {
            let delta = |text| json!({"type": "thinking_delta", "thinking": text});
            let mut deltas: Vec<Value> = pieces(&thinking.text, piece).into_iter().map(delta).collect();
            deltas.push(json!({"type": "signature_delta", "signature": signature(thinking)}));
            (json!({"type": "thinking", "thinking": "", "signature": ""}), deltas)
        }
        other => (whole_block(other), Vec::new()),
    };
    events.push(json!({"type": "content_block_start", "index": index, "content_block": start}));
    events
        .extend(deltas.into_iter().map(|delta| json!({"type": "content_block_delta", "index": index, "delta": delta})));
    events.push(json!({"type": "content_block_stop", "index": index}));
}

/// A proof that this server would take again.
fn signature(thinking: &Thinking) -> &str {
    thinking.signature.as_deref().unwrap_or("c2lnbmVkIGJ5IHRoZSBmYWtlIG1vZGVs")
}

pub(super) fn body(answer: &ModelResponse) -> Value {
    let content: Vec<Value> = answer.message.parts.iter().map(whole_block).collect();
    json!({"id": answer.response_id, "type": "message", "role": "assistant", "model": answer.model, "content": content,
        "stop_reason": stop_reason(answer.stop_reason), "stop_sequence": null, "usage": usage(answer)})
}

fn whole_block(part: &Part) -> Value {
    match part {
        Part::Text { text } | Part::Refusal { text } => json!({"type": "text", "text": text}),
        Part::ToolCall(call) => {
            let input = match &call.arguments {
                Arguments::Object(map) => Value::Object(map.clone()),
                Arguments::Unusable { text, .. } => Value::String(text.clone()),
            };
            json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input})
        }
        Part::Thinking(Thinking { redacted: Some(data), .. }) => json!({"type": "redacted_thinking", "data": data}),
        Part::Thinking(thinking) => {
            json!({"type": "thinking", "thinking": thinking.text, "signature": signature(thinking)})
        }
        Part::Opaque { block, .. } => block.clone(),
        Part::Image { .. } | Part::ToolResult(_) => json!({"type": "text", "text": "(not what a model says)"}),
    }
}

fn usage(answer: &ModelResponse) -> Value {
    let usage = &answer.usage;
    json!({"input_tokens": usage.input_uncached, "cache_read_input_tokens": usage.input_cache_read,
        "cache_creation_input_tokens": usage.input_cache_write, "output_tokens": usage.output_total})
}

const fn stop_reason(stop: StopReason) -> &'static str {
    match stop {
        StopReason::EndTurn => "end_turn",
        StopReason::ToolUse => "tool_use",
        StopReason::MaxTokens => "max_tokens",
        StopReason::StopSequence => "stop_sequence",
        StopReason::Refusal | StopReason::ContentFilter => "refusal",
        StopReason::Pause => "pause_turn",
        StopReason::ContextOverflow => "model_context_window_exceeded",
    }
}

pub(super) fn error(status: u16, message: &str) -> Value {
    let kind = match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        503 | 529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_fake"})
}
