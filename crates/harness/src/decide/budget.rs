//! Whether another model call fits the limits, and how long its answer may be.
//!
//! The harness compares what was counted with what was allowed; prices and reservations are `platform`'s.

use livery_core::{ErrorCode, RunError};

use super::Draft;

impl Draft<'_> {
    /// The output limit of the next call.
    ///
    /// # Errors
    /// `budget_exceeded`: a limit is reached.
    pub(super) fn allowance(&self) -> Result<u32, RunError> {
        let limits = self.run.limits;
        let exceeded = |message: String| RunError::fatal(ErrorCode::BudgetExceeded, message);
        let turns = self.state.usage().turns;
        if turns >= limits.max_turns() {
            return Err(exceeded(format!("the run used all of its {} turns (max_turns)", limits.max_turns())));
        }
        if let Some(max) = limits.max_cost_usd
            && self.state.cost().usd >= max
        {
            let spent = self.state.cost().usd;
            return Err(exceeded(format!("the run cost {spent} dollars of the {max} it may (max_cost_usd)")));
        }
        let Some(max) = limits.max_tokens else { return Ok(self.run.max_output_tokens) };
        let spent = self.state.tokens_spent();
        match max.checked_sub(spent).filter(|left| *left > 0) {
            Some(left) => Ok(u32::try_from(left).unwrap_or(u32::MAX).min(self.run.max_output_tokens)),
            None => Err(exceeded(format!("the run used {spent} of the {max} tokens it may (max_tokens)"))),
        }
    }
}
