//! The input a decision began with, rebuilt from the first record of the decision.
//!
//! What the state knows is taken from the state and not from the record, so that a record with a changed step, call or model
//! is compared with the right one instead of being believed.

use std::collections::BTreeSet;

use livery_core::run::ErrorCode;
use livery_llm::stream::{ModelError, ModelErrorClass, ModelResponse};
use serde_json::Value;

use crate::effect::Input;
use crate::outcome::ToolOutcome;
use crate::record::{ModelFailure, ModelResponded, Record, RunStopped, StopCause, ToolFinished};
use crate::state::{Phase, Stage, State};

/// What the message of a run that the loop cancelled begins with; a reason follows, when somebody gave one.
const CANCELLED: &str = "stopped on request";

/// The input that led to `record`. `None` for a record that has to be taken as it stands, because its log does not say what
/// led to it; what that leaves unchecked is added to `unchecked`.
pub(super) fn of(state: &State, record: &Record, unchecked: &mut BTreeSet<String>) -> Option<Input> {
    Some(match record {
        Record::ModelRequested(_) => before_request(state),
        Record::ModelResponded(data) => answer(state, data),
        Record::ModelRetried(data) => match &data.failure {
            Some(failure) => failed(state, failure),
            None => {
                unchecked.insert("model.retried".to_owned());
                return None;
            }
        },
        Record::ToolFinished(data) => result(state, data),
        Record::RunRecovered(data) => Input::Recovered { sandbox: data.sandbox, recovery: data.recovery.clone() },
        Record::RunForked(data) => {
            Input::Forked { sandbox: data.sandbox, model: data.model.clone(), note: data.note.clone() }
        }
        Record::RunTimedOut(data) if data.cause.is_none() => Input::TimedOut,
        Record::RunCancelled(data)
            if data.cause.is_none() && (state.step() > 0 || data.error.message.starts_with(CANCELLED)) =>
        {
            let reason = data.error.message.strip_prefix(CANCELLED).and_then(|rest| rest.strip_prefix(": "));
            Input::Cancel { reason: reason.map(str::to_owned) }
        }
        // Ended from outside, before or beside the loop: the record is all there is.
        Record::RunCancelled(_) | Record::RunTimedOut(_) => return None,
        Record::RunFailed(data) => return stopped(state, data, unchecked),
        // No input leads to these: whatever is decided now does not begin with them.
        Record::ToolRequested(_) | Record::ToolStarted(_) | Record::ToolOutcomeUnknown(_) | Record::RunSucceeded(_) => {
            Input::Start
        }
    })
}

/// What leads to a request that is the first record of its decision.
pub(super) fn before_request(state: &State) -> Input {
    match state.phase {
        Phase::Waiting { .. } => Input::RetryDue { step: state.step() },
        Phase::Idle | Phase::Asking { .. } | Phase::Tools | Phase::Done => Input::Start,
    }
}

fn attempt(state: &State) -> u32 {
    match state.phase {
        Phase::Asking { attempt, .. } | Phase::Waiting { attempt, .. } => attempt,
        Phase::Idle | Phase::Tools | Phase::Done => 0,
    }
}

fn answer(state: &State, data: &ModelResponded) -> Input {
    let response = ModelResponse {
        message: data.message.as_ref().clone(),
        stop_reason: data.stop_reason,
        usage: data.usage.clone(),
        // The provider's own name and id are for support; no rule reads them.
        model: data.model.model.clone(),
        response_id: None,
    };
    let (step, attempt) = (state.step(), attempt(state));
    Input::ModelDone { step, attempt, response, cost: data.cost, latency_ms: data.latency_ms }
}

fn failed(state: &State, failure: &ModelFailure) -> Input {
    // A class of a newer version fails to compare, as it should.
    let class = serde_json::from_value(Value::String(failure.class.clone())).unwrap_or(ModelErrorClass::InvalidRequest);
    let error = ModelError {
        class,
        message: failure.message.clone(),
        retry_after_ms: failure.retry_after_ms,
        status: failure.status,
        should_retry: failure.should_retry,
    };
    Input::ModelFailed {
        step: state.step(),
        attempt: attempt(state),
        error,
        jitter_per_mille: failure.jitter_per_mille,
    }
}

fn result(state: &State, data: &ToolFinished) -> Input {
    let started = || state.calls.iter().filter(|call| call.stage == Stage::Started);
    let named = started().find(|call| call.id == data.call_id).or_else(|| started().next());
    Input::ToolDone {
        call_id: named.map_or_else(|| data.call_id.clone(), |call| call.id.clone()),
        outcome: ToolOutcome::Recorded {
            ok: data.ok,
            text: data.result.clone(),
            attachments: data.attachments.clone(),
        },
        duration_ms: data.duration_ms,
    }
}

fn stopped(state: &State, data: &RunStopped, unchecked: &mut BTreeSet<String>) -> Option<Input> {
    match &data.cause {
        Some(StopCause::Outside) => Some(Input::Fatal { error: data.error.clone() }),
        Some(StopCause::ModelFailed(failure)) => Some(failed(state, failure)),
        Some(StopCause::Other) => None,
        // A limit was reached before a call: the only rule that ends a run without anything having happened.
        None if data.error.code == ErrorCode::BudgetExceeded => Some(before_request(state)),
        None => {
            unchecked.insert("run.failed/cause".to_owned());
            None
        }
    }
}
