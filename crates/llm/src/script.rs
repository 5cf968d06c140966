//! A model that plays a file: `model: scripted/NAME` reads `scripts/NAME.yaml` in the agent's folder.
//!
//! Owns playing: the same turn of the same request gives the same answer. Refused: pretending. A turn that does not find
//! what it expects, and a script that has run out, fail with what was seen instead of answering something.
//!
//! Walk on: [`read`] turns the file into turns.

mod read;
#[cfg(test)]
mod tests;

use livery_core::finding::Finding;
use serde_json::Value;

use crate::estimate;
use crate::message::{Arguments, Message, Part, Role, Thinking, ToolCall, ToolResult};
use crate::provider::{Ending, read_arguments};
use crate::request::ModelRequest;
use crate::stream::{ModelError, ModelErrorClass, ModelResponse, StopReason, TokenUsage};

/// The most turns of a script.
pub const TURNS_MAX: usize = 1_000;

/// The longest a turn may wait, in milliseconds.
pub const DELAY_MS_MAX: u64 = 600_000;

/// Characters of what was seen that a failed expectation quotes.
const SEEN_CHARACTERS_MAX: usize = 600;

/// A parsed script.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    turns: Vec<Turn>,
}

/// One answer of the script.
#[derive(Debug, Clone, PartialEq, Default)]
struct Turn {
    /// The line it begins in, for messages.
    line: u32,
    text: Option<String>,
    thinking: Option<String>,
    refusal: Option<String>,
    tools: Vec<Call>,
    stop: Option<StopReason>,
    delay_ms: u64,
    usage: Option<Usage>,
    expect: Vec<Expectation>,
}

#[derive(Debug, Clone, PartialEq)]
struct Call {
    name: String,
    /// A map is taken as it is, text as the raw text a model would have written.
    arguments: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Usage {
    input: Option<u64>,
    output: Option<u64>,
    cache_read: u64,
    cache_write: u64,
}

/// What the request must hold for the turn to be played.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Expectation {
    /// One of the results of the last turn's calls says this.
    ToolResultContains(String),
    /// Whether one of them is an error.
    ToolResultIsError(bool),
    /// The words since the model spoke say this.
    UserContains(String),
    /// The system prompt says this.
    SystemContains(String),
    /// The tool is offered.
    ToolOffered(String),
}

impl Script {
    /// Reads the text of `scripts/NAME.yaml`; `file` is its name in messages.
    ///
    /// # Errors
    /// All that is wrong, each with its line and column.
    pub fn parse(file: &str, yaml: &str) -> Result<Self, Vec<Finding>> {
        read::script(file, yaml).map(|turns| Self { turns })
    }

    /// How many turns it has.
    pub const fn len(&self) -> usize {
        self.turns.len()
    }

    /// Never: a script without a turn does not parse.
    pub const fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Plays turn `turn_index` (0 is the first model call of the run): the answer, and how long to wait before giving
    /// it, in milliseconds. Tool-call ids are `{call_id_prefix}_1`, `_2`, ….
    ///
    /// # Errors
    /// The script has run out, or the request does not hold what the turn expects. Trying again does not help.
    pub fn play(
        &self,
        turn_index: usize,
        request: &ModelRequest,
        call_id_prefix: &str,
    ) -> Result<(ModelResponse, u64), ModelError> {
        let Some(turn) = self.turns.get(turn_index) else {
            return Err(failed(format!(
                "the script has run out: it has {}, and this is turn {} ({} was expected to end the run before)",
                if self.turns.len() == 1 { "1 turn".to_owned() } else { format!("{} turns", self.turns.len()) },
                turn_index + 1,
                if self.turns.iter().any(|turn| turn.tools.iter().any(|call| call.name == "finish")) {
                    "finish"
                } else {
                    "plain text"
                },
            )));
        };
        for expectation in &turn.expect {
            expectation
                .check(request)
                .map_err(|what| failed(format!("turn {} of the script (line {}) {what}", turn_index + 1, turn.line)))?;
        }
        Ok((turn.response(request, call_id_prefix), turn.delay_ms))
    }
}

/// Which turn a request asks for when nobody counts: as many as the model has spoken already.
pub fn turn_index(request: &ModelRequest) -> usize {
    request.messages.iter().filter(|message| message.role == Role::Assistant).count()
}

