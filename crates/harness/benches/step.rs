//! What a step of the loop costs, in a run that is long already. Goal: at most 50 µs, must: 200 µs.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use livery_core::agent::{Agent, Prompt, text_output};
use livery_core::run::Limits;
use livery_harness::{Decision, Input, Loop, Setup, State, ToolOutcome};
use livery_llm::message::{Arguments, Message, Part, Role, ToolCall};
use livery_llm::stream::{ModelResponse, StopReason, TokenUsage};
use serde_json::json;

fn machine() -> Loop {
    let agent = Agent {
        name: "bench".into(),
        model: vec!["acme/large".parse().unwrap()],
        input: json!({"type": "object"}),
        output: text_output(),
        prompt: Prompt::parse("Work.").unwrap(),
        limits: Limits::default(),
        ..Agent::default()
    };
    Loop::new(Setup::new(agent, json!({"month": "2026-10"}))).unwrap()
}

fn answer(step: u32) -> Input {
    let command = json!({"command": "wc -l *.csv | sort -n"});
    let serde_json::Value::Object(arguments) = command else { unreachable!() };
    let call = ToolCall { id: format!("call_{step}_1"), name: "shell".into(), arguments: Arguments::Object(arguments) };
    let message = Message {
        role: Role::Assistant,
        parts: vec![Part::Text { text: "Let me look at the files once more.".into() }, Part::ToolCall(call)],
    };
    let usage = TokenUsage { input_uncached: 1_000, output_total: 50, ..TokenUsage::default() };
    let response =
        ModelResponse { message, stop_reason: StopReason::ToolUse, usage, model: "large".into(), response_id: None };
    Input::ModelDone { step, attempt: 1, response, cost: None, latency_ms: 900 }
}

fn result(step: u32) -> Input {
    let outcome = ToolOutcome::text("a line of output\n".repeat(500));
    Input::ToolDone { call_id: format!("call_{step}_1"), outcome, duration_ms: 12 }
}

fn step(machine: &Loop, state: &mut State, input: Input) -> Decision {
    let decision = machine.decide(state, input);
    for record in &decision.records {
        state.apply(record);
    }
    decision
}

/// A run that asks for turn `turns + 1`.
fn after(machine: &Loop, turns: u32) -> State {
    let mut state = State::new();
    step(machine, &mut state, Input::Start);
    for turn in 1..=turns {
        step(machine, &mut state, answer(turn));
        step(machine, &mut state, result(turn));
    }
    assert_eq!(state.step(), turns + 1);
    state
}

fn steps(criterion: &mut Criterion) {
    criterion.bench_function("a run is set up", |bench| bench.iter(machine));
    let machine = machine();
    for turns in [1, 190] {
        let asking = after(&machine, turns);
        let mut running = asking.clone();
        step(&machine, &mut running, answer(turns + 1));
        criterion.bench_function(&format!("answer with a call, turn {turns}"), |bench| {
            bench.iter_batched(
                || (asking.clone(), answer(turns + 1)),
                |(mut state, input)| black_box((step(&machine, &mut state, input), state)),
                BatchSize::SmallInput,
            );
        });
        criterion.bench_function(&format!("result of 8 KiB, turn {turns}"), |bench| {
            bench.iter_batched(
                || (running.clone(), result(turns + 1)),
                |(mut state, input)| black_box((step(&machine, &mut state, input), state)),
                BatchSize::SmallInput,
            );
        });
    }
    let decision = machine.decide(&after(&machine, 190), answer(191));
    criterion.bench_function("records of an answer to JSON", |bench| {
        bench.iter(|| decision.records.iter().map(|record| record.data_json().len()).sum::<usize>());
    });
}

criterion_group!(benches, steps);
criterion_main!(benches);
