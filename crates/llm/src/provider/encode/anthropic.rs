//! Anthropic Messages: the system prompt apart, results inside user messages, cache marks where the prefix may end.

use serde::Serialize;
use serde_json::{Value, json};

use super::super::draft::CITATIONS;
use super::super::history::{self, Reader, Unsigned};
use super::super::names::{CallIds, IdPattern, ToolNames};
use super::super::{Cache, Options, ThinkingMode};
use crate::message::{Message, Part, Role, Thinking, ToolResult};
use crate::request::{ModelRequest, ToolChoice, ToolSpec};

/// The `anthropic-version` this codec was written against.
pub(super) const VERSION: &str = "2023-06-01";

/// The least the provider takes as a reasoning budget.
const THINKING_TOKENS_MIN: u32 = 1_024;

/// What the user says when the conversation does not begin with the user.
const OPENING: &str = "Continue.";

/// In the order of how long a field stays the same.
#[derive(Serialize)]
pub(super) struct Body<'a> {
    model: &'a str,
    max_tokens: u32,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Value>,
    messages: Vec<Value>,
}

pub(super) fn body<'a>(request: &'a ModelRequest, options: &Options) -> Body<'a> {
    let names = ToolNames::new(&request.tools);
    let mark = mark(options.cache);
    let mut tools: Vec<Value> = request.tools.iter().map(|spec| tool(spec, &names)).collect();
    let system = request.system.replace('\0', "");
    let mut system: Vec<Value> =
        if system.trim().is_empty() { Vec::new() } else { vec![json!({ "type": "text", "text": system })] };
    let mut messages = messages(request, &names);
    if let Some(mark) = &mark {
        for list in [&mut tools, &mut system] {
            if let Some(last) = list.last_mut() {
                last["cache_control"] = mark.clone();
            }
        }
        mark_last_block(&mut messages, mark);
    }
    let forced = matches!(request.tool_choice, ToolChoice::Required | ToolChoice::Tool(_));
    Body {
        model: &request.model,
        max_tokens: request.max_output_tokens,
        stream: options.stream,
        // The provider refuses to reason when a call is forced.
        thinking: if forced { None } else { thinking(options.thinking, request.max_output_tokens) },
        tool_choice: if tools.is_empty() { None } else { tool_choice(&request.tool_choice, &names) },
        tools,
        system,
        messages,
    }
}

fn mark(cache: Cache) -> Option<Value> {
    match cache {
        Cache::None => None,
        Cache::Short => Some(json!({ "type": "ephemeral" })),
        Cache::Long => Some(json!({ "type": "ephemeral", "ttl": "1h" })),
    }
}

/// Reasoning and our own records cannot carry a mark; the block before them can.
fn mark_last_block(messages: &mut [Value], mark: &Value) {
    let Some(blocks) = messages.last_mut().and_then(|message| message["content"].as_array_mut()) else { return };
    let takes =
        |block: &&mut Value| matches!(block["type"].as_str(), Some("text" | "image" | "tool_use" | "tool_result"));
    if let Some(block) = blocks.iter_mut().rev().find(takes) {
        block["cache_control"] = mark.clone();
    }
}

fn thinking(mode: ThinkingMode, max_tokens: u32) -> Option<Value> {
    match mode {
        ThinkingMode::Unset => None,
        ThinkingMode::Adaptive => Some(json!({ "type": "adaptive" })),
        // There must be room for the budget and an answer.
        ThinkingMode::Budget(_) if max_tokens <= THINKING_TOKENS_MIN => None,
        ThinkingMode::Budget(tokens) => {
            let tokens = tokens.clamp(THINKING_TOKENS_MIN, max_tokens - 1);
            Some(json!({ "type": "enabled", "budget_tokens": tokens }))
        }
    }
}

