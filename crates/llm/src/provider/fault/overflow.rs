//! How providers say that the window is full. There is no common code, so the texts are known by heart.

/// Error types and codes that mean it, without looking at the text.
pub(super) const KINDS: [&str; 4] =
    ["context_length_exceeded", "exceed_context_size_error", "request_too_large", "model_context_window_exceeded"];

/// Lower case; what stands behind the last word does not matter.
const PHRASES: [&str; 13] = [
    "prompt is too long",
    "input is too long for requested model",
    "exceeds the context window",
    "exceeds the maximum context length",
    "reduce the length of the messages",
    "exceeds the available context size",
    "greater than the context length",
    "context window exceeds limit",
    "exceeded model token limit",
    "too many tokens",
    "token limit exceeded",
    "maximum context length is",
    "exceeds the model's context",
];

/// Lower case, and a number must follow (behind `(` or spaces): the words alone say other things too.
const PHRASES_BEFORE_NUMBER: [&str; 3] = ["input token count", "maximum prompt length is", "exceeds the limit of"];

/// Whether an error's text means a full window.
pub(super) fn says_so(message: &str) -> bool {
    let text = message.to_ascii_lowercase();
    PHRASES.iter().any(|phrase| text.contains(phrase))
        || PHRASES_BEFORE_NUMBER.iter().any(|phrase| number_follows(&text, phrase))
        || (text.contains("too large for model with") && text.contains("maximum context length"))
}

fn number_follows(text: &str, phrase: &str) -> bool {
    text.match_indices(phrase).any(|(at, _)| {
        let rest = text[at + phrase.len()..].trim_start_matches([' ', '(', ':']);
        rest.starts_with(|c: char| c.is_ascii_digit())
    })
}
