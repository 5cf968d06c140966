//! A fake driver: it keeps the log as JSON, as a store would, and writes down what was decided as text.

use std::fmt::Write as _;

use livery_core::agent::{Agent, Prompt, text_output};
use livery_core::{RunError, Usd, canonical};
use livery_harness::replay::{Logged, Verdict, replay};
use livery_harness::{Effect, Input, Loop, Record, Request, Setup, State, ToolOutcome};
use livery_llm::message::{Arguments, Message, Part, Role, ToolCall};
use livery_llm::stream::{ModelError, ModelErrorClass, ModelResponse, StopReason, TokenUsage};
use serde_json::{Value, json};

/// A run under test.
pub(crate) struct Run {
    pub(crate) machine: Loop,
    pub(crate) state: State,
    /// The log: event type and data, as text.
    pub(crate) log: Vec<(String, String)>,
    /// Effects not answered yet.
    pub(crate) effects: Vec<Effect>,
    text: String,
}

/// An agent with every tool and output `{text}`.
pub(crate) fn agent() -> Agent {
    Agent {
        name: "clerk".into(),
        model: vec!["acme/large".parse().unwrap()],
        input: json!({"type": "object"}),
        output: text_output(),
        prompt: Prompt::parse("Count the files of {{input.month}}.").unwrap(),
        ..Agent::default()
    }
}

/// The same with output `{count: integer}`.
pub(crate) fn counting() -> Agent {
    let output = json!({
        "type": "object",
        "properties": {"count": {"type": "integer"}},
        "required": ["count"],
        "additionalProperties": false,
    });
    Agent { output, ..agent() }
}

pub(crate) fn setup(agent: Agent) -> Setup {
    Setup::new(agent, json!({"month": "2026-10"}))
}

impl Run {
    pub(crate) fn new(agent: Agent) -> Self {
        Self::of(setup(agent))
    }

    pub(crate) fn of(setup: Setup) -> Self {
        // What recovery reads is what `run.queued` keeps: it must survive JSON.
        let setup: Setup = serde_json::from_str(&serde_json::to_string(&setup).unwrap()).unwrap();
        let machine = Loop::new(setup).unwrap();
        Self { machine, state: State::new(), log: Vec::new(), effects: Vec::new(), text: String::new() }
    }

    /// Started.
    pub(crate) fn started(agent: Agent) -> Self {
        let mut run = Self::new(agent);
        run.put(Input::Start);
        run
    }

    /// One input: decided twice for comparison, logged as JSON, applied, written down.
    pub(crate) fn put(&mut self, input: Input) -> &mut Self {
        let decision = self.machine.decide(&self.state, input.clone());
        assert_eq!(decision, self.machine.decide(&self.state, input.clone()), "a decision is the same every time");
        let _ = writeln!(self.text, "> {}", show_input(&input));
        for record in &decision.records {
            self.log.push((record.event_type().to_string(), record.data_json()));
            self.state.apply(record);
            let _ = writeln!(self.text, "{}", show_record(record));
        }
        for effect in &decision.effects {
            let _ = writeln!(self.text, "{}", show_effect(effect));
        }
        self.effects = decision.effects;
        assert_eq!(self.state, self.folded(), "the log alone gives the same state");
        let snapshot: State = serde_json::from_str(&serde_json::to_string(&self.state).unwrap()).unwrap();
        assert_eq!(self.state, snapshot, "a snapshot gives the same state");
        if self.state.is_finished() {
            let report = replay(&self.machine, &self.logged());
            assert_eq!(report.result, Verdict::Identical, "{report:#?}");
            assert_eq!(report.unchecked.len(), 0, "{report:#?}");
            assert_eq!(report.compared_events, self.log.len() as u64, "{report:#?}");
        }
        self
    }

    /// The log as a replay gets it.
    pub(crate) fn logged(&self) -> Vec<Logged> {
        let logged = |(index, (event_type, data)): (usize, &(String, String))| Logged {
            seq: index as u64 + 1,
            event_type: event_type.clone(),
            digest: Some(canonical::sha256_hex(data)),
            data: Some(data.clone()),
        };
        self.log.iter().enumerate().map(logged).collect()
    }

    /// The records in the log.
    pub(crate) fn records(&self) -> Vec<Record> {
        let read = |(event_type, data): &(String, String)| {
            let data: Value = serde_json::from_str(data).unwrap();
            Record::from_event(event_type.parse().unwrap(), &data).unwrap().unwrap()
        };
        self.log.iter().map(read).collect()
    }

    /// The state as another worker folds it.
    pub(crate) fn folded(&self) -> State {
        State::fold(&self.records())
    }

    /// What was written down since the last call.
    pub(crate) fn take_text(&mut self) -> String {
        std::mem::take(&mut self.text)
    }

    /// The model answers the current step.
    pub(crate) fn answer(&mut self, response: ModelResponse) -> &mut Self {
        self.answer_for(response, None)
    }

    pub(crate) fn answer_for(&mut self, response: ModelResponse, cost: Option<Usd>) -> &mut Self {
        let (step, attempt, _) = self.asked();
        self.put(Input::ModelDone { step, attempt, response, cost, latency_ms: 7 })
    }

    /// The current model call fails.
    pub(crate) fn fail(&mut self, error: ModelError) -> &mut Self {
        let (step, attempt, _) = self.asked();
        self.put(Input::ModelFailed { step, attempt, error, jitter_per_mille: 0 })
    }