impl Turn {
    fn response(&self, request: &ModelRequest, call_id_prefix: &str) -> ModelResponse {
        let mut parts = Vec::new();
        if let Some(text) = &self.thinking {
            parts.push(Part::Thinking(Thinking {
                text: text.clone(),
                signature: None,
                redacted: None,
                provider: "scripted".to_owned(),
                model: request.model.clone(),
            }));
        }
        parts.extend(self.text.clone().map(|text| Part::Text { text }));
        parts.extend(self.refusal.clone().map(|text| Part::Refusal { text }));
        let cut = self.stop == Some(StopReason::MaxTokens);
        for (at, call) in self.tools.iter().enumerate() {
            let ending = if cut && at + 1 == self.tools.len() { Ending::Cut } else { Ending::Whole };
            let arguments = match &call.arguments {
                Value::Object(map) => Arguments::Object(map.clone()),
                Value::String(text) => read_arguments(text, ending),
                other => read_arguments(&other.to_string(), ending),
            };
            let id = format!("{call_id_prefix}_{}", at + 1);
            parts.push(Part::ToolCall(ToolCall { id, name: call.name.clone(), arguments }));
        }
        let message = Message { role: Role::Assistant, parts };
        let stop_reason = match self.stop {
            Some(stop) => stop,
            None if self.refusal.is_some() => StopReason::Refusal,
            None if self.tools.is_empty() => StopReason::EndTurn,
            None => StopReason::ToolUse,
        };
        let usage = self.usage(request, &message);
        ModelResponse { message, stop_reason, usage, model: request.model.clone(), response_id: None }
    }

    /// What the script says, and the estimate for what it leaves out.
    fn usage(&self, request: &ModelRequest, message: &Message) -> TokenUsage {
        let given = self.usage.unwrap_or_default();
        TokenUsage {
            input_uncached: given.input.unwrap_or_else(|| estimate::request_tokens(request)),
            input_cache_read: given.cache_read,
            input_cache_write: given.cache_write,
            output_total: given.output.unwrap_or_else(|| estimate::message_tokens(message)),
            output_reasoning: 0,
            raw: Value::Null,
        }
    }
}

impl Expectation {
    fn check(&self, request: &ModelRequest) -> Result<(), String> {
        // All that came since the model spoke: results and what a person said meanwhile are messages of their own.
        let since = request.messages.rsplit(|message| message.role == Role::Assistant).next().unwrap_or_default();
        let parts = || since.iter().flat_map(|message| &message.parts);
        let results: Vec<&ToolResult> = parts().filter_map(result).collect();
        let results_text = || results.iter().map(|result| texts(result.parts.iter())).collect::<Vec<_>>().join("\n");
        let found = |kind: &str, seen: String, wanted: &str| {
            if seen.contains(wanted) {
                Ok(())
            } else {
                Err(format!("expects {kind} to contain {wanted:?}; seen: {}", shown(&seen)))
            }
        };
        match self {
            Self::ToolResultContains(wanted) => found("a tool result", results_text(), wanted),
            Self::ToolResultIsError(wanted) if results.iter().any(|result| result.is_error) == *wanted => Ok(()),
            Self::ToolResultIsError(wanted) => {
                let kind = if *wanted { "a failed tool result" } else { "no failed tool result" };
                Err(format!("expects {kind}; seen: {}", shown(&results_text())))
            }
            Self::UserContains(wanted) => found("the user's words", texts(parts()), wanted),
            Self::SystemContains(wanted) => found("the system prompt", request.system.clone(), wanted),
            Self::ToolOffered(wanted) if request.tools.iter().any(|tool| tool.name == *wanted) => Ok(()),
            Self::ToolOffered(wanted) => {
                let names: Vec<&str> = request.tools.iter().map(|tool| tool.name.as_str()).collect();
                Err(format!("expects the tool {wanted:?}; offered: {}", shown(&names.join(", "))))
            }
        }
    }
}

const fn result(part: &Part) -> Option<&ToolResult> {
    match part {
        Part::ToolResult(result) => Some(result),
        _ => None,
    }
}

fn texts<'a>(parts: impl Iterator<Item = &'a Part>) -> String {
    let texts = parts.filter_map(|part| match part {
        Part::Text { text } => Some(text.as_str()),
        _ => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

fn shown(text: &str) -> String {
    if text.is_empty() {
        return "nothing".to_owned();
    }
    let mut shown: String = text.chars().take(SEEN_CHARACTERS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

fn failed(message: String) -> ModelError {
    ModelError { should_retry: Some(false), ..ModelError::new(ModelErrorClass::InvalidRequest, message) }
}
