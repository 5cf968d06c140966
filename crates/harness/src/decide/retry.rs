//! A model call failed: try again, try another model, or give up.
//!
//! | failure | what follows |
//! |---|---|
//! | overloaded | the next model at once; without one, a delay |
//! | other passing failures | a delay; the next model after the second in a row (rate limits: after the last attempt) |
//! | passing, server asks for more than [`SERVER_DELAY_MS_MAX`] | the next model; without one, a retryable failure |
//! | quota used up, filter | the next model; without one, the end |
//! | everything else | the end |
//!
//! Attempts are counted per model and step. A delay is what the server asks for, else exponential with jitter.

use livery_core::agent::ModelRef;
use livery_core::{ErrorCode, RunError};
use livery_llm::stream::{ModelError, ModelErrorClass};

use super::Draft;
use crate::effect::Effect;
use crate::record::{ModelFailure, ModelRetried, Record, RunStopped, StopCause};
use crate::setup::Loop;
use crate::state::State;
use crate::text::shorten;

/// Attempts of one step with one model.
pub const ATTEMPTS_MAX: u32 = 4;
/// The same when streams break before their end: each attempt may have cost a whole answer.
const STREAM_ATTEMPTS_MAX: u32 = 3;
/// The first delay.
pub const BACKOFF_MS_FIRST: u64 = 500;
/// The longest delay of our own choice.
pub const BACKOFF_MS_MAX: u64 = 60_000;
/// How much of a delay the jitter may take off, per mille.
const JITTER_PER_MILLE: u64 = 250;
/// The longest delay a server may ask for.
pub const SERVER_DELAY_MS_MAX: u64 = 120_000;
/// Failures of a model after which another one is tried.
const FAILURES_BEFORE_FALLBACK: u32 = 2;
/// Longest provider message kept, in bytes.
const MESSAGE_BYTES_MAX: usize = 1_000;

/// What to do about a failure.
#[derive(Debug, PartialEq)]
enum Plan {
    Again { delay_ms: u64 },
    Fallback(ModelRef),
    GiveUp,
}

impl Draft<'_> {
    pub(super) fn model_failed(&mut self, attempt: u32, mut error: ModelError, jitter_per_mille: u16) {
        // Shortened before anything is made of it: the log keeps it so, and a replay begins with what the log keeps.
        error.message = shorten(error.message.trim(), MESSAGE_BYTES_MAX).into_owned();
        let failure = failure_of(&error, jitter_per_mille);
        let error = &error;
        let current = self.state.model.as_ref().unwrap_or_else(|| self.run.first_model()).clone();
        let (model, delay_ms) = match plan(self.run, &self.state, error, jitter_per_mille) {
            Plan::Again { delay_ms } => (current, delay_ms),
            Plan::Fallback(model) => (model, 0),
            Plan::GiveUp => {
                let error = run_error(&current, error);
                return self.end(Record::RunFailed(RunStopped { error, cause: Some(StopCause::ModelFailed(failure)) }));
            }
        };
        let step = self.state.step;
        self.record(Record::ModelRetried(ModelRetried {
            step,
            attempt,
            class: class_name(error.class),
            message: error.message.clone(),
            delay_ms,
            model,
            failure: Some(failure),
        }));
        self.decision.effects.push(Effect::RetryAfter { step, delay_ms });
    }
}

/// What the log keeps of a failure.
fn failure_of(error: &ModelError, jitter_per_mille: u16) -> ModelFailure {
    ModelFailure {
        class: class_name(error.class),
        message: error.message.clone(),
        retry_after_ms: error.retry_after_ms,
        status: error.status,
        should_retry: error.should_retry,
        jitter_per_mille,
    }
}

