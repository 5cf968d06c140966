//! Whole bodies, compared as JSON.

use serde_json::{Value, json};

use super::super::{Cache, Compat, Dialect, Options, ThinkingMode};
use crate::message::{Arguments, Message, Part, Role, Thinking, ToolCall, ToolResult};
use crate::request::{ModelRequest, ToolChoice, ToolSpec};

fn text(text: &str) -> Part {
    Part::Text { text: text.to_owned() }
}

fn image() -> Part {
    Part::Image { media_type: "image/png".to_owned(), data: "aGk=".to_owned() }
}

/// A conversation with reasoning, two calls (one unusable) and results with an image, by `provider`.
fn conversation(provider: &str) -> ModelRequest {
    let call = |id: &str, name: &str, arguments| {
        Part::ToolCall(ToolCall { id: id.to_owned(), name: name.to_owned(), arguments })
    };
    let result = |id: &str, name: &str, parts, is_error| {
        Part::ToolResult(ToolResult { call_id: id.to_owned(), name: name.to_owned(), parts, is_error })
    };
    let Value::Object(map) = json!({"path": "a.png"}) else { unreachable!() };
    let cut = Arguments::Unusable { text: "{\"comm".to_owned(), reason: "cut".to_owned() };
    ModelRequest {
        model: "m-1".to_owned(),
        system: "Be brief.".to_owned(),
        messages: vec![
            Message::user("Look."),
            Message {
                role: Role::Assistant,
                parts: vec![
                    Part::Thinking(Thinking {
                        text: "I should look.".to_owned(),
                        signature: Some("sig".to_owned()),
                        redacted: None,
                        provider: provider.to_owned(),
                        model: "m-1".to_owned(),
                    }),
                    text("Looking."),
                    call("call_1_1", "files.read", Arguments::Object(map)),
                    call("call_1_2", "shell", cut),
                ],
            },
            Message {
                role: Role::User,
                parts: vec![
                    result("call_1_1", "files.read", vec![text("a picture"), image()], false),
                    result("call_1_2", "shell", vec![text("cut off")], true),
                ],
            },
        ],
        tools: vec![
            ToolSpec {
                name: "files.read".to_owned(),
                description: "Reads.".to_owned(),
                input_schema: json!({"type": "object"}),
            },
            ToolSpec { name: "shell".to_owned(), description: "Runs.".to_owned(), input_schema: json!({}) },
        ],
        tool_choice: ToolChoice::Auto,
        max_output_tokens: 4096,
    }
}

fn body(dialect: &Dialect, request: &ModelRequest, options: &Options) -> Value {
    let encoded = dialect.encode(request, options);
    assert_eq!(encoded, dialect.encode(request, options), "the same bytes again");
    serde_json::from_slice(&encoded.body).unwrap()
}

const STREAM: Options = Options { stream: true, cache: Cache::Short, thinking: ThinkingMode::Unset };

#[test]
fn anthropic() {
    let request = conversation("anthropic");
    let encoded = Dialect::Anthropic.encode(&request, &STREAM);
    assert_eq!((encoded.path, encoded.key.header, encoded.key.prefix), ("/v1/messages", "x-api-key", ""));
    assert!(encoded.headers.contains(&("anthropic-version", "2023-06-01".to_owned())));
    let body = body(&Dialect::Anthropic, &request, &STREAM);
    let wire = body["tools"][0]["name"].as_str().unwrap();
    assert!(wire.starts_with("files_read_"));
    let mark = json!({"type": "ephemeral"});
    assert_eq!(
        body,
        json!({
            "model": "m-1", "max_tokens": 4096, "stream": true,
            "system": [{"type": "text", "text": "Be brief.", "cache_control": mark}],
            "tools": [
                {"name": wire, "description": "Reads.", "input_schema": {"type": "object"}},
                {"name": "shell", "description": "Runs.", "input_schema": {"type": "object"}, "cache_control": mark},
            ],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Look."}]},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "I should look.", "signature": "sig"},
                    {"type": "text", "text": "Looking."},
                    {"type": "tool_use", "id": "call_1_1", "name": wire, "input": {"path": "a.png"}},
                    {"type": "tool_use", "id": "call_1_2", "name": "shell", "input": {"unusable": "{\"comm"}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "call_1_1", "content": [
                        {"type": "text", "text": "a picture"},
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
                    ]},
                    {"type": "tool_result", "tool_use_id": "call_1_2", "is_error": true, "cache_control": mark,
                     "content": [{"type": "text", "text": "cut off"}]},
                ]},
            ],
        })
    );
}

#[test]
fn anthropic_switches() {
    let mut request = conversation("openai");
    let options = Options { stream: false, cache: Cache::Long, thinking: ThinkingMode::Budget(9_999) };
    let sent = body(&Dialect::Anthropic, &request, &options);
    assert_eq!(sent["thinking"], json!({"type": "enabled", "budget_tokens": 4095}));
    assert_eq!(sent["system"][0]["cache_control"], json!({"type": "ephemeral", "ttl": "1h"}));
    assert_eq!(sent["messages"][1]["content"][0]["type"], "text", "another provider's reasoning is left out");
    assert!(sent.get("stream").is_none());

    request.tool_choice = ToolChoice::Tool("files.read".to_owned());
    let forced = body(&Dialect::Anthropic, &request, &options);
    assert_eq!(forced["tool_choice"], json!({"type": "tool", "name": forced["tools"][0]["name"]}));
    assert!(forced.get("thinking").is_none());
    request.tool_choice = ToolChoice::None;
    let uncached = body(&Dialect::Anthropic, &request, &Options { cache: Cache::None, ..options });
    assert_eq!(uncached["tool_choice"], json!({"type": "none"}));
    assert!(!uncached.to_string().contains("cache_control"));
}

