//! Failed model calls: delays, attempts, fallbacks, what is never tried again.

use livery_core::ErrorCode;
use livery_core::agent::Agent;
use livery_harness::{Effect, Input, Record};
use livery_llm::stream::{ModelError, ModelErrorClass};

use crate::run::{Run, agent, error, says};
use ModelErrorClass::{
    BadGateway, ContentFilter, ContextOverflow, Denied, InvalidRequest, ModelNotFound, Overloaded, QuotaExhausted,
    RateLimited, ServerError, StreamCut, Timeout, TooLarge, Unauthorized,
};

fn with_fallback() -> Agent {
    Agent { model: vec!["acme/large".parse().unwrap(), "other/small".parse().unwrap()], ..agent() }
}

/// Fails every attempt with `class` until the run ends; the models and delays of the attempts that followed.
fn exhaust(agent: Agent, failure: &ModelError) -> (Vec<String>, Run) {
    let mut run = Run::started(agent);
    for _ in 0..20 {
        run.fail(failure.clone());
        if run.state.is_finished() {
            break;
        }
        run.retry();
    }
    let retried = run.records().into_iter().filter_map(|record| match record {
        Record::ModelRetried(data) => Some(format!("{} {}", data.model.provider, data.delay_ms)),
        _ => None,
    });
    (retried.collect(), run)
}