    /// The delay passes.
    pub(crate) fn retry(&mut self) -> &mut Self {
        let step = self.state.step();
        self.put(Input::RetryDue { step })
    }

    /// A tool ends well.
    pub(crate) fn done(&mut self, call_id: &str, text: &str) -> &mut Self {
        self.ended(call_id, ToolOutcome::text(text))
    }

    pub(crate) fn ended(&mut self, call_id: &str, outcome: ToolOutcome) -> &mut Self {
        self.put(Input::ToolDone { call_id: call_id.into(), outcome, duration_ms: 12 })
    }

    /// Step, attempt and request of the model call in flight.
    pub(crate) fn asked(&self) -> (u32, u32, Request) {
        self.machine
            .pending(&self.state)
            .into_iter()
            .find_map(|effect| match effect {
                Effect::CallModel { step, attempt, request, .. } => Some((step, attempt, request)),
                _ => None,
            })
            .expect("a model call is in flight")
    }

    /// The error the run ended with.
    pub(crate) fn error(&self) -> RunError {
        self.state.terminal().expect("the run ended").error.clone().expect("with an error")
    }

    /// The output the run ended with.
    pub(crate) fn output(&self) -> Value {
        self.state.terminal().expect("the run ended").output.clone().expect("with an output")
    }
}

/// An answer of these parts; 10 tokens in, 5 out.
pub(crate) fn reply(parts: Vec<Part>, stop_reason: StopReason) -> ModelResponse {
    ModelResponse {
        message: Message { role: Role::Assistant, parts },
        stop_reason,
        usage: TokenUsage { input_uncached: 10, output_total: 5, ..TokenUsage::default() },
        model: "large-2026".into(),
        response_id: None,
    }
}

pub(crate) fn says(text: &str) -> ModelResponse {
    reply(vec![text_part(text)], StopReason::EndTurn)
}

pub(crate) fn calls<const N: usize>(list: [(&str, &str, Value); N]) -> ModelResponse {
    reply(list.into_iter().map(|(id, name, arguments)| call(id, name, arguments)).collect(), StopReason::ToolUse)
}

pub(crate) fn text_part(text: &str) -> Part {
    Part::Text { text: text.into() }
}

pub(crate) fn call(id: &str, name: &str, arguments: Value) -> Part {
    let arguments = match arguments {
        Value::Object(fields) => Arguments::Object(fields),
        other => Arguments::Unusable { text: other.to_string(), reason: "not an object".into() },
    };
    Part::ToolCall(ToolCall { id: id.into(), name: name.into(), arguments })
}

pub(crate) fn shell(command: &str) -> Value {
    json!({"command": command})
}

pub(crate) fn error(class: ModelErrorClass) -> ModelError {
    ModelError { class, message: "too bad".into(), retry_after_ms: None, status: None, should_retry: None }
}

fn show_input(input: &Input) -> String {
    match input {
        Input::ModelDone { step, attempt, .. } => format!("answer to step {step} attempt {attempt}"),
        Input::ModelFailed { step, attempt, error, .. } => {
            format!("{:?} in step {step} attempt {attempt}", error.class)
        }
        Input::ToolDone { call_id, .. } => format!("{call_id} done"),
        Input::RetryDue { step } => format!("retry of step {step} due"),
        other => format!("{other:?}"),
    }
}

fn show_record(record: &Record) -> String {
    match record {
        Record::ModelResponded(data) => {
            let stop = serde_json::to_value(data.stop_reason).unwrap();
            let parts: Vec<String> = data.message.parts.iter().map(show_part).collect();
            format!("  model.responded {} {}: {}", data.step, stop.as_str().unwrap(), parts.join(" | "))
        }
        _ => {
            let mut data = record.data();
            // It names every word of the prompt at once; `replay` looks at it.
            data.as_object_mut().map(|fields| fields.remove("request_digest"));
            format!("  {} {data}", record.event_type())
        }
    }
}

fn show_part(part: &Part) -> String {
    match part {
        Part::Text { text } => format!("{text:?}"),
        Part::ToolCall(call) => format!("{} {}", call.id, call.name),
        Part::ToolResult(result) => format!("{} = {}", result.call_id, show_part(&result.parts[0])),
        Part::Thinking(_) => "(thinks)".into(),
        Part::Refusal { text } => format!("refuses {text:?}"),
        Part::Image { media_type, .. } => format!("({media_type})"),
        Part::Opaque { .. } => "(opaque)".into(),
    }
}

fn show_effect(effect: &Effect) -> String {
    match effect {
        Effect::CallModel { model, request, idempotency, .. } => {
            let last: Vec<String> = request.messages.last().unwrap().parts.iter().map(show_part).collect();
            let count = request.messages.len();
            let max = request.max_output_tokens;
            format!("  -> ask {model} {idempotency}, at most {max}, {count} messages, last: {}", last.join(" | "))
        }
        Effect::RetryAfter { step, delay_ms } => format!("  -> retry step {step} after {delay_ms} ms"),
        Effect::RunTool { call_id, invocation, safe } => {
            let safe = if *safe { " (safe)" } else { "" };
            format!("  -> run {call_id} {}{safe}", serde_json::to_string(invocation).unwrap())
        }
        Effect::Finish(end) => {
            let what = end.output.as_ref().map_or_else(|| json!(end.error).to_string(), Value::to_string);
            format!("  -> {} {what}", end.status)
        }
    }
}
