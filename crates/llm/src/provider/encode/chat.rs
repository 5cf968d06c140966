//! OpenAI Chat Completions: everything is a message, results are messages of their own, images cannot be among them.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::super::Options;
use super::super::compat::{
    Compat, EmptyContent, MaxTokensField, ReasoningDialect, RequiredWord, StreamUsage, SystemRole,
};
use super::super::decode::REASONING_DETAILS;
use super::super::history::{self, Reader, Unsigned};
use super::super::names::{CallIds, ToolNames};
use crate::message::{Message, Part, Role, ToolCall, ToolResult};
use crate::request::{ModelRequest, ToolChoice};

/// Stands in a result for an image that follows.
const IMAGE_FOLLOWS: &str = "[image: see the next message]";

/// Stands for a result without any text.
const NO_OUTPUT: &str = "(no output)";

/// Between two texts of one message.
const PARAGRAPH: &str = "\n\n";

/// In the order of how long a field stays the same.
#[derive(Serialize)]
pub(super) struct Body<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    messages: Vec<Value>,
}

pub(super) fn body<'a>(request: &'a ModelRequest, options: &Options, compat: &Compat) -> Body<'a> {
    let names = ToolNames::new(&request.tools);
    let limit = |field| (compat.max_tokens_field == field).then_some(request.max_output_tokens);
    let asks_usage = options.stream && compat.stream_usage == StreamUsage::Ask;
    let tool = |spec: &crate::request::ToolSpec| {
        let function =
            json!({ "name": names.wire(&spec.name), "description": spec.description, "parameters": spec.input_schema });
        json!({ "type": "function", "function": function })
    };
    let tools: Vec<Value> = request.tools.iter().map(tool).collect();
    Body {
        model: &request.model,
        max_tokens: limit(MaxTokensField::MaxTokens),
        max_completion_tokens: limit(MaxTokensField::MaxCompletionTokens),
        stream: options.stream,
        stream_options: asks_usage.then(|| json!({ "include_usage": true })),
        tool_choice: if tools.is_empty() { None } else { tool_choice(&request.tool_choice, &names, compat) },
        tools,
        messages: Writer { compat, ids: CallIds::new(compat.id_pattern), names: &names, out: Vec::new() }
            .messages(request),
    }
}

fn tool_choice(choice: &ToolChoice, names: &ToolNames, compat: &Compat) -> Option<Value> {
    match (choice, compat.required_word) {
        (ToolChoice::Auto, _) => None,
        (ToolChoice::None, _) => Some("none".into()),
        (ToolChoice::Required, RequiredWord::Required) => Some("required".into()),
        (ToolChoice::Required, RequiredWord::Any) => Some("any".into()),
        (ToolChoice::Tool(name), _) => Some(json!({ "type": "function", "function": { "name": names.wire(name) } })),
    }
}

struct Writer<'a> {
    compat: &'a Compat,
    ids: CallIds,
    names: &'a ToolNames,
    out: Vec<Value>,
}

