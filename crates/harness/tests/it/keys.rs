//! Idempotency keys: within a step the same key is the same body, byte for byte, and another body has another key.

use livery_core::agent::Agent;
use livery_harness::{Effect, Input, Recovery, SandboxFate, idempotency};
use livery_llm::provider::{Dialect, Options};
use livery_llm::stream::{ModelErrorClass, StopReason};
use serde_json::json;

use crate::run::{Run, agent, calls, error, reply, says, shell};

/// What is sent for the call that is due: the key, the step and the body.
fn sent(run: &Run, dialect: &Dialect) -> (String, u32, Vec<u8>) {
    let [Effect::CallModel { step, request, idempotency, .. }] = run.effects.as_slice() else {
        panic!("{:?}", run.effects)
    };
    let body = dialect.encode(&request.to_model_request(), &Options { stream: true, ..Options::default() }).body;
    (idempotency::key("run_1", idempotency, &body), *step, body)
}

/// The process dies; another one folds the log, and the sandbox did not stay as it was.
fn crash(run: &mut Run) {
    run.state = run.folded();
    run.put(Input::Recovered { sandbox: SandboxFate::Restarted, recovery: Recovery::default() });
}

/// A run whose second step is being asked.
fn in_its_second_step(agent: Agent) -> Run {
    let mut run = Run::started(agent);
    run.answer(calls([("a", "shell", shell("ls"))])).done("a", "x");
    run
}

fn with_fallback() -> Agent {
    Agent { model: vec!["acme/large".parse().unwrap(), "acme/small".parse().unwrap()], ..agent() }
}

/// A way from one request of a run to another.
type Way = fn(&mut Run);

/// What happens between two requests, and whether the second is the first again.
const WAYS: [(&str, bool, Way); 9] = [
    ("a failure", true, |run| {
        run.fail(error(ModelErrorClass::Timeout)).retry();
    }),
    ("a crash while it is asked", true, crash),
    ("two crashes while it is asked", true, |run| {
        crash(run);
        crash(run);
    }),
    ("a crash, then a failure: the notice is told with the retry", false, |run| {
        crash(run);
        run.fail(error(ModelErrorClass::Timeout)).retry();
    }),
    ("a failure, then a crash in the pause: the notice is told at once", false, |run| {
        run.fail(error(ModelErrorClass::Timeout));
        crash(run);
        run.retry();
    }),
    ("a failure, a crash while it is asked again", true, |run| {
        run.fail(error(ModelErrorClass::Timeout)).retry();
        crash(run);
    }),
    ("another model", false, |run| {
        run.fail(error(ModelErrorClass::Overloaded)).retry();
    }),
    ("an empty answer, asked again on purpose", false, |run| {
        run.answer(reply(Vec::new(), StopReason::EndTurn));
    }),
    ("the next step", false, |run| {
        run.answer(calls([("b", "read_file", json!({"path": "a"}))])).done("b", "x");
    }),
];

#[test]
fn the_same_key_is_the_same_request() {
    for kind in ["anthropic", "openai"] {
        let dialect = Dialect::of(kind, None).unwrap();
        for (what, same, way) in WAYS {
            let agent = if what == "another model" { with_fallback() } else { agent() };
            let mut run = in_its_second_step(agent);
            let (key, step, body) = sent(&run, &dialect);
            way(&mut run);
            let (next_key, next_step, next_body) = sent(&run, &dialect);
            assert_eq!(next_key == key, same, "{kind}, {what}: {key} {next_key}");
            assert_eq!((next_step, next_body) == (step, body), same, "{kind}, {what}");
        }
    }
}

#[test]
fn a_restart_derives_the_key_from_the_log() {
    let dialect = Dialect::of("anthropic", None).unwrap();
    let mut run = in_its_second_step(agent());
    crash(&mut run);
    run.fail(error(ModelErrorClass::Timeout)).retry();
    let (key, ..) = sent(&run, &dialect);
    assert!(key.starts_with("livery-run_1-2-") && key.len() == "livery-run_1-2-".len() + 16, "{key}");
    run.state = run.folded();
    run.effects = run.machine.pending(&run.state);
    assert_eq!(sent(&run, &dialect).0, key);
    run.answer(says("Done."));
    assert!(run.state.is_finished());
}
