//! The receiver: published vectors, rejections, and deliveries over a socket.

use std::net::SocketAddr;
use std::time::Duration;

use livery_testkit::WebhookSink;
use livery_testkit::webhook_sink::SignatureError;
use livery_testkit::webhook_sink::verify::verify;

const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const SIGNATURE: &str = "v1,CZeVJOuwTlLz1cad1A6yPDaiovJW4NzAWVJjvhWW0gc=";
const BODY: &[u8] = br#"{"type":"run.completed"}"#;
const AT: u64 = 1_767_225_600;

fn check(secret: &str, timestamp: &str, signatures: &str, now_s: u64) -> Result<(), SignatureError> {
    verify(secret, "msg_livery_vector_1", timestamp, BODY, signatures, now_s)
}

#[test]
fn vectors() {
    let library = verify(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "1614265330",
        br#"{"test": 2432232314}"#,
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        1_614_265_330,
    );
    assert_eq!(library, Ok(()));
    assert_eq!(check(SECRET, "1767225600", SIGNATURE, AT + 300), Ok(()));
    let rotated = format!("v1,AAAA v1a,zzzz {SIGNATURE}");
    assert_eq!(check(SECRET, "1767225600", &rotated, AT), Ok(()));
}

#[test]
fn rejections() {
    use SignatureError::{Mismatch, Secret, Stale, Timestamp};
    let table = [
        (check(SECRET, "1767225600", SIGNATURE, AT + 301), Stale(301)),
        (check(SECRET, "1767225600", SIGNATURE, AT - 301), Stale(301)),
        (check(SECRET, "soon", SIGNATURE, AT), Timestamp),
        (check("", "1767225600", SIGNATURE, AT), Secret),
        (check("whsec_", "1767225600", SIGNATURE, AT), Secret),
        (check("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", "1767225600", SIGNATURE, AT), Secret),
        (check(SECRET, "1767225601", SIGNATURE, AT), Mismatch),
        (check(SECRET, "1767225600", &SIGNATURE.replace("v1,", "v2,"), AT), Mismatch),
        (check(SECRET, "1767225600", &SIGNATURE.replace('C', "D"), AT), Mismatch),
        (check(SECRET, "1767225600", "", AT), Mismatch),
    ];
    for (number, (outcome, expected)) in table.into_iter().enumerate() {
        assert_eq!(outcome, Err(expected), "row {number}");
    }
}

#[tokio::test]
async fn deliveries_are_kept_and_answered_as_told() {
    let sink = WebhookSink::start_with([500, 410]).await.unwrap();
    let url = sink.url();
    let address: SocketAddr = url.trim_start_matches("http://").trim_end_matches("/hook").parse().unwrap();
    let headers =
        [("webhook-id", "msg_livery_vector_1"), ("webhook-timestamp", "1767225600"), ("webhook-signature", SIGNATURE)];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(
            crate::client::post(address, "/hook", headers.clone(), BODY.to_vec()).await.unwrap().status().as_u16(),
        );
    }
    assert_eq!(statuses, [500, 410, 204]);
    let deliveries = sink.wait_for(3, Duration::from_secs(5)).await.unwrap();
    assert_eq!(deliveries.iter().map(|delivery| delivery.status).collect::<Vec<_>>(), [500, 410, 204]);
    assert_eq!(deliveries[0].json()["type"], "run.completed");
    // The vector is from another day: everything but its age is right.
    assert!(matches!(deliveries[0].verify(SECRET), Err(SignatureError::Stale(_))));
    assert!(sink.wait_for(4, Duration::from_millis(50)).await.is_none());
    sink.stop().await;
}
