//! Any order of inputs, fitting or not: the invariants of the loop hold after each of them.

use std::collections::BTreeSet;

use livery_core::agent::Agent;
use livery_core::run::Limits;
use livery_core::{ErrorCode, RunError, Usd};
use livery_harness::outcome::ShellOutput;
use livery_harness::{Effect, Input, Record, SandboxFate, ToolOutcome};
use livery_llm::message::{Arguments, Message, Part, Role, Thinking, ToolCall, ToolResult};
use livery_llm::stream::{ModelError, ModelErrorClass, ModelResponse, StopReason, TokenUsage};
use proptest::prelude::*;
use serde_json::json;

use crate::run::{Run, counting};

/// Inputs as an unreliable world sends them; ids and steps mostly fit.
#[derive(Debug, Clone)]
enum Event {
    Start,
    Answer(Box<ModelResponse>, Option<i64>),
    Stray(Box<Input>),
    Fail(ModelError, u16),
    Retry,
    /// Ends the n-th running tool.
    Done(usize, ToolOutcome),
    Recovered(SandboxFate),
    End(Input),
}

fn part() -> impl Strategy<Value = Part> {
    let id = prop_oneof![Just("a"), Just("b"), Just("c"), Just(""), Just("call_1x1"), Just("ü")];
    let call = prop_oneof![
        4 => Just(("shell", json!({"command": "ls"}))),
        2 => Just(("read_file", json!({"path": "x"}))),
        1 => Just(("shell", json!({"command": 7}))),
        1 => Just(("bash", json!({}))),
        1 => Just(("finish", json!({"count": 1}))),
        1 => Just(("finish", json!({"count": "x"}))),
        1 => Just(("shell", json!("{\"comm"))),
    ];
    let call = (id.clone(), call).prop_map(|(id, (name, arguments))| {
        let arguments = match arguments {
            serde_json::Value::Object(fields) => Arguments::Object(fields),
            other => Arguments::Unusable { text: other.to_string(), reason: "cut off".into() },
        };
        Part::ToolCall(ToolCall { id: id.into(), name: name.into(), arguments })
    });
    let forged = id.prop_map(|id| {
        Part::ToolResult(ToolResult { call_id: id.into(), name: "shell".into(), parts: vec![], is_error: false })
    });
    let thinking =
        Thinking { text: "hm".into(), signature: None, redacted: None, provider: "p".into(), model: "m".into() };
    prop_oneof![
        6 => call,
        2 => prop_oneof![Just("words"), Just(" "), Just("a\0b")].prop_map(|text| Part::Text { text: text.into() }),
        1 => forged,
        1 => Just(Part::Thinking(thinking)),
        1 => Just(Part::Refusal { text: "no".into() }),
    ]
}

fn response() -> impl Strategy<Value = ModelResponse> {
    let stop = prop_oneof![
        6 => Just(StopReason::ToolUse),
        2 => Just(StopReason::EndTurn),
        1 => Just(StopReason::MaxTokens),
        1 => Just(StopReason::Pause),
        1 => Just(StopReason::Refusal),
    ];
    let usage = prop_oneof![Just(0u64), Just(10), Just(u64::MAX)];
    (prop::collection::vec(part(), 0..12), stop, usage).prop_map(|(parts, stop_reason, count)| ModelResponse {
        message: Message { role: Role::Assistant, parts },
        stop_reason,
        usage: TokenUsage { input_uncached: count, ..TokenUsage::default() },
        model: "m".into(),
        response_id: None,
    })
}

fn failure() -> impl Strategy<Value = ModelError> {
    let class = prop_oneof![
        Just(ModelErrorClass::Overloaded),
        Just(ModelErrorClass::RateLimited),
        Just(ModelErrorClass::StreamCut),
        Just(ModelErrorClass::QuotaExhausted),
    ];
    (class, prop::option::of(0u64..200_000), prop::option::weighted(0.1, any::<bool>())).prop_map(
        |(class, retry_after_ms, should_retry)| ModelError {
            class,
            message: "m".into(),
            retry_after_ms,
            status: None,
            should_retry,
        },
    )
}

