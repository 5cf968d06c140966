//! An answer as it comes, made fit to be kept: providers refuse a conversation with empty text or doubled ids in it, and
//! a hostile one must not be able to answer its own calls.

use livery_llm::message::{Message, Part, Role, ToolCall};
use livery_llm::stream::TokenUsage;

use crate::state::State;

/// Longest id of a call that every provider takes back.
const CALL_ID_BYTES_MAX: usize = 64;
/// More tokens than any call can take; a count above it is a mistake of the provider.
const TOKENS_PER_CALL_MAX: u64 = 1 << 30;

/// The message without empty text, without NUL, without results, and with ids that are unique in the run.
pub(super) fn message(state: &State, step: u32, message: Message) -> Message {
    let mut parts: Vec<Part> = Vec::with_capacity(message.parts.len());
    for part in message.parts {
        match part {
            Part::Text { text } if text.trim().is_empty() => {}
            Part::Text { text } if text.contains('\0') => {
                parts.push(Part::Text { text: text.replace('\0', "\u{fffd}") })
            }
            Part::ToolResult(_) => {}
            Part::ToolCall(call) => {
                let call = with_own_id(state, step, &parts, call);
                parts.push(Part::ToolCall(call));
            }
            other => parts.push(other),
        }
    }
    Message { role: Role::Assistant, parts }
}

/// The call, with a new id when its own is taken or unfit.
fn with_own_id(state: &State, step: u32, earlier: &[Part], call: ToolCall) -> ToolCall {
    let taken = |id: &str| state.has_call_id(id) || earlier.iter().any(|part| is_call(part, id));
    if is_fit(&call.id) && !taken(&call.id) {
        return call;
    }
    // `x` keeps these apart from ids made with the prefix of `Effect::CallModel`; one more number than calls is free.
    let id = (1..=earlier.len() + 1).map(|number| format!("call_{step}x{number}")).find(|id| !taken(id));
    ToolCall { id: id.unwrap_or(call.id), ..call }
}

fn is_fit(id: &str) -> bool {
    (1..=CALL_ID_BYTES_MAX).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

pub(super) fn is_call(part: &Part, id: &str) -> bool {
    matches!(part, Part::ToolCall(call) if call.id == id)
}

/// The usage with impossible counts cut to what is possible.
pub(super) fn usage(usage: TokenUsage) -> TokenUsage {
    let cap = |count: u64| count.min(TOKENS_PER_CALL_MAX);
    TokenUsage {
        input_uncached: cap(usage.input_uncached),
        input_cache_read: cap(usage.input_cache_read),
        input_cache_write: cap(usage.input_cache_write),
        output_total: cap(usage.output_total),
        output_reasoning: cap(usage.output_reasoning),
        raw: usage.raw,
    }
}
