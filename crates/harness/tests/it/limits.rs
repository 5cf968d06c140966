//! Limits, and what a run used up.

use livery_core::agent::Agent;
use livery_core::run::{Cost, Limits, Pricing};
use livery_core::{ErrorCode, RunError, RunStatus, Usd};
use livery_harness::{Effect, Input, ToolOutcome};
use livery_llm::stream::{StopReason, TokenUsage};
use serde_json::json;

use crate::run::{Run, agent, calls, counting, reply, says, shell, text_part};

fn limited(limits: Limits) -> Agent {
    Agent { limits, ..agent() }
}

fn finish_message(run: &Run) -> String {
    assert_eq!(run.error().code, ErrorCode::BudgetExceeded);
    assert!(!run.error().retryable);
    run.error().message
}

#[test]
fn turns_are_limited_and_the_last_calls_are_not_run_for_nothing() {
    let mut run = Run::started(limited(Limits { max_turns: Some(2), ..Limits::default() }));
    run.answer(calls([("a", "shell", shell("ls"))])).done("a", "x");
    run.answer(calls([("b", "shell", shell("rm x"))]));
    assert_eq!(finish_message(&run), "the run used all of its 2 turns (max_turns)");
    assert_eq!(run.effects.len(), 1, "nothing but the end");
}

#[test]
fn the_last_turn_may_finish_with_calls_beside_it() {
    let limits = Limits { max_turns: Some(1), ..Limits::default() };
    let mut run = Run::started(Agent { limits, ..counting() });
    run.answer(calls([("a", "shell", shell("ls")), ("f", "finish", json!({"count": 1}))])).done("a", "x");
    assert_eq!(run.output(), json!({"count": 1}));

    let mut run = Run::started(Agent { limits, ..counting() });
    run.answer(calls([("a", "shell", shell("ls")), ("f", "finish", json!({"count": 1}))]));
    run.ended("a", ToolOutcome::failed("no"));
    assert_eq!(run.error().code, ErrorCode::BudgetExceeded);
}

#[test]
fn tokens_are_limited_and_the_answer_is_clamped_to_what_is_left() {
    let mut run = Run::started(limited(Limits { max_tokens: Some(40), ..Limits::default() }));
    assert_eq!(run.asked().2.max_output_tokens, 40);
    run.answer(calls([("a", "shell", shell("ls"))])).done("a", "x");
    assert_eq!(run.asked().2.max_output_tokens, 25);
    run.answer(calls([("b", "shell", shell("ls"))])).done("b", "x");
    run.answer(calls([("c", "shell", shell("ls"))]));
    assert_eq!(finish_message(&run), "the run used 45 of the 40 tokens it may (max_tokens)");
}

#[test]
fn the_last_token_spent_is_the_end() {
    let mut run = Run::started(limited(Limits { max_tokens: Some(15), ..Limits::default() }));
    run.answer(calls([("a", "shell", shell("ls"))]));
    assert_eq!(finish_message(&run), "the run used 15 of the 15 tokens it may (max_tokens)");
}

#[test]
fn an_answer_over_the_limit_still_counts_when_it_ends_the_run() {
    let mut run = Run::started(limited(Limits { max_tokens: Some(5), ..Limits::default() }));
    run.answer(says("Three."));
    assert_eq!(run.output(), json!({"text": "Three."}), "it is paid for; no other call follows");
}

#[test]
fn cost_is_limited() {
    let mut run = Run::started(limited(Limits { max_cost_usd: Usd::parse("0.01"), ..Limits::default() }));
    run.answer_for(calls([("a", "shell", shell("ls"))]), Usd::parse("0.009")).done("a", "x");
    run.answer_for(calls([("b", "shell", shell("ls"))]), Usd::parse("0.002"));
    assert_eq!(finish_message(&run), "the run cost 0.011 dollars of the 0.01 it may (max_cost_usd)");
}

#[test]
fn missing_usage_is_estimated_for_the_limit_only() {
    let mut run = Run::started(limited(Limits { max_tokens: Some(100), ..Limits::default() }));
    let mut uncounted = calls([("a", "shell", shell("ls"))]);
    uncounted.usage = TokenUsage::default();
    run.answer(uncounted);
    assert_eq!(run.error().code, ErrorCode::BudgetExceeded, "the prompt alone is longer than 400 bytes");
    assert_eq!((run.state.usage().input_tokens, run.state.usage().output_tokens), (0, 0), "an estimate is not a count");
}

