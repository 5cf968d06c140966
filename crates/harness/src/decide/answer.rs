//! A model answered: what its turn means.
//!
//! | the answer | what follows |
//! |---|---|
//! | calls tools | they are looked at and run ([`super::calls`]), whatever the stop reason |
//! | declined, by itself or by a filter | the next model of the agent, else `model_refused` |
//! | window full | `context_overflow` |
//! | pause | the same conversation again |
//! | nothing | asked once more, else `empty_response` |
//! | text, cut off | asked once to go on, else `output_invalid` |
//! | text | the output, where that is `{text}`; else a reminder to call `finish`, then `output_invalid` |

use std::sync::Arc;

use livery_core::{ErrorCode, RunError, Usd};
use livery_llm::message::{Message, Part};
use livery_llm::stream::{ModelResponse, StopReason};

use super::{CONTINUATIONS_MAX, Draft, EMPTY_RETRIES_MAX, REMINDERS_MAX, clean};
use crate::prompt;
use crate::record::{ModelResponded, ModelRetried, Note, NoteKind, Record};
use crate::state::{Phase, has_content, is_declined};
use crate::text::shorten;

/// Longest quote of the model's words in an error, in bytes.
const QUOTE_BYTES_MAX: usize = 500;

impl Draft<'_> {
    pub(super) fn answered(&mut self, attempt: u32, response: ModelResponse, cost: Option<Usd>, latency_ms: u64) {
        let step = self.state.step;
        let model = self.state.model.as_ref().unwrap_or_else(|| self.run.first_model()).clone();
        let message = Arc::new(clean::message(&self.state, step, response.message));
        let usage = clean::usage(response.usage);
        let counted = usage.input_total() > 0 || usage.output_total > 0 || model.is_scripted();
        let estimated_tokens = if counted { 0 } else { self.estimate(&message) };
        let stop_reason = response.stop_reason;
        self.record(Record::ModelResponded(ModelResponded {
            step,
            model,
            message: Arc::clone(&message),
            stop_reason,
            usage,
            estimated_tokens,
            cost,
            latency_ms,
        }));
        if is_declined(&message, stop_reason) {
            self.declined(attempt, &message, stop_reason);
        } else {
            self.settle(&message, stop_reason);
        }
    }

    fn settle(&mut self, message: &Message, stop_reason: StopReason) {
        if stop_reason == StopReason::ContextOverflow {
            let text = "the conversation no longer fits the model's context window";
            self.fail(RunError::fatal(ErrorCode::ContextOverflow, text));
        } else if self.state.phase == Phase::Tools {
            self.look_at_calls();
        } else if stop_reason == StopReason::Pause {
            self.next_turn(None);
        } else if !has_content(message) {
            self.empty();
        } else if stop_reason == StopReason::MaxTokens {
            self.cut_off();
        } else {
            self.plain_text();
        }
    }

    fn declined(&mut self, attempt: u32, message: &Message, stop_reason: StopReason) {
        let words = message.parts.iter().find_map(|part| match part {
            Part::Refusal { text } | Part::Text { text } if !text.trim().is_empty() => Some(text.trim()),
            _ => None,
        });
        let who = if stop_reason == StopReason::ContentFilter {
            "the provider's filter stopped the answer"
        } else {
            "the model declined"
        };
        let words = words.map_or_else(|| who.to_owned(), |words| format!("{who}: {}", shorten(words, QUOTE_BYTES_MAX)));
        let next = self.state.model.as_ref().and_then(|model| self.run.fallback_after(model)).cloned();
        let Some(model) = next else {
            return self.fail(RunError::fatal(ErrorCode::ModelRefused, words));
        };
        self.record(Record::ModelRetried(ModelRetried {
            step: self.state.step,
            attempt,
            class: "refusal".to_owned(),
            message: words,
            delay_ms: 0,
            model,
            failure: None,
        }));
        self.next_turn(None);
    }

    fn empty(&mut self) {
        if self.state.counts.empty <= EMPTY_RETRIES_MAX {
            return self.next_turn(None);
        }
        let text = format!("the model answered nothing, {} times in a row", self.state.counts.empty);
        self.fail(RunError::retryable(ErrorCode::EmptyResponse, text));
    }

    fn cut_off(&mut self) {
        if self.state.counts.cuts <= CONTINUATIONS_MAX {
            return self.next_turn(Some(Note { kind: NoteKind::Continue, text: prompt::CONTINUE.to_owned() }));
        }
        let text = "the model's answer was cut off by its output limit, and so was its continuation";
        self.fail(RunError::fatal(ErrorCode::OutputInvalid, text));
    }

    fn plain_text(&mut self) {
        let output = &self.run.toolbox.output;
        if output.is_text() {
            match output.read_text(&self.state.answer) {
                Ok(output) => return self.succeed(output),
                Err(findings) if self.state.counts.reminders >= REMINDERS_MAX => {
                    return self.fail(RunError::fatal(ErrorCode::OutputInvalid, findings));
                }
                Err(_) => {}
            }
        }
        if self.state.counts.reminders < REMINDERS_MAX {
            return self.next_turn(Some(Note { kind: NoteKind::CallFinish, text: prompt::call_finish() }));
        }
        let quote = shorten(&self.state.answer, QUOTE_BYTES_MAX).into_owned();
        let text = format!("the model ended with text instead of an output that fits the agent's schema: {quote}");
        self.fail(RunError::fatal(ErrorCode::OutputInvalid, text));
    }

    /// Tokens of a call whose provider counted none: four bytes each, of everything that went and came.
    fn estimate(&self, message: &Message) -> u64 {
        let sent: u64 = self.state.transcript.iter().map(|message| bytes(message)).sum();
        let fixed = u64::try_from(self.run.system.len()).unwrap_or(u64::MAX).saturating_add(bytes(&self.run.first));
        sent.saturating_add(fixed).saturating_add(bytes(message)).div_ceil(4)
    }
}

/// The text of a message, in bytes, roughly.
fn bytes(message: &Message) -> u64 {
    use livery_llm::message::Arguments;
    fn of(part: &Part) -> usize {
        match part {
            Part::Text { text } | Part::Refusal { text } => text.len(),
            Part::ToolCall(call) => match &call.arguments {
                Arguments::Object(fields) => {
                    fields.iter().map(|(key, value)| key.len() + value.to_string().len()).sum()
                }
                Arguments::Unusable { text, .. } => text.len(),
            },
            Part::ToolResult(result) => result.parts.iter().map(of).sum(),
            Part::Thinking(thinking) => thinking.text.len(),
            // A picture counts as about a thousand tokens wherever it counts at all.
            Part::Image { .. } => 4_096,
            Part::Opaque { .. } => 0,
        }
    }
    message.parts.iter().map(|part| u64::try_from(of(part)).unwrap_or(u64::MAX)).sum()
}
