//! Where a run stands: the fold of its records.
//!
//! [`State::apply`] decides nothing. It copies what a record says and counts; whatever needs judgement was judged when the
//! record was made. Records it does not expect (older versions, doubled deliveries) change as little as they can.
//! Read next: [`crate::decide`].

use std::sync::Arc;

use livery_core::Usd;
use livery_core::agent::ModelRef;
use livery_core::run::{Cost, Pricing, Usage};
use livery_llm::message::{Message, Part, Role, ToolResult};
use livery_llm::stream::StopReason;
use serde::{Deserialize, Serialize};

use crate::effect::Terminal;
use crate::record::{ModelRequested, ModelResponded, ModelRetried, NoteKind, Record, RunForked, RunRecovered};
use crate::tools::{FINISH, Refused};

/// Version of the state's own shape, for snapshots.
pub const STATE_VERSION: u32 = 1;

/// Where a run stands. `State::default()` is a run of which nothing is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// [`STATE_VERSION`] of the code that made it.
    version: u32,
    /// The conversation after the first message, which the setup knows.
    pub(crate) transcript: Vec<Arc<Message>>,
    pub(crate) phase: Phase,
    /// Model turns asked for.
    pub(crate) step: u32,
    /// The model in use; the first of the setup's until a call was made.
    pub(crate) model: Option<ModelRef>,
    /// Failures of the model in use since the step began.
    pub(crate) failures: u32,
    /// The calls of the last answer, in source order.
    pub(crate) calls: Vec<Call>,
    pub(crate) last_stop: Option<StopReason>,
    /// The last request with a digest, which the next one's is chained to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) asked: Option<Asked>,
    /// The last plain text, joined with the pieces before it that were cut off.
    pub(crate) answer: String,
    pub(crate) counts: Counts,
    pub(crate) totals: Totals,
    /// Told to the model with the results of the running calls, or with whatever it is asked next.
    notice: Option<String>,
    pub(crate) terminal: Option<Terminal>,
}

/// What the run waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub(crate) enum Phase {
    /// Nothing: a decision is due.
    Idle,
    /// A model's answer.
    Asking { attempt: u32, max_output_tokens: u32 },
    /// The end of a delay.
    Waiting { attempt: u32, delay_ms: u64 },
    /// The results of calls.
    Tools,
    /// Nothing, for ever.
    Done,
}

/// A request that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asked {
    /// Its digest.
    pub(crate) digest: Arc<str>,
    /// Messages of the transcript that it covers.
    pub(crate) messages: usize,
}

/// One call of the last answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) tool: String,
    pub(crate) stage: Stage,
}

/// How far a call is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub(crate) enum Stage {
    /// In the answer; not looked at.
    New,
    /// Found good; waits.
    Requested,
    /// Runs.
    Started,
    /// Has its result.
    Closed { result: Arc<ToolResult>, ran: bool, refused: Option<Refused> },
}

impl Call {
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.stage, Stage::Closed { .. })
    }

    pub(crate) fn is_finish(&self) -> bool {
        self.tool == FINISH
    }

    pub(crate) fn failed(&self) -> bool {
        matches!(&self.stage, Stage::Closed { result, .. } if result.is_error)
    }
}

/// How often something happened that may not happen for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Counts {
    /// Empty answers in a row.
    pub(crate) empty: u32,
    /// Turns in a row whose calls were all refused.
    pub(crate) refused_turns: u32,
    /// Outputs that did not fit.
    pub(crate) bad_outputs: u32,
    /// Reminders to call `finish`.
    pub(crate) reminders: u32,
    /// Cut-off texts in a row.
    pub(crate) cuts: u32,
}

/// What was used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Totals {
    input: u64,
    cached_input: u64,
    output: u64,
    estimated: u64,
    turns: u32,
    tool_calls: u32,
    usd: Usd,
    priced: u32,
    unpriced: u32,
}

impl Default for State {
    fn default() -> Self {
        Self {
            version: STATE_VERSION,
            transcript: Vec::new(),
            phase: Phase::Idle,
            step: 0,
            model: None,
            failures: 0,
            calls: Vec::new(),
            last_stop: None,
            asked: None,
            answer: String::new(),
            counts: Counts::default(),
            totals: Totals::default(),
            notice: None,
            terminal: None,
        }
    }
}

impl State {
    /// A run before its first record.
    pub fn new() -> Self {
        Self::default()
    }

