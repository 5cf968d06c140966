//! The rules of the loop: [`Loop::decide`] takes a state and an input to records and effects.
//!
//! A decision is made on a scratch copy of the state: every record is applied to it at once, and the next rule reads it
//! there. So a decision never depends on anything that a fold of the log would not know. One file per concern:
//! [`budget`] (may another call be made), [`answer`] (a model answered), [`calls`] (tool calls), [`retry`] (a model call
//! failed), [`recover`] (after a crash).

mod answer;
mod budget;
mod calls;
mod clean;
mod recover;
mod retry;

use livery_core::agent::ModelRef;
use livery_core::{ErrorCode, RunError, RunStatus};
use serde_json::Value;

pub use retry::{ATTEMPTS_MAX, BACKOFF_MS_FIRST, BACKOFF_MS_MAX, SERVER_DELAY_MS_MAX};

use crate::effect::{Decision, Effect, Input, Request, Terminal};
use crate::record::{ModelRequested, Note, Record, RunStopped, RunSucceeded, StopCause};
use crate::request_digest;
use crate::setup::Loop;
use crate::state::{Phase, Stage, State};
use crate::tools::Checked;

/// Answers of the harness to unusable turns before the run fails: turns in a row in which every call was refused.
pub const REFUSED_TURNS_MAX: u32 = 3;
/// Outputs that may be sent back with findings.
pub const BAD_OUTPUTS_MAX: u32 = 3;
/// Reminders to call `finish`.
pub const REMINDERS_MAX: u32 = 1;
/// Empty answers in a row that are asked again.
pub const EMPTY_RETRIES_MAX: u32 = 1;
/// Cut-off texts in a row that are continued.
pub const CONTINUATIONS_MAX: u32 = 1;

impl Loop {
    /// What follows from an input. The driver commits the records in one commit, applies them, then performs the effects.
    pub fn decide(&self, state: &State, input: Input) -> Decision {
        if state.is_finished() {
            return Decision::default();
        }
        let mut draft = Draft { run: self, state: state.clone(), decision: Decision::default() };
        draft.take(input);
        draft.decision
    }

    /// What is in flight: the effects whose intent is in the state and whose result is not. After a crash use
    /// [`Input::Recovered`] instead, which knows what may be repeated.
    pub fn pending(&self, state: &State) -> Vec<Effect> {
        match state.phase {
            Phase::Idle | Phase::Done => Vec::new(),
            Phase::Asking { attempt, max_output_tokens } => {
                self.call_model(state, attempt, max_output_tokens).into_iter().collect()
            }
            Phase::Waiting { delay_ms, .. } => vec![Effect::RetryAfter { step: state.step, delay_ms }],
            Phase::Tools => {
                let started = state.calls.iter().filter(|call| call.stage == Stage::Started);
                started.filter_map(|call| self.run_tool(state, &call.id)).collect()
            }
        }
    }

    /// Whether a call of the last answer does no harm when it is done twice.
    pub fn may_repeat(&self, state: &State, call_id: &str) -> bool {
        self.run_tool(state, call_id).is_some_and(|effect| calls::is_safe(&effect))
    }

    fn call_model(&self, state: &State, attempt: u32, max_output_tokens: u32) -> Option<Effect> {
        let model = state.model.clone()?;
        let mut messages = Vec::with_capacity(state.transcript.len() + 1);
        messages.push(self.first.clone());
        messages.extend(state.transcript.iter().cloned());
        let request = Request {
            model: model.model.clone(),
            system: self.system.clone(),
            messages,
            tools: self.toolbox.specs.clone(),
            max_output_tokens,
        };
        let step = state.step;
        // Another model is asked another thing: a fallback has a key of its own.
        let place = self.models.iter().position(|listed| *listed == model).unwrap_or(self.models.len());
        let idempotency = if place == 0 { step.to_string() } else { format!("{step}-{}", place + 1) };
        Some(Effect::CallModel { step, attempt, model, request, idempotency, call_id_prefix: format!("call_{step}") })
    }

    /// The effect of a call that is in the last answer; `None` when this version no longer finds it good.
    fn run_tool(&self, state: &State, call_id: &str) -> Option<Effect> {
        match self.toolbox.check(state.call(call_id)?) {
            Ok(Checked::Run(invocation)) => {
                let safe = invocation.is_safe();
                Some(Effect::RunTool { call_id: call_id.to_owned(), invocation, safe })
            }
            Ok(Checked::Finish(_)) | Err(_) => None,
        }
    }

