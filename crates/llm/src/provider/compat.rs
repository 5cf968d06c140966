//! What differs between the servers that speak Chat Completions, as data: detected from the base URL, each field
//! overridable per model.

use serde::{Deserialize, Serialize};

use super::names::IdPattern;

#[cfg(test)]
mod tests;

/// One server's habits. The default is a plain compatible server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Compat {
    /// Under which role the system prompt goes.
    pub system_role: SystemRole,
    /// How the output limit is called.
    pub max_tokens_field: MaxTokensField,
    /// Whether usage in a stream must be asked for, and may be.
    pub stream_usage: StreamUsage,
    /// How reasoning goes back to the model that made it.
    pub reasoning: ReasoningDialect,
    /// What stands for the content of an assistant message that only calls tools.
    pub empty_content: EmptyContent,
    /// How "must call a tool" is spelt.
    pub required_word: RequiredWord,
    /// Whether a tool result repeats the tool's name.
    pub tool_result_name: bool,
    /// Whether an assistant message must stand between a tool result and the next user message.
    pub requires_assistant_after_tool: bool,
    /// What the server takes as the id of a call.
    pub id_pattern: IdPattern,
}

/// Under which role the system prompt goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SystemRole {
    /// Understood by every server.
    #[default]
    System,
    /// The newer word of OpenAI's reasoning models; some models refuse it.
    Developer,
}

/// How the output limit is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxTokensField {
    /// The common word.
    #[default]
    MaxTokens,
    /// OpenAI's; its reasoning models refuse the other.
    MaxCompletionTokens,
}

/// Whether usage in a stream must be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamUsage {
    /// With `stream_options.include_usage`.
    #[default]
    Ask,
    /// It comes by itself, and the field is refused.
    Unasked,
}

/// How reasoning goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasoningDialect {
    /// Not at all.
    #[default]
    None,
    /// As `reasoning_content`, on messages that call tools (`DeepSeek`, Qwen, z.ai, Kimi, llama.cpp, vLLM).
    Content,
    /// As the `reasoning_details` records that came (`OpenRouter`).
    Details,
}

/// What stands for no content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmptyContent {
    /// The field is left out.
    #[default]
    Omit,
    /// An empty string.
    EmptyString,
}

/// How "must call a tool" is spelt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequiredWord {
    /// `required`.
    #[default]
    Required,
    /// `any` (Mistral).
    Any,
}

impl Compat {
    /// The habits of the server at `base_url`; of a plain compatible server when it is not a known one.
    pub fn detect(base_url: &str) -> Self {
        let host = host(base_url);
        let is = |domain: &str| host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
        let plain = Self::default();
        if is("openai.com") || is("openai.azure.com") {
            return Self { max_tokens_field: MaxTokensField::MaxCompletionTokens, ..plain };
        }
        if is("deepseek.com") {
            return Self { reasoning: ReasoningDialect::Content, empty_content: EmptyContent::EmptyString, ..plain };
        }
        if is("mistral.ai") {
            return Self::mistral();
        }
        if is("openrouter.ai") {
            return Self { reasoning: ReasoningDialect::Details, ..plain };
        }
        let echoes = ["moonshot.ai", "moonshot.cn", "z.ai", "bigmodel.cn", "aliyuncs.com"].into_iter().any(is);
        if echoes || is_own(&host) {
            return Self { reasoning: ReasoningDialect::Content, ..plain };
        }
        plain
    }

    /// Mistral's.
    pub fn mistral() -> Self {
        Self {
            stream_usage: StreamUsage::Unasked,
            empty_content: EmptyContent::EmptyString,
            required_word: RequiredWord::Any,
            tool_result_name: true,
            id_pattern: IdPattern::Nine,
            ..Self::default()
        }
    }
}

/// The host of a URL, lower case, without user, port and brackets.
fn host(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    host.to_ascii_lowercase()
}

/// A machine of one's own runs llama.cpp, vLLM or their like, which read back what they wrote.
fn is_own(host: &str) -> bool {
    match host.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(v4)) => v4.is_loopback() || v4.is_private(),
        Ok(std::net::IpAddr::V6(v6)) => v6.is_loopback() || v6.is_unique_local(),
        Err(_) => host == "localhost" || !host.contains('.') && !host.is_empty(),
    }
}
