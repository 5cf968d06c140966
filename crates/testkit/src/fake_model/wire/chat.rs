//! OpenAI Chat Completions from the server's side.

use bytes::Bytes;
use livery_llm::message::{Arguments, Message, Part, Role, ToolCall, ToolResult};
use livery_llm::request::{MAX_OUTPUT_TOKENS_DEFAULT, ModelRequest, ToolChoice, ToolSpec};
use livery_llm::stream::{ModelResponse, StopReason};
use serde_json::{Map, Value, json};

use super::{Asked, arguments_text, check_pairs, check_tool_name, pieces};

pub(super) fn parse(body: &Value) -> Result<Asked, String> {
    let model = body["model"].as_str().ok_or("you must provide a model parameter")?;
    let list = body["messages"].as_array().filter(|list| !list.is_empty()).ok_or("[] is too short - 'messages'")?;
    let mut system = Vec::new();
    let mut messages: Vec<Message> = Vec::new();
    for item in list {
        match item["role"].as_str() {
            Some("system" | "developer") => system.push(content_text(&item["content"])),
            Some("user") => push(&mut messages, Role::User, user_parts(&item["content"])?),
            Some("assistant") => push(&mut messages, Role::Assistant, assistant_parts(item)?),
            Some("tool") => push(&mut messages, Role::User, vec![result(item)?]),
            other => return Err(format!("invalid value {other:?} for 'messages[].role'")),
        }
    }
    check_pairs(&messages)?;
    let limit = body["max_completion_tokens"].as_u64().or_else(|| body["max_tokens"].as_u64());
    let request = ModelRequest {
        model: model.to_owned(),
        system: system.join("\n"),
        messages,
        tools: body["tools"].as_array().into_iter().flatten().map(tool).collect::<Result<Vec<_>, _>>()?,
        tool_choice: tool_choice(&body["tool_choice"]),
        max_output_tokens: limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(MAX_OUTPUT_TOKENS_DEFAULT),
    };
    Ok(Asked { request, stream: body["stream"] == true, usage: body["stream_options"]["include_usage"] == true })
}

/// Results and what the user says after them are one message in our transcript.
fn push(messages: &mut Vec<Message>, role: Role, parts: Vec<Part>) {
    match messages.last_mut() {
        Some(last) if last.role == Role::User && role == Role::User => last.parts.extend(parts),
        _ => messages.push(Message { role, parts }),
    }
}

fn user_parts(content: &Value) -> Result<Vec<Part>, String> {
    let Value::Array(items) = content else {
        return match content.as_str() {
            Some(text) => Ok(vec![Part::Text { text: text.to_owned() }]),
            None => Err("invalid value for 'content': expected a string or a list".to_owned()),
        };
    };
    let part = |item: &Value| match item["type"].as_str() {
        Some("text") => Ok(Part::Text { text: content_text(&item["text"]) }),
        Some("image_url") => {
            let url = item["image_url"]["url"].as_str().unwrap_or_default();
            let (head, data) = url.split_once(";base64,").ok_or("only data: images are understood")?;
            Ok(Part::Image { media_type: head.trim_start_matches("data:").to_owned(), data: data.to_owned() })
        }
        other => Err(format!("invalid content part {other:?}")),
    };
    items.iter().map(part).collect()
}

fn assistant_parts(item: &Value) -> Result<Vec<Part>, String> {
    let text = content_text(&item["content"]);
    let mut parts: Vec<Part> = if text.is_empty() { Vec::new() } else { vec![Part::Text { text }] };
    for call in item["tool_calls"].as_array().into_iter().flatten() {
        let function = &call["function"];
        let name = content_text(&function["name"]);
        check_tool_name(&name)?;
        let arguments = serde_json::from_str::<Map<String, Value>>(&content_text(&function["arguments"]))
            .map_err(|error| format!("'arguments' of {name:?} are no JSON object: {error}"))?;
        let id = content_text(&call["id"]);
        if id.is_empty() {
            return Err("'tool_calls[].id' is missing".to_owned());
        }
        parts.push(Part::ToolCall(ToolCall { id, name, arguments: Arguments::Object(arguments) }));
    }
    if parts.is_empty() {
        return Err("an assistant message needs content or tool_calls".to_owned());
    }
    Ok(parts)
}

fn result(item: &Value) -> Result<Part, String> {
    let call_id = item["tool_call_id"].as_str().ok_or("'tool_call_id' is missing")?.to_owned();
    let text = content_text(&item["content"]);
    // The format has no field for it.
    let is_error = text.starts_with("Error:") || text.starts_with("{\"error\"");
    Ok(Part::ToolResult(ToolResult {
        call_id,
        name: content_text(&item["name"]),
        parts: vec![Part::Text { text }],
        is_error,
    }))
}

fn tool(tool: &Value) -> Result<ToolSpec, String> {
    let function = &tool["function"];
    let name = content_text(&function["name"]);
    check_tool_name(&name)?;
    Ok(ToolSpec {
        name,
        description: content_text(&function["description"]),
        input_schema: function["parameters"].clone(),
    })
}

