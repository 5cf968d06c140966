//! A node does what its roles say, and nothing else.

use std::time::Duration;

use serde_json::{Value, json};

use super::duties::schedule;
use super::{Cluster, TALK, TALKER, WebhookSink, eventually, node_id, probe, readiness, seen};
use crate::support::{PATIENCE, livery, output, text};

/// How long something that must not happen is waited for.
const QUIET: Duration = Duration::from_secs(2);

#[test]
fn each_node_does_what_its_roles_say() {
    let Some(cluster) = Cluster::start() else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sink = runtime.block_on(WebhookSink::start()).unwrap();
    let edge = cluster.node("edge", &["--roles", "api"]);
    let (status, endpoint) = edge.post("/v1/webhooks", &json!({"url": sink.url(), "events": ["run.*"]}));
    assert_eq!(status, 201, "{endpoint}");
    schedule(&edge, "yearly");
    cluster.make_due();
    let run = edge.start_run(TALKER, Some(TALK), &json!({}));
    std::thread::sleep(QUIET);
    let (_, view) = edge.get(&format!("/v1/runs/{run}"));
    assert_eq!(view["status"], "queued", "nobody works: {view}");
    assert_eq!(cluster.fired(), 0, "nobody looks at the clock");

    let hands = cluster.node("hands", &["--roles", "worker"]);
    assert_eq!(edge.ended(&run)["status"], "succeeded");
    assert_eq!(seen(&edge, &run, "run.started", 1)["data"]["node"], node_id(&hands));
    readiness(&hands, 200);
    assert_eq!(probe(&hands, "/healthz").unwrap().0, 200);
    assert_eq!(hands.get("/metrics").0, 200, "with a key");
    assert_eq!(probe(&hands, "/metrics").unwrap().0, 401, "without");
    for path in ["/v1/runs", "/v1/nodes", "/v1/openapi.json", "/docs", "/", &format!("/v1/runs/{run}/events")] {
        let (status, problem) = hands.get(path);
        assert_eq!((status, &problem["code"]), (404, &json!("not_found")), "{path}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains("does not serve the API"), "{problem}");
    }
    let (status, problem) = hands.post("/v1/runs", &json!({"agent": "talker"}));
    assert_eq!(status, 404, "{problem}");
    std::thread::sleep(QUIET);
    assert!(sink.deliveries().is_empty(), "nobody delivers");
    assert_eq!(cluster.fired(), 0, "nobody looks at the clock");

    let _post = cluster.node("post", &["--roles", "delivery"]);
    assert!(runtime.block_on(sink.wait_for(2, PATIENCE)).is_some(), "what waited is delivered");
    assert_eq!(cluster.fired(), 0, "nobody looks at the clock");
    cluster.make_due();
    let _clock = cluster.node("clock", &["--roles", "maintenance"]);
    eventually("the schedule fires", || (cluster.fired() == 1).then_some(()));
    let (_, page) = edge.get("/v1/nodes");
    let mut listed: Vec<(&Value, &Value)> =
        page["data"].as_array().unwrap().iter().map(|node| (&node["name"], &node["roles"])).collect();
    listed.sort_by_key(|(name, _)| name.as_str());
    let expected = [("clock", "maintenance"), ("edge", "api"), ("hands", "worker"), ("post", "delivery")];
    let expected = expected.map(|(name, role)| (json!(name), json!([role])));
    assert_eq!(listed, expected.iter().map(|(name, roles)| (name, roles)).collect::<Vec<_>>());
}

#[test]
fn roles_that_are_none_are_bad_usage() {
    for (roles, said) in
        [("", "a role is missing"), ("api,,worker", "a role is missing"), ("brain", "`brain` is no role")]
    {
        let refused = output(livery().args(["up", "--roles", roles, "--data", "/nonexistent/livery"]));
        let words = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{roles}: {words}");
        assert!(words.contains(said) && words.contains("api, worker, delivery and maintenance"), "{roles}: {words}");
    }
}
