//! Model providers that misbehave: the run retries or fails with a stable code, nothing hangs, and the key is seen by the
//! provider alone.

use std::sync::Arc;

use livery_llm::script::Script;
use livery_testkit::fake_model::{Chaos, Config, Delay, FakeModel, Fault, Mode};
use serde_json::{Value, json};

use crate::support::{Server, bytes_below, text};

const KEY: &str = "sk-canary-7f3a9c51e2d84b60aa17";
const ALLOW: &[&str] = &["--allow-upstream", "127.0.0.1/32"];
const AGENT: &str = "---\nname: asker\nmodel: fake/some-model\ntools: [shell]\n---\nAnswer.\n";
const SCRIPT: &str = "turns:\n  - tools: [{name: shell, arguments: {command: \"env; cat /proc/self/environ; echo seen\"}}]\n  - text: all done\n";

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

fn provider(server: &Server, kind: &str, base_url: &str) {
    let body = json!({"name": "fake", "kind": kind, "base_url": base_url, "api_key": KEY});
    let (status, answer) = server.post("/v1/model_providers", &body);
    assert_eq!(status, 201, "{answer}");
    assert!(!answer.to_string().contains(KEY));
}

fn scripted() -> Mode {
    Mode::Script(Arc::new(Script::parse("s.yaml", SCRIPT).unwrap()))
}

async fn fake(chaos: Vec<Chaos>) -> FakeModel {
    FakeModel::start(Config { key: Some(KEY.to_owned()), mode: scripted(), chaos, ..Config::default() }).await.unwrap()
}

#[test]
fn both_formats_work_and_the_key_stays_with_the_broker() {
    let runtime = runtime();
    for kind in ["anthropic", "openai_compatible"] {
        let server = Server::start(ALLOW);
        let model = runtime.block_on(fake(Vec::new()));
        let base_url = if kind == "anthropic" { model.anthropic_base_url() } else { model.openai_base_url() };
        provider(&server, kind, &base_url);
        let run = server.start_run(AGENT, None, &json!({}));
        let view = server.ended(&run);
        assert_eq!(view["status"], "succeeded", "{kind}: {view}");
        assert_eq!(view["output"]["text"], "all done");
        assert_eq!(model.count(), 2, "{kind}");
        let told = format!("{view}{:?}{}", server.events(&run), server.log());
        assert!(told.contains("seen") && !told.contains(KEY), "{kind}: the key is somewhere it must not be");
        assert!(!text(&bytes_below(&server.data)).contains(KEY), "{kind}: the key is stored in the clear");
        runtime.block_on(model.stop());
    }
}

/// A fault for the first requests, and what has to come of the run.
fn ends(name: &str, chaos: Vec<Chaos>, check: impl Fn(&Value, &[Value])) {
    let runtime = runtime();
    let server = Server::start(ALLOW);
    let model = runtime.block_on(fake(chaos));
    provider(&server, "anthropic", &model.anthropic_base_url());
    let run = server.start_run(AGENT, None, &json!({"limits": {"timeout_s": 40}}));
    let view = server.ended(&run);
    check(&view, &server.events(&run));
    eprintln!("{name}: {} {}", view["status"], view["error"]["code"]);
    runtime.block_on(model.stop());
}

fn recovers(view: &Value, events: &[Value]) {
    assert_eq!(view["status"], "succeeded", "{view}");
    assert!(events.iter().any(|event| event["type"] == "model.retried"), "{events:?}");
}

fn fails(view: &Value, events: &[Value]) {
    assert_eq!(
        (view["status"].as_str(), view["error"]["code"].as_str()),
        (Some("failed"), Some("model_error")),
        "{view}"
    );
    assert!(!view["error"]["message"].as_str().unwrap_or_default().is_empty(), "{events:?}");
}

#[test]
fn busy_providers_are_asked_again() {
    let busy = |status, delay| vec![Chaos::first(1, Fault::Status { status, delay })];
    ends("429 with seconds", busy(429, Delay::Header("1".into())), recovers);
    ends("429 without", busy(429, Delay::None), recovers);
    ends("529 in milliseconds", busy(529, Delay::Milliseconds(50)), recovers);
    ends("503 with rubbish", busy(503, Delay::Header("soon".into())), recovers);
}

