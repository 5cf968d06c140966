//! What comes back: without the credential, as it comes, and to its end or with a broken one.

use livery_core::{ErrorCode, EventType, RunStatus};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::scene::{PATIENCE, Scene, assert_absent, until};

/// A1 to A4, A11, A15, A22: whatever comes back, the program and the log see no byte of the key.
#[tokio::test]
async fn a_no_echo_reaches_a_program_or_the_log() {
    for pair in [["/a1", "/a2"], ["/a3", "/a4"], ["/a11", "/a15"], ["/a22", "/x"]] {
        let scene = Scene::new().await;
        for path in pair {
            let answer = scene.ask("GET", path, "").await;
            assert_absent(&answer);
            assert_eq!(answer.contains("[REDACTED:acme]"), path != "/x", "{path}: {answer}");
        }
        scene.told(EventType::EgressFinished, 2).await;
        assert_absent(&scene.log().await);
        let redacted = scene.events(EventType::EgressRedacted).await;
        assert_eq!(redacted.len(), if pair.contains(&"/x") { 1 } else { 2 }, "{pair:?}");
    }
}

/// A4, B1: a redirect is an answer, whose credential is taken out, and is not followed.
#[tokio::test]
async fn b1_a_redirect_is_not_followed() {
    let scene = Scene::new().await;
    let answer = scene.ask("GET", "/a4", "").await;
    assert!(answer.starts_with("HTTP/1.1 302 "), "{answer}");
    assert!(answer.contains("location: https://evil.example/?k=[REDACTED:acme]"), "{answer}");
    assert_eq!(scene.upstream.seen().len(), 1);
}

/// One count for both front ends and all lives: the third place ends the run.
#[tokio::test]
async fn a_credential_that_comes_back_three_times_ends_the_run() {
    let scene = Scene::new().await;
    for path in ["/a1", "/a15", "/a1"] {
        assert_absent(&scene.ask("GET", path, "").await);
    }
    until("the run ends", || async { scene.run().await.status.is_terminal() }).await;
    let row = scene.run().await;
    assert_eq!((row.status, row.error.unwrap().code), (RunStatus::Failed, ErrorCode::Quarantined));
    assert_eq!(scene.events(EventType::EgressRedacted).await.len(), 3);
    let after = scene.ask("GET", "/x", "").await;
    assert!(after.starts_with("HTTP/1.1 403 ") && after.contains("the run is over"), "{after}");
    assert_eq!(scene.upstream.seen().len(), 3);
}

/// R24: an event is there before the upstream has thought of the next one, and is searched all the same.
#[tokio::test]
async fn events_come_one_by_one_and_scrubbed() {
    let scene = Scene::new().await;
    let mut stream = scene.connect();
    stream.write_all(scene.request("GET", "/events", "").as_bytes()).await.unwrap();
    let mut text = Vec::new();
    for n in 0..3 {
        let expected = format!("data: {n} [REDACTED:acme]\n\n");
        let arrived = async {
            while !String::from_utf8_lossy(&text).contains(&expected) {
                assert!(stream.read_buf(&mut text).await.unwrap() > 0, "{}", String::from_utf8_lossy(&text));
            }
        };
        tokio::time::timeout(PATIENCE, arrived).await.expect("an event is not held back");
        scene.upstream.go_on();
    }
    assert_absent(&String::from_utf8_lossy(&text));
}

/// A large answer is passed on while it comes.
#[tokio::test]
async fn a_large_answer_is_not_kept_until_it_is_whole() {
    let scene = Scene::new().await;
    let mut stream = scene.connect();
    stream.write_all(scene.request("GET", "/large", "").as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let read = async {
        while bytes.len() < 1 << 20 {
            assert!(stream.read_buf(&mut bytes).await.unwrap() > 0);
        }
        scene.upstream.go_on();
        stream.read_to_end(&mut bytes).await.unwrap();
    };
    tokio::time::timeout(PATIENCE, read).await.expect("what came is passed on");
    assert_eq!(bytes.iter().filter(|byte| **byte == b'y').count(), 1 << 20);
    let finished = &scene.told(EventType::EgressFinished, 1).await[0];
    assert_eq!((&finished["outcome"], &finished["response_bytes"]), (&json!("answered"), &json!(3 << 20)));
}

/// C3: a request whose program hangs up is in the log with both its sides.
#[tokio::test]
async fn who_hangs_up_leaves_no_request_without_its_end() {
    let scene = Scene::new().await;
    let mut waiting = scene.connect();
    waiting.write_all(scene.request("POST", "/never", "Content-Length: 0\r\n").as_bytes()).await.unwrap();
    scene.upstream.saw(1).await;
    drop(waiting);
    let mut reading = scene.connect();
    reading.write_all(scene.request("GET", "/events", "").as_bytes()).await.unwrap();
    scene.upstream.saw(2).await;
    let mut first = [0; 16];
    tokio::time::timeout(PATIENCE, reading.read_exact(&mut first)).await.unwrap().unwrap();
    drop(reading);
    let finished = scene.told(EventType::EgressFinished, 2).await;
    assert!(finished.iter().all(|event| event["outcome"] == "client_gone"), "{finished:?}");
}