fn plan(run: &Loop, state: &State, error: &ModelError, jitter_per_mille: u16) -> Plan {
    use ModelErrorClass as Class;
    let fallback = state.model.as_ref().and_then(|model| run.fallback_after(model)).cloned();
    let or_give_up = |fallback: Option<ModelRef>| fallback.map_or(Plan::GiveUp, Plan::Fallback);
    let failures = state.failures.saturating_add(1);
    if !passes(error) {
        let others_may = matches!(error.class, Class::QuotaExhausted | Class::ContentFilter) || error.class.retryable();
        return or_give_up(fallback.filter(|_| others_may));
    }
    let soon = match error.class {
        Class::Overloaded => true,
        Class::RateLimited => false,
        _ => failures >= FAILURES_BEFORE_FALLBACK,
    };
    let attempts_max = if error.class == Class::StreamCut { STREAM_ATTEMPTS_MAX } else { ATTEMPTS_MAX };
    let too_long = error.retry_after_ms.is_some_and(|delay| delay > SERVER_DELAY_MS_MAX);
    if too_long || failures >= attempts_max {
        return or_give_up(fallback);
    }
    match fallback.filter(|_| soon) {
        Some(model) => Plan::Fallback(model),
        None => {
            Plan::Again { delay_ms: error.retry_after_ms.unwrap_or_else(|| backoff_ms(failures, jitter_per_mille)) }
        }
    }
}

/// Whether the same request may succeed soon. The provider's explicit word counts, except where it cannot know better.
fn passes(error: &ModelError) -> bool {
    use ModelErrorClass as Class;
    match (error.should_retry, error.class) {
        (Some(false), _) => false,
        (Some(true), Class::InvalidRequest | Class::QuotaExhausted) => true,
        (_, class) => class.retryable(),
    }
}

/// The delay after this many failures: doubled each time, capped, minus up to a quarter.
fn backoff_ms(failures: u32, jitter_per_mille: u16) -> u64 {
    let doublings = failures.saturating_sub(1).min(16);
    let full = (BACKOFF_MS_FIRST << doublings).min(BACKOFF_MS_MAX);
    let jitter = u64::from(jitter_per_mille.min(1_000));
    full - full * JITTER_PER_MILLE * jitter / 1_000_000
}

/// How the run ends when nothing is left to try.
fn run_error(model: &ModelRef, error: &ModelError) -> RunError {
    use ModelErrorClass as Class;
    let code = match error.class {
        Class::ContextOverflow | Class::TooLarge => ErrorCode::ContextOverflow,
        Class::ContentFilter => ErrorCode::ModelRefused,
        Class::Unauthorized => ErrorCode::CredentialUnavailable,
        _ => ErrorCode::ModelError,
    };
    let status = error.status.map(|status| format!(", status {status}")).unwrap_or_default();
    let message = format!("{model}: {}{status}: {}", describe(error.class), error.message);
    RunError { code, message, retryable: error.class.retryable() && error.should_retry != Some(false) }
}

const fn describe(class: ModelErrorClass) -> &'static str {
    use ModelErrorClass as Class;
    match class {
        Class::RateLimited => "the provider limits the rate",
        Class::QuotaExhausted => "the quota or credit at the provider is used up",
        Class::Overloaded => "the provider is overloaded",
        Class::ServerError => "the provider failed",
        Class::Timeout => "the provider did not answer in time",
        Class::StreamCut => "the answer broke off",
        Class::BadGateway => "the answer is not in the provider's format",
        Class::Unauthorized => "the provider does not accept the key",
        Class::ModelNotFound => "the provider has no such model",
        Class::ContextOverflow => "the conversation no longer fits the model's context window",
        Class::TooLarge => "the request is too large for the provider",
        Class::ContentFilter => "the provider's filter refused the request",
        Class::InvalidRequest => "the provider refused the request",
        Class::Denied => "the address of the provider is not allowed",
    }
}

fn class_name(class: ModelErrorClass) -> String {
    match serde_json::to_value(class) {
        Ok(serde_json::Value::String(name)) => name,
        _ => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests;
