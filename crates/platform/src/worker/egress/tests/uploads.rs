//! Bodies on their way up: short ones are there before anything is sent, long ones are sent while they come.

use livery_core::EventType;
use livery_core::canonical::sha256_hex;
use serde_json::json;

use super::scene::Scene;

const LARGE: usize = 1 << 20;

/// A body with a length and one without arrive as they are, and their account is in the log.
#[tokio::test]
async fn a_long_body_is_sent_while_it_comes() {
    let scene = Scene::new().await;
    let body = vec![b'b'; LARGE];
    let head = scene.request("PUT", "/x", &format!("Content-Length: {LARGE}\r\n"));
    let answer = scene.say([head.as_bytes(), &body].concat()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let seen = scene.upstream.seen().remove(0);
    assert!(seen.head.contains(&format!("\r\ncontent-length: {LARGE}\r\n")), "{}", seen.head);
    assert_eq!((seen.whole, seen.body.len()), (true, LARGE));
    let finished = &scene.told(EventType::EgressFinished, 1).await[0];
    assert_eq!(
        (&finished["request_bytes"], &finished["request_body_sha256"]),
        (&json!(LARGE), &json!(sha256_hex(&body)))
    );
    let requested = &scene.events(EventType::EgressRequested).await[0];
    assert_eq!((&requested["request_bytes"], &requested["request_sha256"]), (&json!(LARGE), &json!(null)));

    let kind = "Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n";
    let mut chunked = scene.request("POST", "/y", kind).into_bytes();
    for piece in body.chunks(10_000) {
        chunked.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        chunked.extend_from_slice(piece);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    assert!(scene.say(chunked).await.starts_with("HTTP/1.1 200 "));
    assert!(scene.upstream.seen()[1].whole);
}

/// A24: what is found at the far end of a long body breaks it off: the upstream never gets a whole message.
#[tokio::test]
async fn a24_a_placeholder_late_in_a_long_body_breaks_it_off() {
    let scene = Scene::new().await;
    let token = scene.placeholder();
    let mut body = vec![b'b'; LARGE];
    body.extend_from_slice(token.as_bytes());
    body.extend_from_slice(&[b'b'; 1000]);
    let head = scene.request("PUT", "/x", &format!("Content-Length: {}\r\n", body.len()));
    let answer = scene.say([head.as_bytes(), &body].concat()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 403 "), "{answer}");
    let seen = scene.upstream.saw(1).await.remove(0);
    assert!(!seen.whole && !String::from_utf8_lossy(&seen.body).contains("lvp_"));
    assert_eq!(scene.told(EventType::EgressDenied, 1).await[0]["rule"], "placeholder_in_body");
    assert_ne!(scene.told(EventType::EgressFinished, 1).await[0]["outcome"], "answered");
}

/// E7: a body that says it is too long is refused before anything of it is sent.
#[tokio::test]
async fn e7_a_body_over_the_limit_is_refused() {
    let scene = Scene::new().await;
    let said = scene.ask("PUT", "/x", &format!("Content-Length: {}\r\n", (64 << 20) + 1)).await;
    assert!(said.starts_with("HTTP/1.1 413 "), "{said}");
    assert!(scene.upstream.seen().is_empty());
    assert!(scene.events(EventType::EgressRequested).await.is_empty());
}
