//! Hosts that the agent names, without a credential: whatever leaves is in the log, as it is for connections.

use livery_core::EventType;
use livery_core::agent::Network;
use serde_json::{Value, json};

use super::scene::{PATIENCE, Scene};
use crate::worker::egress::Egress;

/// A way out to these hosts, and no connection's.
async fn way(scene: &Scene, hosts: &[String]) -> Egress {
    let network = Network::Allow(hosts.to_vec());
    Egress::of(&scene.node.platform, &scene.row, &network, PATIENCE).await.unwrap().unwrap()
}

fn request(method: &str, host: &str, path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} http://{host}{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// C3: the upstream's own count and the transcript agree, with every fact and no value.
#[tokio::test]
async fn what_goes_to_a_named_host_is_in_the_log_before_it_leaves() {
    let scene = Scene::new().await;
    let host = format!("api.localhost:{}", scene.upstream.address.port());
    let egress = way(&scene, std::slice::from_ref(&host)).await;
    let posted = request("POST", &host, "/things?q=a-v4lue-of-a-parameter", "a-v4lue-of-a-body");
    let answer = scene.say_by(&egress, posted).await;
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.ends_with("no key"), "{answer}");
    scene.say_by(&egress, request("GET", &host, "/", "")).await;
    let (requested, finished) =
        (scene.told(EventType::EgressRequested, 2).await, scene.told(EventType::EgressFinished, 2).await);
    let seen = scene.upstream.seen();
    assert_eq!((seen.len(), requested.len(), finished.len()), (2, 2, 2));
    assert!(seen[0].logged.iter().any(|name| name == "egress.requested"), "{:?}", seen[0].logged);
    let nobodys = ["slot", "connection", "name", "connector"].map(|field| requested[0][field].clone());
    assert_eq!(nobodys, [Value::Null, Value::Null, Value::Null, Value::Null]);
    let facts = ["front_end", "rule", "method", "scheme", "host", "port", "path", "query_keys", "request_bytes"];
    let facts = facts.map(|field| requested[0][field].clone());
    let port = scene.upstream.address.port();
    let wanted = json!(["proxy", "network", "POST", "http", "api.localhost", port, "/things", ["q"], 17]);
    assert_eq!(json!(facts), wanted);
    assert_eq!(requested[0]["request_sha256"].as_str().map(str::len), Some(64));
    let end = ["outcome", "status", "response_bytes", "credential_version"].map(|field| finished[0][field].clone());
    assert_eq!(json!(end), json!(["answered", 401, 6, null]));
    let log = scene.log().await;
    assert!(!log.contains("a-v4lue") && !log.contains("no key"), "{log}");
}

#[tokio::test]
async fn what_does_not_arrive_is_told_and_what_may_not_leave_is_not_asked_for() {
    let scene = Scene::new().await;
    let nowhere = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("api.localhost:{}", listener.local_addr().unwrap().port())
    };
    let egress = way(&scene, std::slice::from_ref(&nowhere)).await;
    let answer = scene.say_by(&egress, request("GET", &nowhere, "/", "")).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    let finished = &scene.told(EventType::EgressFinished, 1).await[0];
    assert_eq!((&finished["sent"], &finished["outcome"]), (&json!(false), &json!("connect_failed")));
    let answer = scene.say_by(&egress, request("GET", "other.localhost:8080", "/", "")).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    let denied = &scene.told(EventType::EgressDenied, 1).await[0];
    assert_eq!((&denied["rule"], &denied["host"]), (&json!("host_not_allowed"), &json!("other.localhost")));
    assert_eq!(scene.events(EventType::EgressRequested).await.len(), 1);
}
