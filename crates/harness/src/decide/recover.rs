//! After a crash: what was in flight is gone, and the log says what it was.
//!
//! A model call is made again with the same attempt and key. A delay begins again. A tool that only reads is run again;
//! every other one that had started gets "outcome unknown", because doing it twice may be worse than not knowing.

use super::calls::is_safe;
use super::Draft;
use crate::prompt;
use crate::record::{Record, RunRecovered, ToolOutcomeUnknown};
use crate::state::{Phase, Stage};

impl Draft<'_> {
    pub(super) fn recovered(&mut self, workspace_lost: bool) {
        let notice = (workspace_lost && self.state.step > 0).then(|| prompt::WORKSPACE_LOST.to_owned());
        self.record(Record::RunRecovered(RunRecovered { workspace_lost, notice }));
        match self.state.phase {
            Phase::Idle => self.go_on(),
            Phase::Asking { .. } | Phase::Waiting { .. } => self.decision.effects = self.run.pending(&self.state),
            Phase::Tools => self.recover_tools(),
            Phase::Done => {}
        }
    }

    /// The log ends between two decisions, which one commit per decision rules out; a log that was cut by hand may.
    fn go_on(&mut self) {
        self.next_turn(None);
    }

    fn recover_tools(&mut self) {
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
            match self.run.run_tool(&self.state, &call_id).filter(is_safe) {
                Some(effect) => self.decision.effects.push(effect),
                None => {
                    let result = prompt::OUTCOME_UNKNOWN.to_owned();
                    self.record(Record::ToolOutcomeUnknown(ToolOutcomeUnknown { call_id, tool, result }));
                }
            }
        }
        self.advance();
    }
}
