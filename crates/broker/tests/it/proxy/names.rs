//! Group B: whom a request is for. And what cuts a connection.

use livery_broker::proxy::{Lifetime, Proxy};

use super::*;
use crate::upstream::answer;

#[tokio::test]
async fn a_request_goes_out_with_the_key_and_comes_back_without() {
    let echoed = format!("{{\"you_sent\":\"{KEY}\"}}");
    let head =
        format!("HTTP/1.1 200 OK\r\nx-kept: yes\r\nalt-svc: h3\r\nstrict-transport-security: x\r\nx-echo: {KEY}\r\n");
    let script = vec![Step::Write(format!("{head}content-length: {}\r\n\r\n{echoed}", echoed.len()).into_bytes())];
    let scene = Scene::new(vec![script]).await;
    let bearer = format!("Authorization: Bearer {}\r\nAccept: */*\r\n", scene.placeholder.as_str());
    let answer = scene.ask(get(&scene, "/v1/charges?limit=3", &bearer)).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("x-kept: yes\r\n"), "{answer}");
    assert!(!answer.contains(KEY) && answer.contains("[REDACTED:"), "{answer}");
    assert!(!answer.contains("alt-svc") && !answer.contains("strict-transport-security"), "{answer}");
    let request = scene.requests().pop().unwrap();
    assert!(request.starts_with("GET /v1/charges?limit=3 HTTP/1.1\r\n"), "{request}");
    assert!(
        request.contains(&format!("\r\nauthorization: Bearer {KEY}\r\n")) && !request.contains("lvp_"),
        "{request}"
    );
    assert!(request.contains(&format!("\r\nhost: {}\r\n", scene.authority())), "{request}");
    assert_eq!(scene.findings(), Vec::<&str>::new());
}

#[tokio::test]
async fn r3_a_host_without_a_rule_is_refused_before_any_tunnel() {
    let scene = Scene::new(vec![vec![answer("{}")]]).await;
    let port = scene.upstream.address.port();
    let others = [
        format!("evil.localhost:{port}"),
        format!("{HOST}:443"),
        format!("127.0.0.1:{port}"),
        "169.254.169.254:443".into(),
    ];
    for other in others {
        let mut stream = scene.connect();
        send(&mut stream, format!("CONNECT {other} HTTP/1.1\r\nhost: {other}\r\n\r\n")).await;
        let refused = rest(&mut stream).await;
        assert!(refused.starts_with("HTTP/1.1 403 "), "{other}: {refused}");
    }
    assert_eq!((scene.findings().len(), scene.upstream.seen().connections), (4, 0));
}

/// B7, B11, and everything else that is no `CONNECT`.
#[tokio::test]
async fn what_is_no_request_to_a_proxy_is_refused() {
    let scene = Scene::new(vec![vec![answer("{}")]]).await;
    let authority = scene.authority();
    let port = scene.upstream.address.port();
    for line in [
        format!("CONNECT user@{authority} HTTP/1.1\r\nhost: {authority}"),
        format!("CONNECT {HOST} HTTP/1.1\r\nhost: {HOST}"),
        format!("CONNECT {HOST}:22 HTTP/1.1\r\nhost: {HOST}:22"),
        format!("CONNECT 127.1:{port} HTTP/1.1\r\nhost: 127.1:{port}"),
        format!("CONNECT 2130706433:{port} HTTP/1.1\r\nhost: x"),
        format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\nhost: {authority}"),
        format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\ncontent-length: 5"),
        format!("CONNECT {authority} HTTP/1.1\r\nhost: evil.localhost"),
        format!("GET / HTTP/1.1\r\nhost: {authority}"),
        format!("GET https://{authority}/ HTTP/1.1\r\nhost: {authority}"),
        format!("GET ftp://{authority}/ HTTP/1.1\r\nhost: {authority}"),
        format!("GET http://user:pass@{authority}/ HTTP/1.1\r\nhost: {authority}"),
        "OPTIONS * HTTP/1.1\r\nhost: x".to_owned(),
    ] {
        let mut stream = scene.connect();
        send(&mut stream, format!("{line}\r\n\r\n")).await;
        let refused = rest(&mut stream).await;
        assert!(refused.starts_with("HTTP/1.1 4"), "{line}: {refused}");
    }
    assert_eq!(scene.upstream.seen().connections, 0);
}

#[tokio::test]
async fn b2_another_host_inside_the_tunnel_is_refused() {
    let scene = Scene::new(vec![vec![answer("{}")]]).await;
    let port = scene.upstream.address.port();
    for host in
        ["evil.localhost", &format!("evil.localhost:{port}"), HOST, &format!("{HOST}:1"), "", "a b", "api.localhost@x"]
    {
        let answer = scene.ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 421 ") || answer.starts_with("HTTP/1.1 400 "), "{host}: {answer}");
    }
    let twice = format!("Host: {}\r\n", scene.authority());
    assert!(scene.ask(get(&scene, "/", &twice)).await.starts_with("HTTP/1.1 400 "), "two hosts");
    assert!(scene.ask("GET / HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 400 "), "no host");
    assert_eq!(scene.upstream.seen().connections, 0);
}

