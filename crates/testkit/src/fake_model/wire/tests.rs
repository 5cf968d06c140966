//! Whatever the transcript looks like, what the codecs send is what a provider takes.

use livery_llm::message::{Arguments, Message, Part, Role, Thinking, ToolCall, ToolResult};
use livery_llm::provider::{Cache, Dialect, Options, ThinkingMode};
use livery_llm::request::{ModelRequest, ToolChoice, ToolSpec};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::Wire;

fn text() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", " \n", "\0", "a\0b", "Hü 🐎", "{\"error\": 1}", "two\n\nlines  "])
        .prop_map(str::to_owned)
}

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "shell",
        "files.read",
        "",
        "日本",
        "gone",
        "a-very-long-name-a-very-long-name-a-very-long-name-a-very-long-name",
    ])
    .prop_map(str::to_owned)
}

fn id() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["call_1_1", "call_1_2", "", "über/1", "call_1_1_2"]).prop_map(str::to_owned)
}

fn simple_part() -> impl Strategy<Value = Part> {
    let image = Part::Image { media_type: "image/png".to_owned(), data: "aGk=".to_owned() };
    prop_oneof![3 => text().prop_map(|text| Part::Text { text }), 1 => Just(image)]
}

fn part() -> impl Strategy<Value = Part> {
    let arguments = prop_oneof![
        Just(Arguments::Object(serde_json::Map::new())),
        text().prop_map(|text| Arguments::Unusable { text, reason: "cut".to_owned() }),
    ];
    let call =
        (id(), name(), arguments).prop_map(|(id, name, arguments)| Part::ToolCall(ToolCall { id, name, arguments }));
    let result = (id(), name(), prop::collection::vec(simple_part(), 0..3), any::<bool>())
        .prop_map(|(call_id, name, parts, is_error)| Part::ToolResult(ToolResult { call_id, name, parts, is_error }));
    let maker = || prop::sample::select(vec!["anthropic", "openai", "scripted"]).prop_map(str::to_owned);
    let model = || prop::sample::select(vec!["m", "other"]).prop_map(str::to_owned);
    let maybe = || prop::option::of(Just("sig".to_owned()));
    // Signed reasoning goes back letter by letter, so there is no NUL to strip in it.
    let thought = prop::sample::select(vec!["", "hm"]).prop_map(str::to_owned);
    let thinking =
        (thought, maybe(), maybe(), maker(), model()).prop_map(|(text, signature, redacted, provider, model)| {
            Part::Thinking(Thinking { text, signature, redacted, provider, model })
        });
    let block = prop::sample::select(vec![
        json!({"type": "text_citations", "citations": [{"url": "u"}]}),
        json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}),
        json!({"type": "reasoning_details", "details": [{"type": "reasoning.text", "text": "x"}]}),
    ]);
    let opaque = (maker(), model(), block).prop_map(|(provider, model, block)| Part::Opaque { provider, model, block });
    prop_oneof![
        3 => simple_part(),
        4 => call,
        4 => result,
        2 => thinking,
        1 => opaque,
        1 => text().prop_map(|text| Part::Refusal { text }),
    ]
}

fn messages() -> impl Strategy<Value = Vec<Message>> {
    let role = prop::sample::select(vec![Role::User, Role::Assistant]);
    let message = (role, prop::collection::vec(part(), 0..6)).prop_map(|(role, parts)| Message { role, parts });
    prop::collection::vec(message, 0..8)
}

fn request(mut messages: Vec<Message>, tool_choice: ToolChoice, max_output_tokens: u32) -> ModelRequest {
    // A conversation in which nothing is said at all cannot be sent to anyone.
    messages.insert(0, Message::user("hi"));
    let tool = |name: &str| ToolSpec { name: name.to_owned(), description: String::new(), input_schema: json!({}) };
    let tools = vec![tool("files.read"), tool("shell")];
    ModelRequest { model: "m".to_owned(), system: "s".to_owned(), messages, tools, tool_choice, max_output_tokens }
}

/// Every id of a call in a body.
fn call_ids(body: &Value) -> Vec<String> {
    let calls = body["messages"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|message| message["tool_calls"].as_array().cloned().unwrap_or_default());
    calls.filter_map(|call| call["id"].as_str().map(str::to_owned)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]

    #[test]
    fn what_is_sent_is_taken(
        messages in messages(),
        choice in prop::sample::select(vec![ToolChoice::Auto, ToolChoice::Required, ToolChoice::None, ToolChoice::Tool("files.read".to_owned())]),
        cache in prop::sample::select(vec![Cache::None, Cache::Short, Cache::Long]),
        tokens in prop::sample::select(vec![1_u32, 1_024, 1_025, 64_000]),
        budget in any::<u32>(),
    ) {
        let request = request(messages, choice, tokens);
        let options = Options { stream: true, cache, thinking: ThinkingMode::Budget(budget) };
        let kinds = [
            ("anthropic", None),
            ("openai", None),
            ("mistral", None),
            ("openai_compatible", Some("https://api.deepseek.com")),
            ("openai_compatible", Some("https://openrouter.ai/api/v1")),
        ];
        for (kind, url) in kinds {
            let dialect = Dialect::of(kind, url).unwrap();
            let encoded = dialect.encode(&request, &options);
            let body = String::from_utf8(encoded.body).unwrap();
            let wire = Wire::of(encoded.path).unwrap();
            let taken = wire.parse(body.as_bytes());
            prop_assert!(taken.is_ok(), "{kind}: {:?}\n{body}", taken);
            prop_assert!(!body.contains("\\u0000"), "{kind}: {body}");
            let ids = call_ids(&serde_json::from_str(&body).unwrap());
            let different: std::collections::BTreeSet<_> = ids.iter().collect();
            prop_assert_eq!(different.len(), ids.len(), "an id twice: {}", body);
            if kind == "mistral" {
                prop_assert!(ids.iter().all(|id| id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())));
            }
        }
    }
}
