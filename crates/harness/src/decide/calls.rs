//! Tool calls of one turn: looked at in source order, run together, answered in source order.
//!
//! `finish` waits for the other calls of its turn. When all of them went well the run ends with its output; when one
//! failed the model is told to look first and finish again. Calls are not run when nothing could read their results:
//! when the limits leave no further model call and `finish` is not among them, the run ends at once.

use livery_core::{ErrorCode, RunError};
use livery_llm::message::{Message, Part, ToolCall};
use livery_llm::stream::StopReason;
use serde_json::Value;

use super::{BAD_OUTPUTS_MAX, Draft, REFUSED_TURNS_MAX, clean};
use crate::effect::Effect;
use crate::outcome::{Rendered, ToolOutcome};
use crate::record::{Record, ToolFinished, ToolRequested, ToolStarted, arguments_value};
use crate::state::{Phase, Stage, State};
use crate::text::shorten;
use crate::tools::{CALLS_PER_TURN_MAX, Checked, FINISH, Refused, TOOLS_CONCURRENT_MAX};

/// Longest quote of a result in an error, in bytes.
const QUOTE_BYTES_MAX: usize = 500;

impl State {
    /// The last answer, while its calls are open.
    fn last_answer(&self) -> Option<&Message> {
        self.transcript.last().map(AsRef::as_ref).filter(|_| self.phase == Phase::Tools)
    }

    /// A call of the last answer.
    pub(crate) fn call(&self, call_id: &str) -> Option<&ToolCall> {
        self.last_answer()?.parts.iter().find_map(|part| match part {
            Part::ToolCall(call) if call.id == call_id => Some(call),
            _ => None,
        })
    }

    /// Whether a call with this id was ever made.
    pub(crate) fn has_call_id(&self, id: &str) -> bool {
        self.transcript.iter().any(|message| message.parts.iter().any(|part| clean::is_call(part, id)))
    }
}

