//! What an error means: a status, headers and a body of any shape become one class and a delay.
//!
//! Owns the table of who says what. Refused: waiting and counting attempts, which is the loop's business.
//!
//! Walk on: [`overflow`] knows the texts for a full window, [`retry_after`] the ways to say "come back later".

mod overflow;
mod retry_after;
#[cfg(test)]
mod tests;

use livery_core::Timestamp;
use serde_json::Value;

use crate::stream::{ModelError, ModelErrorClass as Class};

/// The most bytes of an error body that are looked at.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// What a status other than 2xx means. Header names in any case; `now` is needed for a `retry-after` that is a date.
pub fn classify<N: AsRef<str>, V: AsRef<str>>(
    status: u16,
    headers: &[(N, V)],
    body: &[u8],
    now: Timestamp,
) -> ModelError {
    let body = &body[..body.len().min(BODY_BYTES_MAX)];
    let headers = Headers::new(headers);
    let json = serde_json::from_slice::<Value>(body).ok();
    let mut words = json.as_ref().map(Words::of).unwrap_or_default();
    if words.message.is_empty() {
        words.message = plain(status, body);
    }
    let delay = retry_after::delay_ms(&headers, json.as_ref(), &words.message, now);
    let class = of_status(status, &words, body.is_empty(), delay.is_some());
    let mut error = ModelError::new(class, &words.message);
    error.status = Some(status);
    error.retry_after_ms = delay;
    error.should_retry = match status {
        // Not what the next attempt can change, although a 5xx.
        501 | 505 => Some(false),
        // Its no always counts, its yes only where there is hope: a wrong request stays wrong.
        _ => headers
            .get("x-should-retry")
            .and_then(|value| value.trim().parse().ok())
            .filter(|yes| !yes || class.retryable()),
    };
    error
}

/// What an error object inside a 200 means, streamed or whole.
pub(super) fn in_answer(body: &Value) -> ModelError {
    let words = Words::of(body);
    let delay = retry_after::of_body(body).or_else(|| retry_after::of_text(&words.message));
    // Some servers put the status they would have answered into `code`.
    let status = words.code.parse().ok().filter(|status| (400..600).contains(status));
    let class = match status {
        Some(status) => of_status(status, &words, false, delay.is_some()),
        None => of_kind(&words, delay.is_some()).unwrap_or(Class::ServerError),
    };
    let message = if words.message.is_empty() { body.to_string() } else { words.message };
    let mut error = ModelError::new(class, message);
    error.status = status;
    error.retry_after_ms = delay;
    error
}

/// Headers of an answer, looked up in any case.
struct Headers<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Headers<'a> {
    fn new<N: AsRef<str>, V: AsRef<str>>(headers: &'a [(N, V)]) -> Self {
        Self(headers.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect())
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }
}

/// The parts of an error body that mean something, whatever its shape.
#[derive(Debug, Default)]
struct Words {
    kind: String,
    code: String,
    message: String,
}

impl Words {
    fn of(body: &Value) -> Self {
        let body = body.get(0).unwrap_or(body);
        let error = match body.get("error") {
            Some(Value::String(text)) => return Self { message: text.clone(), ..Self::default() },
            Some(error @ Value::Object(_)) => error,
            _ => body,
        };
        let mut message = field(error, "message");
        if message.is_empty() {
            message = field(body, "message");
        }
        if message.is_empty() {
            message = body.get("detail").map(scalar_or_json).unwrap_or_default();
        }
        // A router quotes the provider behind it.
        let quoted = error.get("metadata").map(|metadata| field(metadata, "raw")).unwrap_or_default();
        if !quoted.is_empty() {
            message = format!("{message}: {quoted}");
        }
        let details_code = error.get("details").map(|details| field(details, "error_code")).unwrap_or_default();
        let code = if details_code.is_empty() { field(error, "code") } else { details_code };
        Self { kind: field(error, "type"), code, message }
    }

    fn says(&self, word: &str) -> bool {
        self.kind == word || self.code == word
    }
}

fn field(object: &Value, name: &str) -> String {
    object.get(name).map(scalar_or_json).unwrap_or_default()
}