#[test]
fn absurd_usage_does_not_overflow() {
    let mut run = Run::started(agent());
    for turn in 0..3 {
        let id = format!("c{turn}");
        let mut absurd = calls([(&id, "shell", shell("ls"))]);
        absurd.usage = TokenUsage { input_uncached: u64::MAX, output_total: u64::MAX, ..TokenUsage::default() };
        run.answer(absurd).done(&id, "x");
    }
    assert_eq!(run.state.usage().input_tokens, 3 << 30);
}

#[test]
fn usage_and_cost_add_up() {
    let mut run = Run::started(agent());
    let usage = TokenUsage {
        input_uncached: 10,
        input_cache_read: 90,
        input_cache_write: 7,
        output_total: 5,
        ..TokenUsage::default()
    };
    let mut first = calls([("a", "shell", shell("ls")), ("b", "nonsense", json!({}))]);
    first.usage = usage;
    run.answer_for(first, Usd::parse("0.5")).done("a", "x");
    assert_eq!(run.state.cost(), Cost { usd: Usd::from_micros(500_000), pricing: Pricing::Priced });
    run.answer(says("Done."));
    let usage = run.state.usage();
    assert_eq!((usage.input_tokens, usage.cached_input_tokens, usage.output_tokens), (117, 90, 10));
    assert_eq!((usage.turns, usage.tool_calls), (2, 1));
    assert_eq!(run.state.cost().pricing, Pricing::Unpriced, "one call without a price makes the sum a lower bound");

    let mut run = Run::started(Agent { model: vec!["scripted/demo".parse().unwrap()], ..agent() });
    run.answer_for(says("Done."), Some(Usd::ZERO));
    assert_eq!(run.state.cost(), Cost { usd: Usd::ZERO, pricing: Pricing::Free });
}

#[test]
fn time_cancel_and_fatal_end_a_run_in_every_state_once() {
    let fatal = RunError::retryable(ErrorCode::SandboxLost, "out of memory");
    let ends = [
        (Input::TimedOut, RunStatus::TimedOut, ErrorCode::TimedOut, "the run took longer than its limit of 900 s"),
        (Input::Cancel { reason: None }, RunStatus::Cancelled, ErrorCode::Cancelled, "stopped on request"),
        (
            Input::Cancel { reason: Some("wrong month".into()) },
            RunStatus::Cancelled,
            ErrorCode::Cancelled,
            "stopped on request: wrong month",
        ),
        (Input::Fatal { error: fatal }, RunStatus::Failed, ErrorCode::SandboxLost, "out of memory"),
    ];
    type Prepare = fn(&mut Run);
    let states: [Prepare; 5] = [
        |_| {},
        |run| {
            run.put(Input::Start);
        },
        |run| {
            run.put(Input::Start).answer(reply(vec![text_part("One, ")], StopReason::MaxTokens));
        },
        |run| {
            run.put(Input::Start)
                .answer(calls([("a", "shell", shell("ls")), ("b", "shell", shell("ls"))]))
                .done("a", "");
        },
        |run| {
            run.put(Input::Start).fail(crate::run::error(livery_llm::stream::ModelErrorClass::Timeout));
        },
    ];
    for (end, status, code, message) in ends {
        for prepare in states {
            let mut run = Run::new(agent());
            prepare(&mut run);
            run.put(end.clone());
            assert_eq!((run.state.terminal().unwrap().status, run.error().code), (status, code));
            assert_eq!(run.error().message, message);
            let [Effect::Finish(terminal)] = run.effects.as_slice() else { panic!("one end: {:?}", run.effects) };
            assert_eq!(Some(terminal), run.state.terminal());
            let length = run.log.len();
            run.put(end.clone()).put(Input::TimedOut).put(Input::Start).done("b", "late").retry();
            run.put(Input::Recovered {
                sandbox: livery_harness::SandboxFate::Lost,
                recovery: livery_harness::Recovery::default(),
            });
            assert_eq!(run.log.len(), length, "nothing follows an end");
        }
    }
}