#[test]
fn anthropic_records_and_a_turn_to_be_continued() {
    let opaque = |block: Value| Part::Opaque { provider: "anthropic".to_owned(), model: "m-1".to_owned(), block };
    let mut request = conversation("anthropic");
    request.messages.clear();
    request.messages.push(Message {
        role: Role::Assistant,
        parts: vec![
            text("As found"),
            opaque(json!({"type": "text_citations", "citations": [{"url": "u"}]})),
            opaque(json!({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}})),
            text("so far  \n"),
        ],
    });
    let sent = body(&Dialect::Anthropic, &request, &STREAM);
    assert_eq!(sent["messages"][0], json!({"role": "user", "content": [{"type": "text", "text": "Continue."}]}));
    assert_eq!(
        sent["messages"][1]["content"],
        json!([
            {"type": "text", "text": "As found", "citations": [{"url": "u"}]},
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
            {"type": "text", "text": "so far", "cache_control": {"type": "ephemeral"}},
        ])
    );
}

#[test]
fn chat() {
    let dialect = Dialect::of("openai", None).unwrap();
    let request = conversation("openai");
    let encoded = dialect.encode(&request, &STREAM);
    assert_eq!(
        (encoded.path, encoded.key.header, encoded.key.prefix),
        ("/chat/completions", "authorization", "Bearer ")
    );
    let sent = body(&dialect, &request, &STREAM);
    let wire = sent["tools"][0]["function"]["name"].as_str().unwrap();
    assert_eq!(
        sent,
        json!({
            "model": "m-1", "max_completion_tokens": 4096, "stream": true, "stream_options": {"include_usage": true},
            "tools": [
                {"type": "function", "function": {"name": wire, "description": "Reads.", "parameters": {"type": "object"}}},
                {"type": "function", "function": {"name": "shell", "description": "Runs.", "parameters": {}}},
            ],
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Look."},
                {"role": "assistant", "content": "Looking.", "tool_calls": [
                    {"id": "call_1_1", "type": "function", "function": {"name": wire, "arguments": "{\"path\":\"a.png\"}"}},
                    {"id": "call_1_2", "type": "function", "function": {"name": "shell", "arguments": "{\"unusable\":\"{\\\"comm\"}"}},
                ]},
                {"role": "tool", "tool_call_id": "call_1_1", "content": "a picture\n\n[image: see the next message]"},
                {"role": "tool", "tool_call_id": "call_1_2", "content": "Error: cut off"},
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]},
            ],
        })
    );
}

#[test]
fn chat_dialects() {
    let mut request = conversation("openai");
    request.tool_choice = ToolChoice::Required;
    let mistral = body(&Dialect::of("mistral", None).unwrap(), &request, &STREAM);
    assert_eq!(mistral["tool_choice"], "any");
    assert!(mistral.get("stream_options").is_none());
    let id = mistral["messages"][2]["tool_calls"][0]["id"].as_str().unwrap();
    assert_eq!(id.len(), 9);
    assert_eq!(mistral["messages"][3]["tool_call_id"], id);
    assert_eq!(mistral["messages"][3]["name"], mistral["tools"][0]["function"]["name"]);

    let deepseek = Dialect::of("openai_compatible", Some("https://api.deepseek.com")).unwrap();
    let sent = body(&deepseek, &request, &STREAM);
    assert_eq!(sent["messages"][2]["reasoning_content"], "I should look.");
    assert_eq!(sent["max_tokens"], 4096);

    let waits = Dialect::OpenAiChat(Compat { requires_assistant_after_tool: true, ..Compat::default() });
    assert_eq!(body(&waits, &request, &STREAM)["messages"][5]["role"], "assistant");

    let block = json!({"type": "reasoning_details", "details": [{"type": "reasoning.encrypted", "data": "x"}]});
    request.messages[1].parts[0] = Part::Opaque { provider: "openai".to_owned(), model: "m-1".to_owned(), block };
    let router = Dialect::of("openai_compatible", Some("https://openrouter.ai/api/v1")).unwrap();
    assert_eq!(body(&router, &request, &STREAM)["messages"][2]["reasoning_details"][0]["data"], "x");
}

#[test]
fn other_formats_are_refused_with_a_way_out() {
    for (kind, word) in [("google", "later"), ("ollama", "11434"), ("nonsense", "known kinds")] {
        assert!(Dialect::of(kind, None).unwrap_err().to_string().contains(word), "{kind}");
    }
}

/// What a longer conversation sends begins with what a shorter one sent: providers cache by prefix.
#[test]
fn the_prefix_stays_the_same_byte_for_byte() {
    let long = {
        let mut request = conversation("anthropic");
        request.messages.push(Message { role: Role::Assistant, parts: vec![text("A horse.")] });
        request.messages.push(Message::user("Which colour?"));
        request
    };
    let options = Options { cache: Cache::None, ..STREAM };
    for dialect in [Dialect::Anthropic, Dialect::of("openai", None).unwrap(), Dialect::of("mistral", None).unwrap()] {
        for turns in [1, 3] {
            let mut short = long.clone();
            short.messages.truncate(turns);
            let (short, long) = (dialect.encode(&short, &options).body, dialect.encode(&long, &options).body);
            // All but the end of the list and of the object.
            let prefix = &short[..short.len() - 2];
            assert!(long.starts_with(prefix), "{}", String::from_utf8_lossy(prefix));
        }
    }
}