fn outcome() -> impl Strategy<Value = ToolOutcome> {
    prop_oneof![
        Just(ToolOutcome::text("ok")),
        Just(ToolOutcome::failed("no")),
        Just(ToolOutcome::Shell(ShellOutput { exit_code: Some(1), ..ShellOutput::default() })),
        Just(ToolOutcome::Image { media_type: "image/png".into(), data: "AAAA".into() }),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let fate = prop_oneof![
        Just(SandboxFate::Untouched),
        Just(SandboxFate::Restarted),
        Just(SandboxFate::Restored),
        Just(SandboxFate::Lost)
    ];
    let stray = (0u32..5, 0u32..4, response()).prop_map(|(step, attempt, response)| {
        Box::new(Input::ModelDone { step, attempt, response, cost: None, latency_ms: 0 })
    });
    let ends = prop_oneof![
        Just(Input::TimedOut),
        Just(Input::Cancel { reason: None }),
        Just(Input::Fatal { error: RunError::fatal(ErrorCode::SandboxLost, "gone") }),
    ];
    prop_oneof![
        2 => Just(Event::Start),
        10 => (response(), prop::option::of(0i64..1000)).prop_map(|(response, cost)| Event::Answer(Box::new(response), cost)),
        1 => stray.prop_map(Event::Stray),
        3 => (failure(), any::<u16>()).prop_map(|(error, jitter)| Event::Fail(error, jitter)),
        3 => Just(Event::Retry),
        12 => (0usize..10, outcome()).prop_map(|(index, outcome)| Event::Done(index, outcome)),
        2 => fate.prop_map(Event::Recovered),
        1 => prop::option::weighted(0.2, ends).prop_map(|end| end.map_or(Event::Retry, Event::End)),
    ]
}

fn run_with(limits: Limits) -> Run {
    let model = vec!["acme/large".parse().unwrap(), "other/small".parse().unwrap()];
    Run::new(Agent { limits, model, ..counting() })
}

/// What is in flight by the effects handed out, kept like a driver would.
#[derive(Default)]
struct Flight {
    tools: Vec<String>,
    model: Option<(u32, u32)>,
    delay: bool,
    ended: bool,
}

impl Flight {
    fn take(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::CallModel { step, attempt, .. } => {
                    assert!(self.model.replace((*step, *attempt)).is_none() && !self.delay && self.tools.is_empty());
                }
                Effect::RetryAfter { .. } => {
                    assert!(!self.delay && self.model.is_none());
                    self.delay = true;
                }
                Effect::RunTool { call_id, .. } => {
                    assert!(!self.tools.contains(call_id), "{call_id} runs twice at once");
                    self.tools.push(call_id.clone());
                }
                Effect::Finish(_) => {
                    assert!(!self.ended, "a second end");
                    self.ended = true;
                }
            }
        }
    }
}

fn to_input(event: &Event, flight: &mut Flight) -> Option<Input> {
    Some(match event {
        Event::Start => Input::Start,
        Event::Answer(response, cost) => {
            let (step, attempt) = flight.model.take()?;
            let cost = cost.map(Usd::from_micros);
            Input::ModelDone { step, attempt, response: ModelResponse::clone(response), cost, latency_ms: 1 }
        }
        Event::Stray(input) => {
            // Only one that does not fit by chance.
            let Input::ModelDone { step, attempt, .. } = input.as_ref() else { return None };
            if flight.model == Some((*step, *attempt)) {
                return None;
            }
            Input::clone(input)
        }
        Event::Fail(error, jitter_per_mille) => {
            let (step, attempt) = flight.model.take()?;
            Input::ModelFailed { step, attempt, error: error.clone(), jitter_per_mille: *jitter_per_mille }
        }
        Event::Retry => {
            if !std::mem::take(&mut flight.delay) {
                return Some(Input::RetryDue { step: 0 });
            }
            Input::RetryDue { step: u32::MAX }
        }
        Event::Done(index, outcome) => {
            if flight.tools.is_empty() {
                return Some(Input::ToolDone { call_id: "ghost".into(), outcome: outcome.clone(), duration_ms: 1 });
            }
            let call_id = flight.tools.remove(index % flight.tools.len());
            Input::ToolDone { call_id, outcome: outcome.clone(), duration_ms: 1 }
        }
        Event::Recovered(sandbox) => {
            *flight = Flight { ended: flight.ended, ..Flight::default() };
            Input::Recovered { sandbox: *sandbox, recovery: livery_harness::Recovery::default() }
        }
        Event::End(input) => input.clone(),
    })
}

