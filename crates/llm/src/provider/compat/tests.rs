//! Which base URL is whose.

use super::{Compat, MaxTokensField, ReasoningDialect};

#[test]
fn known_hosts_and_strangers() {
    let plain = Compat::default();
    let content = Compat { reasoning: ReasoningDialect::Content, ..plain.clone() };
    assert_eq!(Compat::detect("https://api.openai.com/v1").max_tokens_field, MaxTokensField::MaxCompletionTokens);
    assert_eq!(
        Compat::detect("https://x.openai.azure.com/openai/v1").max_tokens_field,
        MaxTokensField::MaxCompletionTokens
    );
    assert_eq!(Compat::detect("https://user@API.MISTRAL.AI:443/v1"), Compat::mistral());
    assert_eq!(Compat::detect("https://openrouter.ai/api/v1").reasoning, ReasoningDialect::Details);
    for own in [
        "http://127.0.0.1:8080/v1",
        "http://[::1]:8080/v1",
        "http://localhost:11434/v1",
        "http://gpu/v1",
        "http://10.0.0.3/v1",
    ] {
        assert_eq!(Compat::detect(own), content, "{own}");
    }
    for stranger in [
        "https://notopenai.com/v1",
        "https://api.openai.com.evil.example/v1",
        "https://api.groq.com/openai/v1",
        "",
        "::",
    ] {
        assert_eq!(Compat::detect(stranger), plain, "{stranger}");
    }
}

#[test]
fn every_field_can_be_overridden() {
    let json = r#"{"system_role": "developer", "id_pattern": "nine", "tool_result_name": true}"#;
    let compat: Compat = serde_json::from_str(json).unwrap();
    assert_eq!(compat.id_pattern, super::IdPattern::Nine);
    assert!(serde_json::from_str::<Compat>(r#"{"sytem_role": "system"}"#).is_err());
}