impl Draft<'_> {
    /// Looks at the calls of a new answer.
    pub(super) fn look_at_calls(&mut self) {
        let ids: Vec<String> = self.state.calls.iter().map(|call| call.id.clone()).collect();
        let cut_off = self.cut_off_call();
        let mut finish_seen = false;
        for (index, id) in ids.iter().enumerate() {
            let Some(call) = self.state.call(id).cloned() else { continue };
            self.record(Record::ToolRequested(ToolRequested {
                call_id: call.id.clone(),
                tool: call.name.clone(),
                arguments: arguments_value(&call.arguments),
            }));
            match self.verdict(&call, index, cut_off.as_deref(), finish_seen) {
                Ok(()) => finish_seen |= call.name == FINISH,
                Err((refused, text)) => self.refuse(&call.id, &call.name, refused, text),
            }
        }
        if self.state.counts.bad_outputs > BAD_OUTPUTS_MAX {
            return self.output_invalid();
        }
        let runs_for_nothing = self.state.phase == Phase::Tools && !finish_seen;
        match self.allowance() {
            Err(error) if runs_for_nothing => self.fail(error),
            _ => self.advance(),
        }
    }

    /// Whether a call may be run, or what to answer instead.
    fn verdict(
        &self,
        call: &ToolCall,
        index: usize,
        cut_off: Option<&str>,
        finish_seen: bool,
    ) -> Result<(), (Refused, String)> {
        if index >= CALLS_PER_TURN_MAX {
            let text = format!(
                "More than {CALLS_PER_TURN_MAX} calls in one turn; this one was not run. Make fewer at a time."
            );
            return Err((Refused::TooManyCalls, text));
        }
        if cut_off == Some(call.id.as_str()) {
            let refused = if call.name == FINISH { Refused::BadOutput } else { Refused::BadArguments };
            let text =
                "The call was cut off by the output limit; nothing was run. Send it again, whole, with less in it.";
            return Err((refused, text.to_owned()));
        }
        match self.run.toolbox.check(call)? {
            Checked::Finish(_) if finish_seen => {
                Err((Refused::NotNow, format!("`{FINISH}` was called twice in one turn; only the first call counts.")))
            }
            Checked::Finish(_) | Checked::Run(_) => Ok(()),
        }
    }

    /// With the output limit reached, the last part is where it was cut: whether it is whole, nobody can tell.
    fn cut_off_call(&self) -> Option<String> {
        if self.state.last_stop != Some(StopReason::MaxTokens) {
            return None;
        }
        match self.state.last_answer()?.parts.last()? {
            Part::ToolCall(call) => Some(call.id.clone()),
            _ => None,
        }
    }

    fn refuse(&mut self, call_id: &str, tool: &str, refused: Refused, result: String) {
        self.record(Record::ToolFinished(ToolFinished {
            call_id: call_id.to_owned(),
            tool: tool.to_owned(),
            ok: false,
            duration_ms: 0,
            result,
            refused: Some(refused),
            attachments: Vec::new(),
        }));
    }

    /// A tool ended.
    pub(super) fn tool_done(&mut self, call_id: &str, outcome: ToolOutcome, duration_ms: u64) {
        let Some(call) = self.state.calls.iter().find(|call| call.id == call_id && call.stage == Stage::Started) else {
            return;
        };
        let tool = call.tool.clone();
        let Rendered { ok, text: result, attachments } = outcome.render();
        let call_id = call_id.to_owned();
        self.record(Record::ToolFinished(ToolFinished {
            call_id,
            tool,
            ok,
            duration_ms,
            result,
            refused: None,
            attachments,
        }));
        self.advance();
    }

    /// Starts what may start; when nothing is left to run, finishes or asks the model on.
    pub(super) fn advance(&mut self) {
        if self.state.phase == Phase::Tools {
            self.start_waiting();
            if self.state.calls.iter().any(|call| !call.is_closed() && !call.is_finish()) {
                return;
            }
            if let Some(finish) = self.state.calls.iter().find(|call| !call.is_closed()) {
                let id = finish.id.clone();
                return self.finish(&id);
            }
        }
        if self.state.counts.refused_turns > REFUSED_TURNS_MAX {
            let text = format!(
                "the model made no usable tool call in {} turns in a row; the last answer to it was: {}",
                self.state.counts.refused_turns,
                shorten(&self.last_result(), QUOTE_BYTES_MAX)
            );
            return self.fail(RunError::retryable(ErrorCode::ModelError, text));
        }
        self.next_turn(None);
    }

    fn start_waiting(&mut self) {
        let running = self.state.calls.iter().filter(|call| call.stage == Stage::Started).count();
        let waiting = self.state.calls.iter().filter(|call| call.stage == Stage::Requested && !call.is_finish());
        let next: Vec<(String, String)> = waiting
            .take(TOOLS_CONCURRENT_MAX.saturating_sub(running))
            .map(|call| (call.id.clone(), call.tool.clone()))
            .collect();
        for (call_id, tool) in next {
            match self.run.run_tool(&self.state, &call_id) {
                Some(effect) => {
                    self.record(Record::ToolStarted(ToolStarted { call_id, tool }));
                    self.decision.effects.push(effect);
                }
                // Only after an upgrade between request and start: this version's schema is stricter.
                None => {
                    self.refuse(&call_id, &tool, Refused::BadArguments, "The call is no longer accepted.".to_owned())
                }
            }
        }
    }

    /// Everything beside `finish` has its result.
    fn finish(&mut self, call_id: &str) {
        let checked = self.state.call(call_id).map(|call| self.run.toolbox.check(call));
        let others_failed = self.state.calls.iter().any(|call| call.failed() && !call.is_finish());
        match checked {
            Some(Ok(Checked::Finish(output))) if !others_failed => self.accept(call_id, output),
            Some(Err((refused, text))) => {
                self.refuse(call_id, FINISH, refused, text);
                self.advance();
            }
            _ => {
                let text = "Not finished: other calls of this turn failed. Look at their results, then finish in a turn of its own.";
                self.refuse(call_id, FINISH, Refused::NotNow, text.to_owned());
                self.advance();
            }
        }
    }

    fn accept(&mut self, call_id: &str, output: Value) {
        self.record(Record::ToolFinished(ToolFinished {
            call_id: call_id.to_owned(),
            tool: FINISH.to_owned(),
            ok: true,
            duration_ms: 0,
            result: "Finished.".to_owned(),
            refused: None,
            attachments: Vec::new(),
        }));
        self.succeed(output);
    }

    fn output_invalid(&mut self) {
        let last = self.decision.records.iter().rev().find_map(|record| match record {
            Record::ToolFinished(data) if data.refused == Some(Refused::BadOutput) => Some(data.result.as_str()),
            _ => None,
        });
        let text = format!(
            "the model's output did not fit the agent's schema {} times: {}",
            self.state.counts.bad_outputs,
            shorten(last.unwrap_or_default(), QUOTE_BYTES_MAX)
        );
        self.fail(RunError::fatal(ErrorCode::OutputInvalid, text));
    }

    /// The text of the last result in the conversation.
    fn last_result(&self) -> String {
        let parts = self.state.transcript.last().map(|message| message.parts.as_slice()).unwrap_or_default();
        let texts = parts.iter().rev().find_map(|part| match part {
            Part::ToolResult(result) => result.parts.first(),
            _ => None,
        });
        match texts {
            Some(Part::Text { text }) => text.clone(),
            _ => String::new(),
        }
    }
}

/// A started call: its effect, and whether it may be repeated.
pub(super) fn is_safe(effect: &Effect) -> bool {
    matches!(effect, Effect::RunTool { safe: true, .. })
}