    /// The state after all these records.
    pub fn fold<'r>(records: impl IntoIterator<Item = &'r Record>) -> Self {
        let mut state = Self::default();
        for record in records {
            state.apply(record);
        }
        state
    }

    /// Whether the run has ended.
    pub const fn is_finished(&self) -> bool {
        self.terminal.is_some()
    }

    /// How it ended.
    pub const fn terminal(&self) -> Option<&Terminal> {
        self.terminal.as_ref()
    }

    /// What it used. The milliseconds of the sandbox are `platform`'s to add.
    pub const fn usage(&self) -> Usage {
        Usage {
            input_tokens: self.totals.input,
            cached_input_tokens: self.totals.cached_input,
            output_tokens: self.totals.output,
            turns: self.totals.turns,
            tool_calls: self.totals.tool_calls,
            sandbox_ms: 0,
        }
    }

    /// What it cost.
    pub const fn cost(&self) -> Cost {
        let pricing = match (self.totals.unpriced, self.totals.priced) {
            (0, 0) => Pricing::Free,
            (0, _) => Pricing::Priced,
            _ => Pricing::Unpriced,
        };
        Cost { usd: self.totals.usd, pricing }
    }

    /// The model in use, once one was asked.
    pub const fn model(&self) -> Option<&ModelRef> {
        self.model.as_ref()
    }

    /// Model turns asked for so far.
    pub const fn step(&self) -> u32 {
        self.step
    }

    /// The conversation after the first message.
    pub fn transcript(&self) -> &[Arc<Message>] {
        &self.transcript
    }

    /// Tokens that weigh on the limit: counted ones, and estimates where nothing was counted.
    pub(crate) const fn tokens_spent(&self) -> u64 {
        self.totals.input.saturating_add(self.totals.output).saturating_add(self.totals.estimated)
    }

    /// Takes one record in.
    pub fn apply(&mut self, record: &Record) {
        if self.is_finished() {
            return;
        }
        match record {
            Record::ModelRequested(data) => self.model_requested(data),
            Record::ModelResponded(data) => self.model_responded(data),
            Record::ModelRetried(data) => self.model_retried(data),
            Record::ToolRequested(data) => self.set_stage(&data.call_id, Stage::Requested),
            Record::ToolStarted(data) => {
                self.totals.tool_calls = self.totals.tool_calls.saturating_add(1);
                self.set_stage(&data.call_id, Stage::Started);
            }
            Record::ToolFinished(data) => {
                if data.refused == Some(Refused::BadOutput) {
                    self.counts.bad_outputs = self.counts.bad_outputs.saturating_add(1);
                }
                let mut parts = vec![Part::Text { text: data.result.clone() }];
                parts.extend(data.attachments.iter().cloned());
                self.close(&data.call_id, &data.tool, parts, !data.ok, data.refused);
            }
            Record::ToolOutcomeUnknown(data) => {
                self.close(&data.call_id, &data.tool, vec![Part::Text { text: data.result.clone() }], true, None);
            }
            Record::RunRecovered(data) => self.recovered(data),
            Record::RunForked(data) => self.forked(data),
            Record::RunSucceeded(_) | Record::RunFailed(_) | Record::RunCancelled(_) | Record::RunTimedOut(_) => {
                self.terminal = record.terminal();
                self.phase = Phase::Done;
            }
        }
    }

    fn model_requested(&mut self, data: &ModelRequested) {
        if data.step != self.step || self.model.as_ref() != Some(&data.model) {
            self.failures = 0;
        }
        if let Some(notice) = self.notice.take() {
            self.transcript.push(Arc::new(Message::user(notice)));
        }
        self.step = data.step;
        self.model = Some(data.model.clone());
        self.phase = Phase::Asking { attempt: data.attempt, max_output_tokens: data.max_output_tokens };
        if let Some(note) = &data.note {
            if note.kind == NoteKind::CallFinish {
                self.counts.reminders = self.counts.reminders.saturating_add(1);
            }
            self.transcript.push(Arc::new(Message::user(note.text.clone())));
        }
        let messages = self.transcript.len();
        self.asked = data.request_digest.as_deref().map(|digest| Asked { digest: digest.into(), messages });
    }

    fn model_responded(&mut self, data: &ModelResponded) {
        self.count(data);
        self.last_stop = Some(data.stop_reason);
        self.calls.clear();
        if is_declined(&data.message, data.stop_reason) || data.stop_reason == StopReason::ContextOverflow {
            // What was declined is not part of the conversation: another model gets it as it was before.
            self.phase = Phase::Idle;
            return;
        }
        for part in &data.message.parts {
            if let Part::ToolCall(call) = part {
                self.calls.push(Call { id: call.id.clone(), tool: call.name.clone(), stage: Stage::New });
            }
        }
        let empty = !has_content(&data.message);
        if !empty {
            self.transcript.push(Arc::clone(&data.message));
        }
        let cut = data.stop_reason == StopReason::MaxTokens && self.calls.is_empty() && !empty;
        if self.counts.cuts == 0 || !self.calls.is_empty() {
            self.answer.clear();
        }
        self.answer.push_str(&plain_text(&data.message));
        self.counts.cuts = match (cut, empty) {
            (true, _) => self.counts.cuts.saturating_add(1),
            (false, true) => self.counts.cuts,
            (false, false) => 0,
        };
        let stands_empty = empty && data.stop_reason != StopReason::Pause;
        self.counts.empty = if stands_empty { self.counts.empty.saturating_add(1) } else { 0 };
        self.phase = if self.calls.is_empty() { Phase::Idle } else { Phase::Tools };
    }

    fn count(&mut self, data: &ModelResponded) {
        let totals = &mut self.totals;
        totals.turns = totals.turns.saturating_add(1);
        totals.input = totals.input.saturating_add(data.usage.input_total());
        totals.cached_input = totals.cached_input.saturating_add(data.usage.input_cache_read);
        totals.output = totals.output.saturating_add(data.usage.output_total);
        totals.estimated = totals.estimated.saturating_add(data.estimated_tokens);
        match data.cost {
            _ if data.model.is_scripted() => {}
            Some(usd) => {
                totals.usd = totals.usd.plus(usd);
                totals.priced = totals.priced.saturating_add(1);
            }
            None => totals.unpriced = totals.unpriced.saturating_add(1),
        }
    }

    fn model_retried(&mut self, data: &ModelRetried) {
        self.failures = if self.model.as_ref() == Some(&data.model) { self.failures.saturating_add(1) } else { 0 };
        self.model = Some(data.model.clone());
        self.phase = Phase::Waiting { attempt: data.attempt, delay_ms: data.delay_ms };
    }

    fn recovered(&mut self, data: &RunRecovered) {
        let Some(notice) = &data.notice else { return };
        match self.phase {
            // Results come first in the message that answers calls. A call under way is asked again as it was, under its key:
            // with other words it would be another request, and perhaps paid for twice.
            Phase::Tools | Phase::Asking { .. } => self.notice = Some(notice.clone()),
            _ => self.transcript.push(Arc::new(Message::user(notice.clone()))),
        }
    }

    fn forked(&mut self, data: &RunForked) {
        // What the other run used up is the other's.
        self.totals = Totals::default();
        self.failures = 0;
        if let Some(model) = &data.model {
            self.model = Some(model.clone());
        }
        if let Some(notice) = &data.notice {
            self.transcript.push(Arc::new(Message::user(notice.clone())));
        }
    }

    fn set_stage(&mut self, call_id: &str, stage: Stage) {
        if let Some(call) = self.calls.iter_mut().find(|call| call.id == call_id && !call.is_closed()) {
            call.stage = stage;
        }
    }

    /// Gives a call its result; the last one of a turn completes the message that answers it.
    fn close(&mut self, call_id: &str, tool: &str, parts: Vec<Part>, is_error: bool, refused: Option<Refused>) {
        let Some(call) = self.calls.iter_mut().find(|call| call.id == call_id && !call.is_closed()) else { return };
        let result = Arc::new(ToolResult { call_id: call_id.to_owned(), name: tool.to_owned(), parts, is_error });
        call.stage = Stage::Closed { result, ran: call.stage == Stage::Started, refused };
        if !self.calls.iter().all(Call::is_closed) {
            return;
        }
        let mut parts = Vec::with_capacity(self.calls.len());
        let mut none_good = true;
        for call in self.calls.drain(..) {
            if let Stage::Closed { result, ran, refused } = call.stage {
                let harmless = ran || matches!(refused, None | Some(Refused::BadOutput | Refused::NotNow));
                none_good &= !harmless;
                parts.push(Part::ToolResult(Arc::unwrap_or_clone(result)));
            }
        }
        parts.extend(self.notice.take().map(|text| Part::Text { text }));
        self.transcript.push(Arc::new(Message { role: Role::User, parts }));
        self.counts.refused_turns = if none_good { self.counts.refused_turns.saturating_add(1) } else { 0 };
        self.phase = Phase::Idle;
    }
}

/// Whether the model, or a filter, declined to answer.
pub(crate) fn is_declined(message: &Message, stop_reason: StopReason) -> bool {
    let calls = message.parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
    let refused = message.parts.iter().any(|part| matches!(part, Part::Refusal { .. }));
    matches!(stop_reason, StopReason::Refusal | StopReason::ContentFilter) || (refused && !calls)
}

/// Whether there is anything to reply to; reasoning alone is nothing.
pub(crate) fn has_content(message: &Message) -> bool {
    message.parts.iter().any(|part| !matches!(part, Part::Thinking(_)))
}

/// The text parts, joined.
fn plain_text(message: &Message) -> String {
    let mut out = String::new();
    for part in &message.parts {
        if let Part::Text { text } = part {
            out.push_str(text);
        }
    }
    out
}