fn tool(spec: &ToolSpec, names: &ToolNames) -> Value {
    let mut schema = match &spec.input_schema {
        Value::Object(map) => Value::Object(map.clone()),
        _ => json!({}),
    };
    // Demanded, even where the schema says it in another way.
    if schema["type"] != "object" {
        schema["type"] = "object".into();
    }
    json!({ "name": names.wire(&spec.name), "description": spec.description, "input_schema": schema })
}

fn tool_choice(choice: &ToolChoice, names: &ToolNames) -> Option<Value> {
    match choice {
        ToolChoice::Auto => None,
        ToolChoice::Required => Some(json!({ "type": "any" })),
        ToolChoice::Tool(name) => Some(json!({ "type": "tool", "name": names.wire(name) })),
        ToolChoice::None => Some(json!({ "type": "none" })),
    }
}

fn messages(request: &ModelRequest, names: &ToolNames) -> Vec<Value> {
    let reader = Reader { provider: "anthropic", model: &request.model, unsigned: Unsigned::Drop };
    let mut ids = CallIds::new(IdPattern::Word64);
    let mut prepared = history::prepare(&request.messages, reader);
    if prepared.first().is_some_and(|message| message.role == Role::Assistant) {
        // Demanded of the first message; compaction may have left the model's.
        prepared.insert(0, Message::user(OPENING));
    }
    let last = prepared.len().saturating_sub(1);
    let is_prefill = |at: usize, message: &Message| at == last && message.role == Role::Assistant;
    let message = |(at, message): (usize, &Message)| {
        let role = if message.role == Role::User { "user" } else { "assistant" };
        let mut content: Vec<Value> = Vec::with_capacity(message.parts.len());
        for part in &message.parts {
            push_block(&mut content, part, &mut ids, names);
        }
        if is_prefill(at, message) {
            trim_end(&mut content);
        }
        json!({ "role": role, "content": content })
    };
    prepared.iter().enumerate().map(message).collect()
}

/// A turn to be continued must not end in white space.
fn trim_end(content: &mut [Value]) {
    if let Some(Value::String(text)) = content.last_mut().and_then(|block| block.get_mut("text")) {
        text.truncate(text.trim_end().len());
    }
}

fn push_block(content: &mut Vec<Value>, part: &Part, ids: &mut CallIds, names: &ToolNames) {
    content.push(match part {
        Part::Text { text } | Part::Refusal { text } => json!({ "type": "text", "text": text }),
        Part::Image { media_type, data } => image(media_type, data),
        Part::ToolCall(call) => json!({
            "type": "tool_use",
            "id": ids.wire(&call.id),
            "name": names.wire(&call.name),
            "input": history::arguments(&call.arguments),
        }),
        Part::ToolResult(result) => tool_result(result, ids),
        Part::Thinking(Thinking { redacted: Some(data), .. }) => json!({ "type": "redacted_thinking", "data": data }),
        Part::Thinking(thinking) => json!({
            "type": "thinking",
            "thinking": thinking.text,
            "signature": thinking.signature.as_deref().unwrap_or_default(),
        }),
        Part::Opaque { block, .. } if block["type"] == CITATIONS => {
            if let Some(text) = content.last_mut().filter(|block| block["type"] == "text") {
                text["citations"] = block["citations"].clone();
            }
            return;
        }
        Part::Opaque { block, .. } => block.clone(),
    });
}

fn image(media_type: &str, data: &str) -> Value {
    json!({ "type": "image", "source": { "type": "base64", "media_type": media_type, "data": data } })
}

fn tool_result(result: &ToolResult, ids: &mut CallIds) -> Value {
    let parts = result.parts.iter().filter_map(|part| match part {
        Part::Text { text } => Some(json!({ "type": "text", "text": text })),
        Part::Image { media_type, data } => Some(image(media_type, data)),
        _ => None,
    });
    let content: Vec<Value> = parts.collect();
    let mut block = json!({ "type": "tool_result", "tool_use_id": ids.wire(&result.call_id) });
    if !content.is_empty() {
        block["content"] = content.into();
    }
    if result.is_error {
        block["is_error"] = true.into();
    }
    block
}
