//! After a crash: what was in flight is gone, and the log says what it was.
//!
//! A model call is made again with the same attempt and key. A delay begins again. A tool that only reads is run again;
//! every other one that had started gets "outcome unknown", because doing it twice may be worse than not knowing. One that
//! was held for a person had done nothing, whatever it is: it is run.

use livery_core::agent::ModelRef;

use super::Draft;
use super::calls::is_safe;
use crate::effect::Effect;
use crate::prompt;
use crate::record::{Note, Record, Recovery, RunForked, RunRecovered, SandboxFate, ToolOutcomeUnknown};
use crate::state::{Phase, Stage};
use crate::tools::BuiltIn;

impl Draft<'_> {
    pub(super) fn recovered(&mut self, sandbox: SandboxFate, recovery: Recovery) {
        let notice = match sandbox {
            SandboxFate::Untouched => None,
            SandboxFate::Restarted => Some(prompt::SANDBOX_RESTARTED.to_owned()),
            SandboxFate::Restored => Some(prompt::sandbox_restored(&recovery.lacking)),
            SandboxFate::Lost => Some(prompt::SANDBOX_LOST.to_owned()),
        };
        let notice = notice.filter(|_| self.state.step > 0);
        let pending = self.pending_in_words();
        let held = recovery.held.clone();
        self.record(Record::RunRecovered(RunRecovered { sandbox, notice, recovery, pending }));
        match self.state.phase {
            // The log ends between two decisions: before the first, or in one that a commit did not keep whole.
            Phase::Idle => self.next_turn(None),
            Phase::Asking { .. } | Phase::Waiting { .. } => self.decision.effects = self.run.pending(&self.state),
            Phase::Tools => self.recover_tools(&held),
            Phase::Done => {}
        }
    }

    /// The first decision of a run that goes on from the middle of another: the question asked there is asked again.
    pub(super) fn forked(&mut self, sandbox: SandboxFate, model: Option<ModelRef>, note: Option<Note>) {
        if self.state.phase != Phase::Idle {
            return;
        }
        let notice = (sandbox != SandboxFate::Untouched).then(|| prompt::SANDBOX_FORKED.to_owned());
        self.record(Record::RunForked(RunForked { sandbox, notice, model, note: note.clone() }));
        self.next_turn(note);
    }

    /// For whoever reads the log.
    fn pending_in_words(&self) -> Vec<String> {
        let step = self.state.step;
        match self.state.phase {
            Phase::Idle | Phase::Done => Vec::new(),
            Phase::Asking { attempt, .. } => vec![format!("model call of step {step}, attempt {attempt}")],
            Phase::Waiting { .. } => vec![format!("delay before a retry of step {step}")],
            Phase::Tools => {
                let started = self.state.calls.iter().filter(|call| call.stage == Stage::Started);
                started.map(|call| format!("tool {} ({})", call.tool, call.id)).collect()
            }
        }
    }

    fn recover_tools(&mut self, held: &[String]) {
        if self.state.calls.iter().any(|call| call.stage == Stage::New) {
            return self.look_at_calls();
        }
        let started: Vec<(String, String)> = self
            .state
            .calls
            .iter()
            .filter(|call| call.stage == Stage::Started)
            .map(|call| (call.id.clone(), call.tool.clone()))
            .collect();
        for (call_id, tool) in started {
            let may_run = |effect: &Effect| is_safe(effect) || held.contains(&call_id);
            match self.run.run_tool(&self.state, &call_id).filter(may_run) {
                Some(effect) => self.decision.effects.push(effect),
                None => {
                    let is_message = tool == BuiltIn::SendEmail.name();
                    let result = if is_message { prompt::MESSAGE_UNKNOWN } else { prompt::OUTCOME_UNKNOWN }.to_owned();
                    self.record(Record::ToolOutcomeUnknown(ToolOutcomeUnknown { call_id, tool, result }));
                }
            }
        }
        self.advance();
    }
}