fn tool_choice(choice: &Value) -> ToolChoice {
    match choice.as_str() {
        Some("required" | "any") => ToolChoice::Required,
        Some("none") => ToolChoice::None,
        Some(_) => ToolChoice::Auto,
        None => choice["function"]["name"].as_str().map_or(ToolChoice::Auto, |name| ToolChoice::Tool(name.to_owned())),
    }
}

fn content_text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().filter_map(|item| item["text"].as_str()).collect(),
        _ => String::new(),
    }
}

pub(super) fn frame(chunk: &Value) -> Bytes {
    format!("data: {chunk}\n\n").into()
}

pub(super) fn events(answer: &ModelResponse, with_usage: bool, piece: usize) -> Vec<Bytes> {
    let chunk = |choices: Value| json!({"id": answer.response_id, "object": "chat.completion.chunk", "created": 0, "model": answer.model, "choices": choices});
    let delta = |delta: Value| chunk(json!([{"index": 0, "delta": delta, "finish_reason": null}]));
    let mut chunks = vec![delta(json!({"role": "assistant", "content": "", "refusal": null}))];
    let mut calls = 0;
    for part in &answer.message.parts {
        match part {
            Part::Text { text } => {
                chunks.extend(pieces(text, piece).iter().map(|text| delta(json!({"content": text}))))
            }
            Part::Refusal { text } => {
                chunks.extend(pieces(text, piece).iter().map(|text| delta(json!({"refusal": text}))))
            }
            Part::Thinking(thinking) => {
                chunks
                    .extend(pieces(&thinking.text, piece).iter().map(|text| delta(json!({"reasoning_content": text}))));
            }
            Part::ToolCall(call) => {
                let function = json!({"name": call.name, "arguments": ""});
                chunks.push(delta(
                    json!({"tool_calls": [{"index": calls, "id": call.id, "type": "function", "function": function}]}),
                ));
                let more =
                    |text: &String| delta(json!({"tool_calls": [{"index": calls, "function": {"arguments": text}}]}));
                chunks.extend(pieces(&arguments_text(&call.arguments), piece).iter().map(more));
                calls += 1;
            }
            _ => {}
        }
    }
    chunks.push(chunk(json!([{"index": 0, "delta": {}, "finish_reason": finish_reason(answer.stop_reason)}])));
    if with_usage {
        let mut last = chunk(json!([]));
        last["usage"] = usage(answer);
        chunks.push(last);
    }
    chunks.iter().map(frame).chain([Bytes::from_static(b"data: [DONE]\n\n")]).collect()
}

pub(super) fn body(answer: &ModelResponse) -> Value {
    let text: String = answer
        .message
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Text { text } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    let mut message = json!({"role": "assistant", "content": if text.is_empty() { Value::Null } else { text.into() }, "refusal": null});
    let mut calls = Vec::new();
    for part in &answer.message.parts {
        match part {
            Part::Refusal { text } => message["refusal"] = text.as_str().into(),
            Part::Thinking(thinking) => message["reasoning_content"] = thinking.text.as_str().into(),
            Part::ToolCall(call) => calls.push(json!({"id": call.id, "type": "function",
                "function": {"name": call.name, "arguments": arguments_text(&call.arguments)}})),
            _ => {}
        }
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    json!({"id": answer.response_id, "object": "chat.completion", "created": 0, "model": answer.model, "usage": usage(answer),
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason(answer.stop_reason)}]})
}

fn usage(answer: &ModelResponse) -> Value {
    let usage = &answer.usage;
    let prompt = usage.input_total();
    json!({"prompt_tokens": prompt, "completion_tokens": usage.output_total, "total_tokens": prompt.saturating_add(usage.output_total),
        "prompt_tokens_details": {"cached_tokens": usage.input_cache_read, "cache_write_tokens": usage.input_cache_write},
        "completion_tokens_details": {"reasoning_tokens": usage.output_reasoning}})
}

const fn finish_reason(stop: StopReason) -> &'static str {
    match stop {
        StopReason::EndTurn | StopReason::StopSequence | StopReason::Refusal | StopReason::Pause => "stop",
        StopReason::ToolUse => "tool_calls",
        StopReason::MaxTokens => "length",
        StopReason::ContentFilter => "content_filter",
        StopReason::ContextOverflow => "model_length",
    }
}

pub(super) fn error(status: u16, message: &str) -> Value {
    let (kind, code) = match status {
        401 => ("invalid_request_error", "invalid_api_key"),
        404 => ("invalid_request_error", "model_not_found"),
        429 => ("requests", "rate_limit_exceeded"),
        503 | 529 => ("server_error", "server_is_overloaded"),
        500.. => ("server_error", "server_error"),
        _ => ("invalid_request_error", "invalid_value"),
    };
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
}