    fn first_model(&self) -> &ModelRef {
        // `Loop::new` refuses an empty list.
        &self.models[0]
    }
}

/// A decision in the making.
struct Draft<'a> {
    run: &'a Loop,
    state: State,
    decision: Decision,
}

impl Draft<'_> {
    fn take(&mut self, input: Input) {
        match input {
            Input::Start => {
                if self.state.phase == Phase::Idle && self.state.step == 0 {
                    self.next_turn(None);
                }
            }
            Input::ModelDone { step, attempt, response, cost, latency_ms } => {
                if self.is_asking(step, attempt) {
                    self.answered(attempt, response, cost, latency_ms);
                }
            }
            Input::ModelFailed { step, attempt, error, jitter_per_mille } => {
                if self.is_asking(step, attempt) {
                    self.model_failed(attempt, error, jitter_per_mille);
                }
            }
            Input::RetryDue { step } => {
                if let Phase::Waiting { attempt, .. } = self.state.phase
                    && step == self.state.step
                {
                    self.request(step, attempt.saturating_add(1), None);
                }
            }
            Input::ToolDone { call_id, outcome, duration_ms } => self.tool_done(&call_id, outcome, duration_ms),
            Input::Cancel { reason } => {
                let reason = reason.filter(|reason| !reason.trim().is_empty());
                let message = reason
                    .map_or_else(|| "stopped on request".to_owned(), |text| format!("stopped on request: {text}"));
                let error = RunError::fatal(ErrorCode::Cancelled, message);
                self.end(Record::RunCancelled(RunStopped { error, cause: None }));
            }
            Input::TimedOut => {
                let message = format!("the run took longer than its limit of {} s", self.run.limits.timeout_s());
                let error = RunError::fatal(ErrorCode::TimedOut, message);
                self.end(Record::RunTimedOut(RunStopped { error, cause: None }));
            }
            Input::Fatal { error } => {
                self.end(Record::RunFailed(RunStopped { error, cause: Some(StopCause::Outside) }));
            }
            Input::Forked { sandbox, model, note } => self.forked(sandbox, model, note),
            Input::Recovered { sandbox, recovery } => self.recovered(sandbox, recovery),
        }
    }

    fn is_asking(&self, step: u32, attempt: u32) -> bool {
        step == self.state.step
            && matches!(self.state.phase, Phase::Asking { attempt: current, .. } if current == attempt)
    }

    fn record(&mut self, record: Record) {
        self.state.apply(&record);
        self.decision.records.push(record);
    }

    /// Asks the model for its next turn, unless a limit forbids it.
    fn next_turn(&mut self, note: Option<Note>) {
        self.request(self.state.step.saturating_add(1), 1, note);
    }

    fn request(&mut self, step: u32, attempt: u32, note: Option<Note>) {
        let max_output_tokens = match self.allowance() {
            Ok(max_output_tokens) => max_output_tokens,
            Err(error) => return self.fail(error),
        };
        let model = self.state.model.as_ref().unwrap_or_else(|| self.run.first_model()).clone();
        let request_digest = Some(request_digest::of(self.run, &self.state, &model, max_output_tokens, note.as_ref()));
        self.record(Record::ModelRequested(ModelRequested {
            step,
            attempt,
            model,
            max_output_tokens,
            note,
            request_digest,
        }));
        self.decision.effects.extend(self.run.call_model(&self.state, attempt, max_output_tokens));
    }

    fn succeed(&mut self, output: Value) {
        self.end(Record::RunSucceeded(RunSucceeded { output }));
    }

    fn fail(&mut self, error: RunError) {
        self.end(Record::RunFailed(RunStopped { error, cause: None }));
    }

    /// The last record of a run, and its last effect.
    fn end(&mut self, record: Record) {
        let terminal = record.terminal().unwrap_or_else(|| Terminal {
            status: RunStatus::Failed,
            output: None,
            error: Some(RunError::fatal(ErrorCode::Internal, "ended without an end")),
        });
        self.record(record);
        self.decision.effects.push(Effect::Finish(terminal));
    }
}
