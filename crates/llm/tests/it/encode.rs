//! Recorded requests that a provider accepted, read into our words and encoded again: the conversation must come out as it
//! was sent, but for ids, cache marks and spellings that mean the same.

use std::collections::BTreeMap;

use livery_llm::message::{Arguments, Message, Part, Role, Thinking, ToolCall, ToolResult};
use livery_llm::provider::{Cache, Dialect, Options};
use livery_llm::request::{ModelRequest, ToolChoice, ToolSpec};
use serde_json::{Map, Value, json};

use crate::recordings::{self, Exchange, Format};

#[test]
fn every_recorded_conversation() {
    let Some(exchanges) = recordings::all() else { return recordings::skipped("recorded requests of both formats") };
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut failures = Vec::new();
    for exchange in
        exchanges.iter().filter(|exchange| exchange.status == 200 && exchange.request["messages"].is_array())
    {
        let request = match read(exchange) {
            Ok(request) => request,
            Err(reason) => {
                *counts.entry(reason).or_default() += 1;
                continue;
            }
        };
        let encoded =
            dialect(exchange).encode(&request, &Options { stream: true, cache: Cache::None, ..Options::default() });
        let ours: Value = serde_json::from_slice(&encoded.body).unwrap();
        let (ours, theirs) = (normal(&ours, exchange), normal(&exchange.request, exchange));
        if ours == theirs {
            *counts.entry("the same").or_default() += 1;
        } else {
            failures.push(format!("{}\n ours   {ours}\n theirs {theirs}", exchange.name));
        }
    }
    for (what, count) in &counts {
        recordings::say(&format!("  {what}: {count}"));
    }
    recordings::say(&format!(
        "encoded {} recorded conversations alike; {} differ",
        counts.get("the same").unwrap_or(&0),
        failures.len()
    ));
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
}

fn dialect(exchange: &Exchange) -> Dialect {
    let at = |url| Dialect::of("openai_compatible", Some(url)).unwrap();
    match (exchange.format, exchange.provider.as_str()) {
        (Format::Anthropic, _) => Dialect::Anthropic,
        (_, "openai") => Dialect::of("openai", None).unwrap(),
        (_, "mistral") => Dialect::of("mistral", None).unwrap(),
        (_, "deepseek") => at("https://api.deepseek.com"),
        (_, "openrouter") => at("https://openrouter.ai/api/v1"),
        _ => at("http://127.0.0.1:8080/v1"),
    }
}

/// Reads a request into our words, or says what our words have no word for.
pub(crate) fn read(exchange: &Exchange) -> Result<ModelRequest, &'static str> {
    let body = &exchange.request;
    let model = body["model"].as_str().unwrap_or_default().to_owned();
    let mut system = Vec::new();
    let mut messages: Vec<Message> = Vec::new();
    let mut push = |role, parts: Vec<Part>| match messages.last_mut() {
        Some(last) if last.role == role => last.parts.extend(parts),
        _ => messages.push(Message { role, parts }),
    };
    if exchange.format == Format::Anthropic {
        system = texts(&body["system"])?;
    }
    for message in body["messages"].as_array().unwrap() {
        let content = &message["content"];
        match (message["role"].as_str().unwrap(), exchange.format) {
            ("user", Format::Anthropic) => push(Role::User, anthropic(content, &model)?),
            ("assistant", Format::Anthropic) => push(Role::Assistant, anthropic(content, &model)?),
            ("system" | "developer", Format::Chat) if !system.is_empty() => {
                return Err("skipped: several system messages");
            }
            ("system" | "developer", Format::Chat) => system = texts(content)?,
            ("user", Format::Chat) => push(Role::User, said(texts(content)?)),
            ("tool", Format::Chat) => push(Role::User, vec![result(message, "tool_call_id", texts(content)?)]),
            ("assistant", Format::Chat) => push(Role::Assistant, chat(message, &model)?),
            _ => return Err("skipped: a role in the middle that we do not send"),
        }
    }
    if system.len() > 1 {
        return Err("skipped: several system messages");
    }
    let mut tools = Vec::new();
    for tool in body["tools"].as_array().into_iter().flatten() {
        let spec = if exchange.format == Format::Anthropic { tool } else { &tool["function"] };
        let schema = if exchange.format == Format::Anthropic { &spec["input_schema"] } else { &spec["parameters"] };
        if !schema.is_object() || tool.get("strict").is_some() || spec.get("strict").is_some() {
            return Err("skipped: tools of the provider, or strict ones");
        }
        let text = |key: &str| spec[key].as_str().unwrap_or_default().to_owned();
        tools.push(ToolSpec { name: text("name"), description: text("description"), input_schema: schema.clone() });
    }
    let system = system.pop().unwrap_or_default();
    Ok(ModelRequest { model, system, messages, tools, tool_choice: ToolChoice::Auto, max_output_tokens: 1 })
}

fn texts(content: &Value) -> Result<Vec<String>, &'static str> {
    match content {
        Value::Null => Ok(Vec::new()),
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Array(items) => {
            let text = |item: &Value| {
                item["text"].as_str().map(str::to_owned).ok_or("skipped: content that is neither text nor image")
            };
            items.iter().map(text).collect()
        }
        _ => Err("skipped: content that is neither text nor image"),
    }
}

fn said(texts: Vec<String>) -> Vec<Part> {
    texts.into_iter().filter(|text| !text.is_empty()).map(|text| Part::Text { text }).collect()
}

fn result(holder: &Value, id: &str, texts: Vec<String>) -> Part {
    let call_id = holder[id].as_str().unwrap_or_default().to_owned();
    Part::ToolResult(ToolResult {
        call_id,
        name: String::new(),
        parts: said(texts),
        is_error: holder["is_error"] == true,
    })
}