#[test]
fn broken_streams_are_asked_again() {
    for fault in [
        Fault::Truncate { after: 2 },
        Fault::Reset { after: 2 },
        Fault::ErrorEvent { after: 2 },
        Fault::Html,
        Fault::Empty,
        Fault::OtherJson,
    ] {
        ends(&format!("{fault:?}"), vec![Chaos::first(1, fault)], recovers);
    }
}

/// The provider keeps its first answer under the first key and refuses that key with other words. After the crash the same
/// words come first; when these fail, the next try tells the model of the crash, under a key of its own.
#[test]
fn other_words_after_a_crash_have_another_key() {
    let runtime = runtime();
    let mut server = Server::start(ALLOW);
    let chaos = vec![
        Chaos::first(1, Fault::Comments),
        Chaos::first(1, Fault::Stall { after: 2 }),
        Chaos::first(1, Fault::Truncate { after: 2 }),
    ];
    let model = runtime.block_on(fake(chaos));
    provider(&server, "anthropic", &model.anthropic_base_url());
    let run = server.start_run(AGENT, None, &json!({}));
    server.wait(|| (model.count() == 2).then_some(()));
    server.kill();
    let server = Server::again(&server.data, ALLOW);
    let view = server.ended(&run);
    assert_eq!(view["status"], "succeeded", "{view}\n{:#?}", server.events(&run));
    let asked: Vec<(String, String)> = model.requests()[1..]
        .iter()
        .map(|request| (request.header("idempotency-key").unwrap().to_owned(), text(&request.body)))
        .collect();
    assert_eq!(asked.len(), 3, "stalled, asked again after the crash, tried again");
    assert_eq!(asked[0], asked[1], "the same words under the same key");
    assert!(asked[2].0 != asked[1].0 && asked[2].1.contains("was interrupted"), "{asked:?}");
    let counts = model.key_counts();
    assert_eq!((counts.performed, counts.repeated, counts.refused), (3, 1, 0), "{counts:?}");
    runtime.block_on(model.stop());
}

#[test]
fn harmless_oddities_change_nothing() {
    let succeeds = |view: &Value, _: &[Value]| assert_eq!(view["status"], "succeeded", "{view}");
    for fault in
        [Fault::Pieces { bytes: 1 }, Fault::Comments, Fault::WrongContentType, Fault::DuplicateStart { after: 1 }]
    {
        ends(&format!("{fault:?}"), vec![Chaos::always(fault)], succeeds);
    }
}

#[test]
fn what_does_not_pass_fails_with_a_stable_code() {
    ends("quota", vec![Chaos::always(Fault::Quota)], fails);
    ends("500 for ever", vec![Chaos::always(Fault::Status { status: 500, delay: Delay::Milliseconds(10) })], fails);
    ends("never again", vec![Chaos::always(Fault::Status { status: 429, delay: Delay::Never })], fails);
    ends("overflow", vec![Chaos::always(Fault::Overflow)], |view, _| {
        assert_eq!(view["error"]["code"], "context_overflow", "{view}");
    });
}

#[test]
fn a_stalled_provider_does_not_outlive_the_run() {
    let runtime = runtime();
    let server = Server::start(ALLOW);
    for fault in [Fault::Stall { after: 2 }, Fault::SlowHeaders { ms: u64::MAX }] {
        let model = runtime.block_on(fake(vec![Chaos::always(fault)]));
        let name = format!("p{}", model.address().port());
        let body = json!({"name": name, "kind": "anthropic", "base_url": model.anthropic_base_url(), "api_key": KEY});
        assert_eq!(server.post("/v1/model_providers", &body).0, 201);
        let run = server.start_run(AGENT, None, &json!({"model": format!("{name}/m"), "limits": {"timeout_s": 2}}));
        assert_eq!(server.ended(&run)["status"], "timed_out");
        runtime.block_on(model.stop());
    }
}

#[test]
fn private_addresses_are_refused_unless_allowed() {
    let server = Server::start(&[]);
    for base_url in [
        "http://127.0.0.1:9/v1",
        "https://169.254.169.254/v1",
        "https://[::1]/v1",
        "http://2130706433/v1",
        "https://metadata.google.internal/v1",
    ] {
        let (status, problem) = server
            .post("/v1/model_providers", &json!({"name": "x", "kind": "openai_compatible", "base_url": base_url}));
        assert_eq!(status, 422, "{base_url}: {problem}");
        assert_eq!(problem["errors"][0]["pointer"], "/base_url", "{base_url}");
    }
    assert_eq!(server.get("/v1/model_providers").1["data"], json!([]));
}