#[test]
fn a_retry_as_it_is_logged() {
    let mut run = Run::started(agent());
    run.fail(ModelError { status: Some(503), ..error(Overloaded) }).retry();
    run.answer(says("There."));
    insta::assert_snapshot!(run.take_text(), @r#"
    > Start
      model.requested {"attempt":1,"max_output_tokens":16384,"model":"acme/large","step":1}
      -> ask acme/large 1, at most 16384, 1 messages, last: "Your input, as JSON:\n{\"month\":\"2026-10\"}"
    > Overloaded in step 1 attempt 1
      model.retried {"attempt":1,"class":"overloaded","delay_ms":500,"failure":{"class":"overloaded","jitter_per_mille":0,"message":"too bad","status":503},"message":"too bad","model":"acme/large","step":1}
      -> retry step 1 after 500 ms
    > retry of step 1 due
      model.requested {"attempt":2,"max_output_tokens":16384,"model":"acme/large","step":1}
      -> ask acme/large 1, at most 16384, 1 messages, last: "Your input, as JSON:\n{\"month\":\"2026-10\"}"
    > answer to step 1 attempt 2
      model.responded 1 end_turn: "There."
      run.succeeded {"output":{"text":"There."}}
      -> succeeded {"text":"There."}
    "#);
}

#[test]
fn what_passes_is_tried_again_with_growing_delays() {
    for class in [RateLimited, Overloaded, ServerError, Timeout, BadGateway] {
        let (retried, run) = exhaust(agent(), &error(class));
        assert_eq!(retried, ["acme 500", "acme 1000", "acme 2000"], "{class:?}");
        assert_eq!(run.error().code, ErrorCode::ModelError);
        assert!(run.error().retryable, "{class:?}");
        assert!(run.error().message.ends_with(": too bad"), "{}", run.error().message);
    }
    let (retried, _) = exhaust(agent(), &error(StreamCut));
    assert_eq!(retried, ["acme 500", "acme 1000"], "a broken stream may have cost a whole answer each time");
}

#[test]
fn what_does_not_pass_ends_the_run_at_once() {
    for (class, code) in [
        (QuotaExhausted, ErrorCode::ModelError),
        (Unauthorized, ErrorCode::CredentialUnavailable),
        (ModelNotFound, ErrorCode::ModelError),
        (ContextOverflow, ErrorCode::ContextOverflow),
        (TooLarge, ErrorCode::ContextOverflow),
        (ContentFilter, ErrorCode::ModelRefused),
        (InvalidRequest, ErrorCode::ModelError),
        (Denied, ErrorCode::ModelError),
    ] {
        let (retried, run) = exhaust(agent(), &error(class));
        assert_eq!((retried.len(), run.error().code, run.error().retryable), (0, code, false), "{class:?}");
    }
}

#[test]
fn the_message_names_model_status_and_the_providers_words() {
    let (_, run) = exhaust(agent(), &ModelError { status: Some(404), ..error(ModelNotFound) });
    assert_eq!(run.error().message, "acme/large: the provider has no such model, status 404: too bad");
}

#[test]
fn the_servers_delay_is_honoured_up_to_a_limit() {
    let asked = |ms| ModelError { retry_after_ms: Some(ms), ..error(RateLimited) };
    assert_eq!(exhaust(agent(), &asked(41_724)).0, ["acme 41724", "acme 41724", "acme 41724"]);
    assert_eq!(exhaust(agent(), &asked(120_000)).0.len(), 3);
    let (retried, run) = exhaust(agent(), &asked(120_001));
    assert_eq!(retried.len(), 0);
    assert!(run.error().retryable, "it will pass, only not soon");
}

#[test]
fn the_providers_word_on_retrying_counts() {
    let no = ModelError { should_retry: Some(false), ..error(ServerError) };
    let (retried, run) = exhaust(agent(), &no);
    assert_eq!((retried.len(), run.error().retryable), (0, false));
    let yes = ModelError { should_retry: Some(true), ..error(InvalidRequest) };
    assert_eq!(exhaust(agent(), &yes).0.len(), 3);
    let no_use = ModelError { should_retry: Some(true), ..error(Unauthorized) };
    assert_eq!(exhaust(agent(), &no_use).0.len(), 0, "the same key will not become right");
}

#[test]
fn jitter_takes_off_up_to_a_quarter() {
    for (jitter, delay) in [(0, 500), (500, 438), (1_000, 375), (u16::MAX, 375)] {
        let mut run = Run::started(agent());
        run.put(Input::ModelFailed { step: 1, attempt: 1, error: error(Timeout), jitter_per_mille: jitter });
        let [Effect::RetryAfter { delay_ms, .. }] = run.effects.as_slice() else { panic!("{:?}", run.effects) };
        assert_eq!(*delay_ms, delay, "{jitter}");
    }
}

#[test]
fn other_models_are_tried_in_order() {
    // Overloaded: at once. Other failures of the server: after the second. Rate limits: when nothing else helps.
    for (class, expected) in [
        (Overloaded, vec!["other 0", "other 500", "other 1000", "other 2000"]),
        (ServerError, vec!["acme 500", "other 0", "other 500", "other 1000", "other 2000"]),
        (RateLimited, vec!["acme 500", "acme 1000", "acme 2000", "other 0", "other 500", "other 1000", "other 2000"]),
        (QuotaExhausted, vec!["other 0"]),
        (ContentFilter, vec!["other 0"]),
        (Unauthorized, vec![]),
        (InvalidRequest, vec![]),
    ] {
        let (retried, run) = exhaust(with_fallback(), &error(class));
        assert_eq!(retried, expected, "{class:?}");
        assert!(run.state.is_finished());
    }
    let late = ModelError { retry_after_ms: Some(3_600_000), ..error(RateLimited) };
    assert_eq!(exhaust(with_fallback(), &late).0, ["other 0"], "another provider is sooner than an hour");
}

#[test]
fn the_other_model_stays_and_its_failures_count_anew_each_step() {
    let mut run = Run::started(with_fallback());
    run.fail(error(Overloaded)).retry();
    run.fail(error(Timeout)).retry();
    run.answer(crate::run::calls([("a", "shell", crate::run::shell("ls"))])).done("a", "x");
    let (step, attempt, request) = run.asked();
    assert_eq!((step, attempt, request.model.as_str()), (2, 1, "small"));
    for _ in 0..3 {
        run.fail(error(Timeout)).retry();
    }
    assert!(!run.state.is_finished());
    run.fail(error(Timeout));
    assert_eq!(run.error().code, ErrorCode::ModelError);
}

#[test]
fn answers_to_earlier_attempts_change_nothing() {
    let mut run = Run::started(agent());
    run.fail(error(Timeout));
    let late = |attempt| Input::ModelDone { step: 1, attempt, response: says("late"), cost: None, latency_ms: 1 };
    let length = run.log.len();
    run.put(late(1)).put(Input::RetryDue { step: 2 });
    assert_eq!(run.log.len(), length);
    run.retry();
    run.put(late(1));
    assert!(!run.state.is_finished());
    run.put(late(2));
    assert!(run.state.is_finished());
}
