//! A connection that is revoked or rotated, and a run that ends, take what is open with them.

use std::time::{Duration, Instant};

use livery_core::EventType;
use livery_testkit::FakeOauth;
use livery_testkit::fake_oauth::{CLIENT_ID, CLIENT_SECRET};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::scene::{NEXT_KEY, PATIENCE, Scene, assert_absent, until};

/// Opens a stream of events and waits for the first of them.
async fn listen(scene: &Scene) -> DuplexStream {
    let mut stream = scene.connect();
    stream.write_all(scene.request("GET", "/events", "").as_bytes()).await.unwrap();
    let mut text = Vec::new();
    let first = async {
        while !String::from_utf8_lossy(&text).contains("data: 0") {
            assert!(stream.read_buf(&mut text).await.unwrap() > 0);
        }
    };
    tokio::time::timeout(PATIENCE, first).await.expect("the first event comes");
    stream
}

/// Waits until the other side has hung up, and says how long that took.
async fn cut(mut stream: DuplexStream) -> Duration {
    let (begun, mut rest) = (Instant::now(), Vec::new());
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it is cut");
    assert!(!String::from_utf8_lossy(&rest).contains("\r\n0\r\n\r\n"), "what is broken off has no proper end");
    begun.elapsed()
}

/// C4: what is open ends, and nothing more is sent, from the moment it is revoked.
#[tokio::test]
async fn c4_revoking_cuts_what_is_open_and_refuses_the_rest() {
    let scene = Scene::new().await;
    let open = listen(&scene).await;
    scene.revoke().await;
    let refused = scene.ask("GET", "/x", "").await;
    assert!(refused.starts_with("HTTP/1.1 403 ") && refused.contains("credential_unavailable"), "{refused}");
    let took = cut(open).await;
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!(scene.upstream.seen().len(), 1);
    let finished = scene.told(EventType::EgressFinished, 2).await;
    let mut outcomes: Vec<&str> = finished.iter().map(|event| event["outcome"].as_str().unwrap()).collect();
    outcomes.sort_unstable();
    assert_eq!(outcomes, ["credential_unavailable", "revoked"]);
}

/// C4: a request whose answer has not begun is cut as well, outside of a tunnel too.
#[tokio::test]
async fn c4_revoking_cuts_what_waits_for_its_answer() {
    let scene = Scene::new().await;
    let mut waiting = scene.connect();
    waiting.write_all(scene.request("GET", "/never", "").as_bytes()).await.unwrap();
    scene.upstream.saw(1).await;
    scene.revoke().await;
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, waiting.read_to_string(&mut answer)).await.expect("it is cut").unwrap();
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("\"revoked\""), "{answer}");
    assert_eq!(scene.told(EventType::EgressFinished, 1).await[0]["outcome"], "revoked");
}

/// F5: tokens are counted apart from what they are exchanged for. One of few through a connection that was changed often is not old.
#[tokio::test]
async fn f5_a_token_is_as_good_as_the_connection_it_is_exchanged_for() {
    let server = FakeOauth::start("http://127.0.0.1:7400/v1/oauth/callback").await.unwrap();
    let client = json!({"kind": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET});
    let scene = Scene::through(json!({"oauth": {"issuer": server.url()}}), client.clone(), 3, &["crm"]).await;
    // The upstream knows no token, and says so; that is an answer.
    for _ in 0..3 {
        let answer = scene.ask("GET", "/x", "").await;
        assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("no key"), "{answer}");
    }
    for finished in scene.told(EventType::EgressFinished, 3).await {
        assert_eq!((&finished["outcome"], &finished["credential_version"]), (&json!("answered"), &json!(1)));
    }
    // And one of many through a connection that is changed goes with it.
    let gate = scene.egress.proxy.gate();
    let open = gate.watch.of(scene.connection, 3);
    let rotate = serde_json::from_value(json!({"credential": client})).unwrap();
    scene.node.platform.rotate_connection(&scene.node.caller, scene.connection, rotate).await.unwrap();
    tokio::time::timeout(PATIENCE, open.is_old()).await.expect("it is cut");
}

/// F5: a rotation in the middle of an answer ends it; the next request has the new credential.
#[tokio::test]
async fn f5_rotating_cuts_what_is_open_and_the_next_request_has_the_new_one() {
    let scene = Scene::new().await;
    let open = listen(&scene).await;
    scene.rotate(NEXT_KEY).await;
    let answer = scene.ask("GET", "/a1", "").await;
    assert!(answer.contains("[REDACTED:acme]"), "{answer}");
    assert_absent(&answer);
    assert!(scene.upstream.seen()[1].head.contains(NEXT_KEY));
    cut(open).await;
    let finished = scene.told(EventType::EgressFinished, 2).await;
    let of =
        |version: u32| finished.iter().find(|event| event["credential_version"] == version).unwrap()["outcome"].clone();
    assert_eq!((of(1), of(2)), (json!("revoked"), json!("answered")));
}

/// F4: after its end a run sends nothing, and what it had open is cut.
#[tokio::test]
async fn f4_the_end_of_the_run_cuts_what_is_open() {
    let scene = Scene::new().await;
    let open = listen(&scene).await;
    scene.node.platform.running.cancel(scene.row.id);
    until("the run ends", || async { scene.run().await.status.is_terminal() }).await;
    cut(open).await;
    let token = scene.placeholder();
    let refused = scene.ask("GET", "/x", &format!("X-Key: {token}\r\n")).await;
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    assert_eq!(scene.upstream.seen().len(), 1);
}
