//! The key coming back: in the body at every cut, in headers, in errors; and tokens that are not late for it.

use std::sync::Arc;

use livery_broker::scrub::HOLD_BACK_BYTES;
use tokio::sync::Notify;

use crate::call::{KEY, MARKER, broker, credential, post, text};
use crate::upstream::{SOON, Step, Upstream, chunk, chunked, write};

#[tokio::test]
async fn an_echo_is_redacted_wherever_the_stream_is_cut() {
    let broker = broker();
    for content_type in ["application/json", "text/event-stream", "application/x-ndjson"] {
        let body = format!("data: {{\"error\":\"bad key {KEY}\"}}\n\n");
        let script = (1..body.len())
            .map(|at| {
                let (head, tail) = body.as_bytes().split_at(at);
                vec![chunked(content_type, [head, tail])]
            })
            .collect();
        let upstream = Upstream::start(script).await;
        for at in 1..body.len() {
            let inbound = broker.send(post(&upstream.url())).await.unwrap();
            assert_eq!(text(inbound).await.unwrap(), body.replace(KEY, MARKER), "{content_type} cut at {at}");
        }
    }
}

#[tokio::test]
async fn a2_an_echo_in_a_relayed_header_is_redacted_and_counted() {
    let head = format!(
        "HTTP/1.1 401 Unauthorized\r\nx-request-id: {KEY}\r\nlink: <https://evil.example/?k={KEY}>\r\nx-echo: {KEY}\r\n\
         www-authenticate: Bearer {KEY}\r\nset-cookie: k={KEY}\r\ncontent-length: {}\r\n\r\n{KEY}",
        KEY.len()
    );
    let upstream = Upstream::start(vec![vec![write(head)]]).await;
    let mut inbound = broker().send(post(&upstream.url())).await.unwrap();
    assert_eq!(inbound.headers["x-request-id"], MARKER);
    assert_eq!(inbound.headers["link"], format!("<https://evil.example/?k={MARKER}>"));
    assert!(!format!("{inbound:?}").contains(KEY));
    assert_eq!(inbound.body.next().await.unwrap().unwrap(), MARKER);
    assert_eq!(inbound.body.redactions(), 3);
    assert!(inbound.body.next().await.is_none());
}

/// A2: a name is as good as a value. Names come in lower case, and the key in any spelling that a name can have.
#[tokio::test]
async fn a2_the_key_in_the_name_of_a_header_does_not_come_back() {
    let hex: String = KEY.bytes().map(|byte| format!("{byte:02x}")).collect();
    let reversed: String = KEY.to_lowercase().chars().rev().collect();
    let head = format!(
        "HTTP/1.1 200 OK\r\nx-{KEY}: 1\r\n{hex}: 2\r\nX-{}: 3\r\nx_{}: 4\r\nx-fine-and-long-enough: 5\r\ncontent-length: 0\r\n\r\n",
        &KEY[8..24],
        &KEY[8..23]
    );
    let upstream = Upstream::start(vec![vec![write(head)]]).await;
    let mut call = post(&upstream.url());
    call.relayed = livery_broker::Relayed::All;
    let inbound = broker().send(call).await.unwrap();
    let mut names: Vec<&str> = inbound.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["x-fine-and-long-enough", format!("x_{}", &KEY[8..23].to_lowercase()).as_str()]);
    let places: Vec<String> = inbound.findings.iter().map(|finding| finding.place.to_string()).collect();
    assert_eq!(places, ["header_name"; 3]);
    assert!(!format!("{:?}", inbound.findings).contains(&reversed[..16]));
}

#[tokio::test]
async fn each_event_is_delivered_before_the_next_one_is_sent() {
    let gate = Arc::new(Notify::new());
    let mut script =
        vec![write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")];
    for n in 0..20 {
        script.push(write(chunk(format!("event: delta\ndata: {{\"n\":{n}}}\n\n").as_bytes())));
        script.push(Step::Gate(Arc::clone(&gate)));
    }
    script.push(write("0\r\n\r\n"));
    let upstream = Upstream::start(vec![script]).await;
    let mut inbound = broker().send(post(&upstream.url())).await.unwrap();
    for n in 0..20 {
        let piece = tokio::time::timeout(SOON, inbound.body.next()).await.expect("the event is late").unwrap().unwrap();
        assert_eq!(piece, format!("event: delta\ndata: {{\"n\":{n}}}\n\n"));
        gate.notify_one();
    }
    assert!(inbound.body.next().await.is_none());
}

#[tokio::test]
async fn f3_two_keys_of_different_length_give_the_same_bytes() {
    let mut seen = Vec::new();
    for key in ["short-key-0123456789", &"a-much-longer-key-9876543210-".repeat(7)] {
        let body = format!("{}{key}{}", "x".repeat(3000), "y".repeat(3000));
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nlink: <{key}>\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let upstream = Upstream::start(vec![vec![write(head), write(body)]]).await;
        let mut call = post(&upstream.url());
        call.credential = Some(credential(key));
        let inbound = broker().send(call).await.unwrap();
        let headers = format!("{:?}", inbound.headers);
        seen.push((headers, text(inbound).await.unwrap()));
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0].1, format!("{}{MARKER}{}", "x".repeat(3000), "y".repeat(3000)));
}

#[tokio::test]
async fn an_unframed_body_keeps_back_a_fixed_tail_and_releases_it_at_the_end() {
    let gate = Arc::new(Notify::new());
    let upstream = Upstream::start(vec![vec![
        write("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"),
        write(chunk(&[b'x'; 3000])),
        Step::Gate(Arc::clone(&gate)),
        write("0\r\n\r\n"),
    ]])
    .await;
    let mut inbound = broker().send(post(&upstream.url())).await.unwrap();
    assert_eq!(inbound.body.next().await.unwrap().unwrap().len(), 3000 - HOLD_BACK_BYTES);
    gate.notify_one();
    assert_eq!(inbound.body.next().await.unwrap().unwrap().len(), HOLD_BACK_BYTES);
    assert!(inbound.body.next().await.is_none());
}

#[tokio::test]
async fn a_dummy_key_is_sent_and_said_to_be_unsearched() {
    let upstream = Upstream::start(vec![vec![chunked("text/plain", [b"this is ollama".as_slice()])]]).await;
    let broker = broker();
    let mut call = post(&upstream.url());
    call.credential = Some(credential("ollama"));
    let inbound = broker.send(call).await.unwrap();
    assert!(!inbound.scrubbed);
    assert_eq!(text(inbound).await.unwrap(), "this is ollama");
    assert!(broker.send(post(&upstream.url())).await.unwrap().scrubbed);
}