/// Every call is answered exactly once, right after it was made, and no answer lacks its call.
fn check_pairs(messages: &[std::sync::Arc<Message>]) {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&str> = Vec::new();
    for message in messages {
        let results: Vec<&str> = message
            .parts
            .iter()
            .filter_map(|part| if let Part::ToolResult(result) = part { Some(result.call_id.as_str()) } else { None })
            .collect();
        assert_eq!(results, open, "results in source order, in the next message");
        open = Vec::new();
        for part in &message.parts {
            if let Part::ToolCall(call) = part {
                assert_eq!(message.role, Role::Assistant);
                assert!(seen.insert(call.id.as_str()), "{} is used twice", call.id);
                open.push(&call.id);
            }
        }
    }
    assert!(open.is_empty(), "a request leaves calls unanswered");
}

/// The intent of every effect is in the log before it.
fn check_intents(run: &Run, effects: &[Effect]) {
    let records = run.records();
    for effect in effects {
        let found = records.iter().any(|record| match (effect, record) {
            (Effect::CallModel { step, attempt, model, .. }, Record::ModelRequested(data)) => {
                (data.step, data.attempt, &data.model) == (*step, *attempt, model)
            }
            (Effect::RetryAfter { step, .. }, Record::ModelRetried(data)) => data.step == *step,
            (Effect::RunTool { call_id, .. }, Record::ToolStarted(data)) => data.call_id == *call_id,
            (Effect::Finish(end), record) => record.terminal().as_ref() == Some(end),
            _ => false,
        });
        assert!(found, "no intent for {effect:?}");
    }
}

fn check_log(run: &Run) {
    let records = run.records();
    let ends = records.iter().filter(|record| record.terminal().is_some()).count();
    assert_eq!(ends, usize::from(run.state.is_finished()));
    assert!(ends == 0 || records.last().unwrap().terminal().is_some(), "nothing is logged after the end");
    let mut started = BTreeSet::new();
    let mut closed = BTreeSet::new();
    for record in &records {
        match record {
            Record::ToolStarted(data) => assert!(started.insert(data.call_id.clone()), "{} starts twice", data.call_id),
            Record::ToolFinished(data) => assert!(closed.insert(data.call_id.clone()), "{} ends twice", data.call_id),
            Record::ToolOutcomeUnknown(data) => {
                assert!(closed.insert(data.call_id.clone()), "{} ends twice", data.call_id)
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_inputs_keeps_the_invariants(
        events in prop::collection::vec(event(), 1..60),
        max_turns in prop::option::of(1u32..8),
        max_tokens in prop::option::weighted(0.2, 1u64..200),
    ) {
        let mut run = run_with(Limits { max_turns, max_tokens, ..Limits::default() });
        let mut flight = Flight::default();
        for event in &events {
            let Some(mut input) = to_input(event, &mut flight) else { continue };
            if let Input::RetryDue { step } = &mut input && *step == u32::MAX {
                *step = run.state.step();
            }
            let before = run.log.len();
            // `put` compares fold and snapshot with the state, and the decision with itself.
            run.put(input);
            let effects = run.effects.clone();
            if run.log.len() == before {
                prop_assert!(effects.is_empty() || matches!(event, Event::Recovered(_)));
            }
            check_intents(&run, &effects);
            flight.take(&effects);
            for effect in &effects {
                if let Effect::CallModel { request, .. } = effect {
                    check_pairs(&request.messages);
                    prop_assert!(request.max_output_tokens > 0);
                }
            }
            if run.state.is_finished() {
                flight = Flight { ended: true, ..Flight::default() };
            } else if !run.log.is_empty() {
                let idle = flight.tools.is_empty() && flight.model.is_none() && !flight.delay;
                prop_assert!(!idle, "the run stands still after {event:?}");
                prop_assert_eq!(flight.tools.len() + usize::from(flight.model.is_some()) + usize::from(flight.delay),
                    run.machine.pending(&run.state).len(), "what is in flight is what the state says");
            }
        }
        check_log(&run);
    }
}