fn scalar_or_json(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A body that is no JSON, in a few words.
fn plain(status: u16, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    if text.is_empty() {
        return format!("status {status} with an empty body");
    }
    if !text.starts_with('<') {
        return text.to_owned();
    }
    let lower = text.to_ascii_lowercase();
    let title = lower.find("<title>").and_then(|start| {
        let start = start + "<title>".len();
        let end = lower.get(start..)?.find("</title>")?;
        text.get(start..start + end)
    });
    format!("status {status} with an HTML page: {}", title.unwrap_or("untitled").trim())
}

fn of_status(status: u16, words: &Words, empty: bool, has_delay: bool) -> Class {
    match status {
        401 => Class::Unauthorized,
        402 => Class::QuotaExhausted,
        403 if is_filtered(words) => Class::ContentFilter,
        403 => Class::Unauthorized,
        408 | 425 => Class::Timeout,
        // Never an overflow, whatever its text.
        429 if is_quota(words, has_delay) => Class::QuotaExhausted,
        429 => Class::RateLimited,
        503 | 529 => Class::Overloaded,
        404 if !is_quota(words, has_delay) => Class::ModelNotFound,
        // One provider answers a full window with nothing but the status.
        400 | 413 if empty => Class::ContextOverflow,
        _ if is_overflow(words) => Class::ContextOverflow,
        413 => Class::TooLarge,
        409 => Class::ServerError,
        400..=499 => of_kind(words, has_delay).filter(|class| !class.retryable()).unwrap_or(Class::InvalidRequest),
        504 => Class::Timeout,
        500.. => Class::ServerError,
        // A redirect is not followed: the base URL is wrong.
        _ => Class::InvalidRequest,
    }
}

/// By the error's own words, where no status helps.
fn of_kind(words: &Words, has_delay: bool) -> Option<Class> {
    if is_quota(words, has_delay) {
        return Some(Class::QuotaExhausted);
    }
    if is_filtered(words) {
        return Some(Class::ContentFilter);
    }
    let by_name = |name: &str| {
        Some(match name {
            "model_not_found" | "invalid_model" | "not_found_error" => Class::ModelNotFound,
            "overloaded_error" | "server_is_overloaded" | "overloaded" | "slow_down" => Class::Overloaded,
            "rate_limit_error" | "rate_limit_exceeded" | "rate_limited" => Class::RateLimited,
            "timeout_error" | "timeout" => Class::Timeout,
            "api_error" | "server_error" | "internal_error" | "internal_server_error" => Class::ServerError,
            "authentication_error" | "permission_error" | "invalid_api_key" => Class::Unauthorized,
            "invalid_request_error" | "bad_request" => Class::InvalidRequest,
            _ => return None,
        })
    };
    if is_overflow(words) {
        return Some(Class::ContextOverflow);
    }
    by_name(&words.code).or_else(|| by_name(&words.kind))
}

fn is_overflow(words: &Words) -> bool {
    overflow::KINDS.iter().any(|kind| words.says(kind)) || overflow::says_so(&words.message)
}

fn is_filtered(words: &Words) -> bool {
    let text = words.message.to_ascii_lowercase();
    ["content_filter", "content_policy_violation", "moderation_blocked"].iter().any(|kind| words.says(kind))
        || ["content filtering policy", "requires moderation", "input was flagged"]
            .iter()
            .any(|phrase| text.contains(phrase))
}

/// Used up, rather than too fast. A provider that says when to come back means "too fast", except by an explicit code.
fn is_quota(words: &Words, has_delay: bool) -> bool {
    const KINDS: [&str; 6] = [
        "insufficient_quota",
        "credit_balance_exhausted",
        "billing_error",
        "billing_hard_limit_reached",
        "insufficient_balance",
        "billing_not_active",
    ];
    const PHRASES: [&str; 7] = [
        "exceeded your current quota",
        "credit balance is too low",
        "insufficient balance",
        "insufficient credits",
        "specified api usage limits",
        "spend limit",
        "spending limit",
    ];
    if KINDS.iter().any(|kind| words.says(kind)) {
        return true;
    }
    let text = words.message.to_ascii_lowercase();
    !has_delay && (words.says("enforced_spend_limit_reached") || PHRASES.iter().any(|phrase| text.contains(phrase)))
}