fn thinking(provider: &str, model: &str, block: &Value) -> Part {
    let text = |key: &str| block[key].as_str().map(str::to_owned);
    Part::Thinking(Thinking {
        text: text("thinking").or_else(|| text("reasoning_content")).unwrap_or_default(),
        signature: text("signature"),
        redacted: text("data"),
        provider: provider.to_owned(),
        model: model.to_owned(),
    })
}

fn anthropic(content: &Value, model: &str) -> Result<Vec<Part>, &'static str> {
    let Value::Array(blocks) = content else { return Ok(said(texts(content)?)) };
    let block = |block: &Value| match block["type"].as_str().unwrap_or_default() {
        "text" if block.get("citations").is_some_and(|citations| !citations.is_null()) => {
            Err("skipped: text with citations")
        }
        "text" => Ok(Part::Text { text: block["text"].as_str().unwrap().to_owned() }),
        "image" if block["source"]["type"] == "base64" => {
            let text = |key: &str| block["source"][key].as_str().unwrap_or_default().to_owned();
            Ok(Part::Image { media_type: text("media_type"), data: text("data") })
        }
        "tool_use" => call(&block["id"], &block["name"], block["input"].as_object().cloned()),
        "tool_result" => Ok(result(block, "tool_use_id", texts(&block["content"])?)),
        "thinking" | "redacted_thinking" => Ok(thinking("anthropic", model, block)),
        "document" | "image" => Err("skipped: content that is neither text nor image"),
        _ => Ok(Part::Opaque { provider: "anthropic".to_owned(), model: model.to_owned(), block: block.clone() }),
    };
    blocks.iter().map(block).collect()
}

fn chat(message: &Value, model: &str) -> Result<Vec<Part>, &'static str> {
    let mut parts = Vec::new();
    if message["reasoning_content"].is_string() {
        parts.push(thinking("openai", model, message));
    }
    if let Some(details) = message["reasoning_details"].as_array() {
        let block = json!({"type": "reasoning_details", "details": details});
        parts.push(Part::Opaque { provider: "openai".to_owned(), model: model.to_owned(), block });
    }
    parts.extend(said(texts(&message["content"])?));
    for item in message["tool_calls"].as_array().into_iter().flatten() {
        let arguments = item["function"]["arguments"].as_str().and_then(|text| serde_json::from_str(text).ok());
        parts.push(call(&item["id"], &item["function"]["name"], arguments)?);
    }
    Ok(parts)
}

fn call(id: &Value, name: &Value, arguments: Option<Map<String, Value>>) -> Result<Part, &'static str> {
    let arguments = Arguments::Object(arguments.ok_or("skipped: arguments that are no object")?);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(Part::ToolCall(ToolCall { id: text(id), name: text(name), arguments }))
}

/// The conversation of a body, in one spelling.
fn normal(body: &Value, exchange: &Exchange) -> Value {
    let mut ids = BTreeMap::new();
    let mut messages: Vec<Value> = Vec::new();
    for message in body["messages"].as_array().unwrap() {
        let message = spell(message, &mut ids);
        match messages.last_mut() {
            // The provider joins neighbours of one role itself.
            Some(last) if exchange.format == Format::Anthropic && last["role"] == message["role"] => {
                let more = message["content"].as_array().cloned().unwrap_or_default();
                last["content"].as_array_mut().unwrap().extend(more);
            }
            _ => messages.push(message),
        }
    }
    let tools: Vec<Value> = body["tools"].as_array().into_iter().flatten().map(|tool| spell(tool, &mut ids)).collect();
    json!({"model": body["model"], "system": spell(&json!({"content": body["system"]}), &mut ids), "messages": messages, "tools": tools})
}

fn spell(value: &Value, ids: &mut BTreeMap<String, usize>) -> Value {
    // `reasoning` is one server's word for what it does not read back.
    const MEANINGLESS: [&str; 6] = ["cache_control", "index", "prefix", "citations", "caller", "reasoning"];
    match value {
        Value::Object(map) => {
            let mut out = Map::new();
            if map.contains_key("function") {
                // The only type there is, and so left out by some.
                out.insert("type".to_owned(), "function".into());
            }
            for (key, item) in map {
                let item = match key.as_str() {
                    _ if MEANINGLESS.contains(&key.as_str()) => continue,
                    "id" | "tool_use_id" | "tool_call_id" if item.is_string() => {
                        let next = ids.len();
                        (*ids.entry(item.as_str().unwrap().to_owned()).or_insert(next)).into()
                    }
                    "content" => content(item, ids),
                    "arguments" => {
                        item.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null)
                    }
                    "is_error" if *item == json!(false) => continue,
                    "description" if item.is_null() => continue,
                    // A tool message's; we know the name, some recordings leave it out.
                    "name" if map.get("role").is_some() => continue,
                    _ => spell(item, ids),
                };
                if !item.is_null() && item != json!([]) {
                    out.insert(key.clone(), item);
                }
            }
            Value::Object(out)
        }
        Value::Array(items) => items.iter().map(|item| spell(item, ids)).collect(),
        other => other.clone(),
    }
}

/// Text alone and a list with one text mean the same.
fn content(content: &Value, ids: &mut BTreeMap<String, usize>) -> Value {
    match content {
        Value::String(text) if text.is_empty() => Value::Null,
        Value::String(text) => json!([{"type": "text", "text": text}]),
        Value::Array(items) if items.len() > 1 && items.iter().all(|item| item["type"] == "text") => {
            let texts: Vec<&str> = items.iter().filter_map(|item| item["text"].as_str()).collect();
            json!([{"type": "text", "text": texts.join("\n\n")}])
        }
        Value::Array(items) => items.iter().map(|item| spell(item, ids)).collect(),
        _ => Value::Null,
    }
}