#[tokio::test]
async fn b3_another_name_or_none_in_the_first_message_closes_the_tunnel() {
    let scene = Scene::new(vec![vec![answer("{}")]]).await;
    for name in ["evil.localhost", "localhost", "127.0.0.1"] {
        assert!(scene.tls_as(name, &[b"http/1.1"]).await.is_err(), "{name}");
    }
    assert_eq!(scene.findings(), ["name_mismatch", "name_mismatch", "tls_name_unreadable"]);
    // No TLS at all is no way around it.
    let mut stream = scene.tunnel().await;
    send(&mut stream, get(&scene, "/", "")).await;
    assert_eq!(rest(&mut stream).await, "");
    assert_eq!(scene.upstream.seen().connections, 0);
}

#[tokio::test]
async fn b4_an_absolute_url_that_is_not_its_host_is_refused() {
    let scene = Scene::new(vec![vec![answer("{}")]]).await;
    let authority = scene.authority();
    for url in
        ["https://evil.localhost/", &format!("http://{authority}/"), &format!("https://{HOST}/"), "https://user@x/"]
    {
        let answer = scene.ask(format!("GET {url} HTTP/1.1\r\nHost: {authority}\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{url}: {answer}");
    }
    // The same outside of a tunnel, in plain text.
    let mut stream = scene.connect();
    send(&mut stream, format!("GET http://{authority}/ HTTP/1.1\r\nHost: evil.localhost\r\n\r\n")).await;
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 421 "));
    assert_eq!(scene.upstream.seen().connections, 0);
    // One that agrees is the same request.
    let same = format!("GET https://{authority}/a HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    assert!(scene.ask(same).await.starts_with("HTTP/1.1 200 "));
    assert!(scene.requests()[0].starts_with("GET /a HTTP/1.1\r\n"));
}

/// B12: the guard lets nothing go out in plain text but to private networks the operator allowed, and never with a credential
/// whose connection says https; without a rule for the port there is not even a question.
#[tokio::test]
async fn b12_plain_http_to_an_https_host_is_refused() {
    let scene = Scene::new(vec![vec![answer("{}")]]).await;
    let mut stream = scene.connect();
    send(&mut stream, format!("GET http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 403 "));
    assert_eq!(scene.upstream.seen().connections, 0);
}

#[tokio::test]
async fn b6_a_later_request_on_the_same_connection_is_judged_again() {
    let scene = Scene::new(vec![vec![answer("{}")]]).await;
    let mut stream = scene.tls().await;
    let one = format!("GET /one HTTP/1.1\r\nHost: {}\r\n\r\n", scene.authority());
    let other = "GET /two HTTP/1.1\r\nHost: evil.localhost\r\n\r\n";
    send(&mut stream, format!("{one}{other}{one}")).await;
    let all = rest(&mut stream).await;
    assert_eq!((all.matches("HTTP/1.1 200 ").count(), all.matches("HTTP/1.1 421 ").count()), (1, 1), "{all}");
    assert_eq!(scene.requests().len(), 1);
    assert!(!scene.requests()[0].contains("evil"));
}

#[tokio::test]
async fn b13_what_speaks_for_others_is_stripped() {
    let scene = Scene::new(vec![vec![answer("{}")]]).await;
    let forwarding = "X-Forwarded-Host: evil\r\nX-Forwarded-For: 1.2.3.4\r\nForwarded: host=evil\r\nVia: 1.1 evil\r\n\
        Connection: x-nominated\r\nX-Nominated: evil\r\nProxy-Authorization: Basic ZXZpbA==\r\nX-HTTP-Method-Override: DELETE\r\n";
    let answer = scene.ask(get(&scene, "/", forwarding)).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let request = scene.requests().pop().unwrap().to_ascii_lowercase();
    assert!(!request.contains("evil") && !request.contains("forwarded") && !request.contains("override"), "{request}");
    // A PROXY preamble is no request.
    let mut stream = scene.connect();
    send(&mut stream, "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\n\r\n").await;
    let answer = rest(&mut stream).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

/// C4: one word from the gate, and what is open is cut, answers under way too.
#[tokio::test]
async fn c4_a_revocation_cuts_what_is_open() {
    let begun = Step::Write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart".to_vec());
    let scene = Scene::new(vec![vec![begun, Step::Stall]]).await;
    let mut busy = scene.tls().await;
    send(&mut busy, get(&scene, "/", "")).await;
    assert!(head(&mut busy).await.starts_with("HTTP/1.1 200 "));
    let mut idle = scene.tunnel().await;
    scene.proxy.gate().revoked.notify_waiters();
    assert!(!rest(&mut busy).await.contains("HTTP"), "cut in the middle of its body");
    assert_eq!(rest(&mut idle).await, "");
    scene.upstream.peer_closed().await;
}

/// A run that may reach nothing has no authority, and a tunnel never opens.
#[tokio::test]
async fn nothing_to_reach_is_nothing_to_trust() {
    let scene = Scene::new(vec![vec![answer("{}")]]).await;
    let gate = Keyed { broker: broker(None), port: 1, findings: Mutex::default(), revoked: Notify::new() };
    let lifetime = Lifetime { now_s: 0, left: Duration::from_secs(1) };
    let proxy = Proxy::new(gate, Vec::new(), Placeholders::default(), lifetime).unwrap();
    assert!(proxy.authority_pem().is_none());
    let (mut near, far) = tokio::io::duplex(4096);
    let authority = scene.authority();
    send(&mut near, format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n\r\n")).await;
    let (_, answer) = tokio::join!(proxy.serve(far), rest(&mut near));
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}