impl Writer<'_> {
    fn messages(mut self, request: &ModelRequest) -> Vec<Value> {
        let system = request.system.replace('\0', "");
        if !system.trim().is_empty() {
            let role = match self.compat.system_role {
                SystemRole::System => "system",
                SystemRole::Developer => "developer",
            };
            self.out.push(json!({ "role": role, "content": system }));
        }
        let reader = Reader { provider: "openai", model: &request.model, unsigned: Unsigned::Keep };
        for message in history::prepare(&request.messages, reader) {
            match message.role {
                Role::User => self.user(&message),
                Role::Assistant => self.assistant(&message),
            }
        }
        self.out
    }

    fn user(&mut self, message: &Message) {
        let mut images = Vec::new();
        let mut results = 0;
        for part in &message.parts {
            if let Part::ToolResult(result) = part {
                self.tool_result(result, &mut images);
                results += 1;
            }
        }
        let mut said: Vec<&Part> = images;
        said.extend(message.parts.iter().filter(|part| !matches!(part, Part::ToolResult(_))));
        if said.is_empty() {
            return;
        }
        if results > 0 && self.compat.requires_assistant_after_tool {
            self.out.push(json!({ "role": "assistant", "content": "I have the results." }));
        }
        let content = if said.iter().all(|part| matches!(part, Part::Text { .. })) {
            Value::String(text_of(said.iter().copied()))
        } else {
            said.iter().filter_map(|part| content_part(part)).collect()
        };
        self.out.push(json!({ "role": "user", "content": content }));
    }

    fn tool_result<'p>(&mut self, result: &'p ToolResult, images: &mut Vec<&'p Part>) {
        let mut text = text_of(result.parts.iter());
        for part in result.parts.iter().filter(|part| matches!(part, Part::Image { .. })) {
            images.push(part);
            text = [text, IMAGE_FOLLOWS.to_owned()]
                .into_iter()
                .filter(|text| !text.is_empty())
                .collect::<Vec<_>>()
                .join(PARAGRAPH);
        }
        if text.is_empty() {
            NO_OUTPUT.clone_into(&mut text);
        }
        // The format has no field for it, so the words must say it.
        if result.is_error && !text.to_ascii_lowercase().contains("error") {
            text.insert_str(0, "Error: ");
        }
        let mut message = json!({ "role": "tool", "tool_call_id": self.ids.wire(&result.call_id), "content": text });
        if self.compat.tool_result_name {
            message["name"] = self.names.wire(&result.name).into();
        }
        self.out.push(message);
    }

    fn assistant(&mut self, message: &Message) {
        let mut out = Map::new();
        out.insert("role".to_owned(), "assistant".into());
        let text = text_of(message.parts.iter());
        let calls: Vec<Value> = message.parts.iter().filter_map(|part| self.call(part)).collect();
        if text.is_empty() && calls.is_empty() {
            return;
        }
        match (text.is_empty(), self.compat.empty_content) {
            (false, _) => out.insert("content".to_owned(), text.into()),
            (true, EmptyContent::EmptyString) => out.insert("content".to_owned(), "".into()),
            (true, EmptyContent::Omit) => None,
        };
        match self.compat.reasoning {
            ReasoningDialect::Content if !calls.is_empty() => {
                let thoughts = message.parts.iter().filter_map(|part| match part {
                    Part::Thinking(thinking) => Some(thinking.text.as_str()),
                    _ => None,
                });
                let thoughts: Vec<&str> = thoughts.filter(|text| !text.is_empty()).collect();
                if !thoughts.is_empty() {
                    out.insert("reasoning_content".to_owned(), thoughts.join(PARAGRAPH).into());
                }
            }
            ReasoningDialect::Details => {
                let details = message.parts.iter().filter_map(|part| match part {
                    Part::Opaque { block, .. } if block["type"] == REASONING_DETAILS => block["details"].as_array(),
                    _ => None,
                });
                let details: Vec<Value> = details.flatten().cloned().collect();
                if !details.is_empty() {
                    out.insert("reasoning_details".to_owned(), details.into());
                }
            }
            ReasoningDialect::Content | ReasoningDialect::None => {}
        }
        if !calls.is_empty() {
            out.insert("tool_calls".to_owned(), calls.into());
        }
        self.out.push(Value::Object(out));
    }

    fn call(&mut self, part: &Part) -> Option<Value> {
        let Part::ToolCall(ToolCall { id, name, arguments }) = part else { return None };
        let function = json!({ "name": self.names.wire(name), "arguments": history::arguments(arguments).to_string() });
        Some(json!({ "id": self.ids.wire(id), "type": "function", "function": function }))
    }
}

fn text_of<'p>(parts: impl Iterator<Item = &'p Part>) -> String {
    let texts = parts.filter_map(|part| match part {
        Part::Text { text } | Part::Refusal { text } => Some(text.as_str()),
        _ => None,
    });
    texts.collect::<Vec<_>>().join(PARAGRAPH)
}

fn content_part(part: &Part) -> Option<Value> {
    match part {
        Part::Text { text } => Some(json!({ "type": "text", "text": text })),
        Part::Image { media_type, data } => {
            let url = format!("data:{media_type};base64,{data}");
            Some(json!({ "type": "image_url", "image_url": { "url": url } }))
        }
        _ => None,
    }
}
