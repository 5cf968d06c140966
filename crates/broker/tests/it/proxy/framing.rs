//! Group E: bytes that two readers could read differently, and too many of them. What counts is what the upstream received.

use super::*;
use crate::upstream::answer;

/// One whole, unambiguous request: one head, one length, and as many bytes.
fn is_plain(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    let head = head.to_ascii_lowercase();
    let lengths: Vec<&str> = head.lines().filter_map(|line| line.strip_prefix("content-length: ")).collect();
    let lines_are_whole = head.split("\r\n").all(|line| !line.contains('\n') && !line.contains('\r'));
    let length_is_right = match lengths.as_slice() {
        [] => body.is_empty(),
        [length] => length.parse() == Ok(body.len()),
        _ => false,
    };
    lines_are_whole && length_is_right && !head.contains("transfer-encoding") && !head.contains("smuggled")
}

#[tokio::test]
async fn e1_framing_with_two_readings_is_refused_or_made_plain() {
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    let huge_extension = format!("Transfer-Encoding: chunked\r\n\r\n1;{}\r\na\r\n0\r\n\r\n", "x".repeat(70_000));
    for tail in [
        // Content-Length and Transfer-Encoding together, both ways around.
        format!("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{smuggled}"),
        // Codings that are not the one.
        format!("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        // Lengths.
        "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello".to_owned(),
        format!("Content-Length: 5\r\nContent-Length: 0\r\n\r\n{smuggled}"),
        "Content-Length: +5\r\n\r\nhello".to_owned(),
        "Content-Length: 0x5\r\n\r\nhello".to_owned(),
        "Content-Length: 5, 5\r\n\r\nhello".to_owned(),
        "Content-Length: 99999999999999999999999\r\n\r\nhello".to_owned(),
        "Content-Length: -1\r\n\r\nhello".to_owned(),
        // Lines.
        format!("X-A: 1\n\n{smuggled}"),
        "X-A: 1\r\n folded: 2\r\n\r\n".to_owned(),
        "X-A : 1\r\n\r\n".to_owned(),
        "X-A: a\0b\r\n\r\n".to_owned(),
        "X-A: a\rX-B: b\r\n\r\n".to_owned(),
        ": empty\r\n\r\n".to_owned(),
        // Chunks.
        format!("Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{smuggled}"),
        format!("Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding: chunked\r\n\r\n-1\r\na\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n{smuggled}"),
        "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nAuthorization: Bearer smuggled\r\n\r\n".to_owned(),
        huge_extension,
    ] {
        let scene = Scene::new(vec![vec![answer("{}")]]).await;
        let mut stream = scene.tls().await;
        send(&mut stream, format!("POST /x HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{tail}", scene.authority()))
            .await;
        stream.shutdown().await.unwrap_or_default();
        let answer = rest(&mut stream).await;
        let requests = scene.requests();
        assert!(requests.len() <= 1 && requests.iter().all(|one| is_plain(one)), "{tail:?}: {requests:?}");
        if requests.is_empty() {
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{tail:?}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_chunked_body_arrives_as_one_with_its_length() {
    let scene = Scene::new(vec![vec![answer("{}")]]).await;
    let head = format!(
        "POST /x HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n",
        scene.authority()
    );
    let answer = scene.ask(format!("{head}\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let request = scene.requests().pop().unwrap();
    assert!(request.ends_with("\r\n\r\nabcde") && request.contains("content-length: 5\r\n"), "{request}");
}

/// `Expect: 100-continue` is answered here, and goes no further.
#[tokio::test]
async fn an_expectation_is_answered_by_the_proxy() {
    let scene = Scene::new(vec![vec![answer("{}")]]).await;
    let mut stream = scene.tls().await;
    let head = format!("POST / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", scene.authority());
    send(&mut stream, format!("{head}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")).await;
    assert!(super::head(&mut stream).await.starts_with("HTTP/1.1 100 "));
    send(&mut stream, "hello").await;
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 200 "));
    assert!(!scene.requests()[0].to_ascii_lowercase().contains("expect"));
}

/// E5: heads without end are cut off in bounded memory, however they are made.
#[tokio::test]
async fn e5_heads_beyond_the_limits_are_refused() {
    let scene = Scene::new(vec![vec![answer("{}")]]).await;
    let many = "x-a: 1\r\n".repeat(10_000);
    let long = format!("x-a: {}\r\n", "a".repeat(100_000));
    for headers in [&many, &long] {
        let answer = scene.ask(get(&scene, "/", headers)).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    let answer = scene.ask(get(&scene, &format!("/{}", "a".repeat(9 * 1024)), "")).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    // The same before any tunnel.
    let mut stream = scene.connect();
    send(&mut stream, format!("CONNECT {} HTTP/1.1\r\n{many}\r\n", scene.authority())).await;
    let answer = rest(&mut stream).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert_eq!(scene.upstream.seen().connections, 0);
}

/// E7: an answer that breaks off is broken off, never a shorter answer.
#[tokio::test]
async fn e7_an_answer_that_breaks_off_does_not_look_whole() {
    for framing in ["content-length: 100", "transfer-encoding: chunked"] {
        let piece = if framing.starts_with('t') { "4\r\npart\r\n" } else { "part" };
        let begun = Step::Write(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{piece}").into_bytes());
        let scene = Scene::new(vec![vec![begun, Step::Close]]).await;
        let answer = scene.ask(get(&scene, "/", "")).await;
        let ends_whole = answer.ends_with("0\r\n\r\n") || answer.to_ascii_lowercase().contains("content-length: 4\r\n");
        assert!(!ends_whole, "{framing}: {answer}");
    }
}
