//! How many tokens a text will be, before a provider has counted them: four characters each, rounded up.
//!
//! Refused: vocabularies. The estimate only decides what to reserve and when to compact; real usage corrects it.

use crate::message::{Arguments, Message, Part};
use crate::request::ModelRequest;

#[cfg(test)]
mod tests;

/// Characters to a token, on average over prose and code.
const CHARACTERS_PER_TOKEN: u64 = 4;

/// What an image costs, whatever its size: providers charge about this for one that fills their limit.
const TOKENS_PER_IMAGE: u64 = 1_500;

/// What a message, a call or a tool costs beside its text.
const TOKENS_PER_ENVELOPE: u64 = 4;

/// Tokens of a text.
pub fn text_tokens(text: &str) -> u64 {
    let characters = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
    characters.div_ceil(CHARACTERS_PER_TOKEN)
}

/// Tokens of one message.
pub fn message_tokens(message: &Message) -> u64 {
    message.parts.iter().map(part_tokens).fold(TOKENS_PER_ENVELOPE, u64::saturating_add)
}

/// Prompt tokens of a whole request: system prompt, tools and conversation.
pub fn request_tokens(request: &ModelRequest) -> u64 {
    let tools = request.tools.iter().map(|tool| {
        text_tokens(&tool.name)
            + text_tokens(&tool.description)
            + text_tokens(&tool.input_schema.to_string())
            + TOKENS_PER_ENVELOPE
    });
    let messages = request.messages.iter().map(message_tokens);
    tools.chain(messages).fold(text_tokens(&request.system), u64::saturating_add)
}

fn part_tokens(part: &Part) -> u64 {
    match part {
        Part::Text { text } | Part::Refusal { text } => text_tokens(text),
        Part::Image { .. } => TOKENS_PER_IMAGE,
        Part::ToolCall(call) => {
            let arguments = match &call.arguments {
                Arguments::Object(map) if map.is_empty() => 1,
                Arguments::Object(map) => serde_json::to_string(map).map_or(0, |json| text_tokens(&json)),
                Arguments::Unusable { text, .. } => text_tokens(text),
            };
            text_tokens(&call.name) + arguments + TOKENS_PER_ENVELOPE
        }
        Part::ToolResult(result) => result.parts.iter().map(part_tokens).fold(TOKENS_PER_ENVELOPE, u64::saturating_add),
        Part::Thinking(thinking) => text_tokens(&thinking.text) + thinking.redacted.as_deref().map_or(0, text_tokens),
        Part::Opaque { block, .. } => text_tokens(&block.to_string()),
    }
}
