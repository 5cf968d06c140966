//! Placeholders where they do not belong, and upstreams that are not who they say.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, date_time_ymd};

use super::*;
use crate::upstream::answer;

/// R4, A24: an API that would store what it is sent does not get the placeholder, in whatever spelling, however it is cut.
#[tokio::test]
async fn a24_a_placeholder_in_a_body_is_never_sent() {
    let scene = Scene::new(vec![vec![answer("{}")]]).await;
    let token = scene.placeholder.as_str();
    let percent: String = token.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let filler = "x".repeat(100_000);
    for body in [
        format!("{{\"note\":\"{token}\"}}"),
        format!("note={percent}"),
        format!("{{\"auth\":\"{}\"}}", STANDARD.encode(format!("user:{token}"))),
        format!("{filler} {token} {filler}"),
    ] {
        for step in [7, 4096] {
            let mut request = format!(
                "POST /v1/customers HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
                scene.authority()
            );
            for piece in body.as_bytes().chunks(if body.len() > 1000 { 4096 } else { step }) {
                request.push_str(&format!("{:x}\r\n{}\r\n", piece.len(), std::str::from_utf8(piece).unwrap()));
            }
            let refused = scene.ask(format!("{request}0\r\n\r\n")).await;
            assert!(refused.starts_with("HTTP/1.1 403 ") && !refused.contains("lvp_"), "{refused}");
        }
    }
    assert_eq!(scene.upstream.seen().connections, 0);
    assert_eq!(scene.findings(), ["placeholder_in_body"; 8]);
}

/// F4: another header, the query, an unknown one: refused alike, byte for byte.
#[tokio::test]
async fn f4_a_misplaced_or_unknown_placeholder_is_refused() {
    let scene = Scene::new(vec![vec![answer("{}")]]).await;
    let token = scene.placeholder.as_str();
    let foreign = placeholder("run_2");
    let in_header = scene.ask(get(&scene, "/", &format!("X-Api-Key: {token}\r\n"))).await;
    let in_query = scene.ask(get(&scene, &format!("/v1?key={token}"), "")).await;
    let another_runs = scene.ask(get(&scene, "/", &format!("Authorization: Bearer {}\r\n", foreign.as_str()))).await;
    let undated = |answer: &str| answer.lines().filter(|line| !line.starts_with("date")).collect::<Vec<_>>().join("\n");
    assert!(in_header.starts_with("HTTP/1.1 403 "), "{in_header}");
    assert_eq!(undated(&in_header), undated(&in_query));
    assert_eq!(undated(&in_header), undated(&another_runs));
    assert_eq!(scene.findings(), ["placeholder_in_header", "placeholder_in_target", "placeholder_in_header"]);
    assert_eq!(scene.upstream.seen().connections, 0);
}

/// F10: an upstream whose certificate does not hold gets nothing, and there is no way around it.
#[tokio::test]
async fn f10_an_upstream_that_does_not_hold_gets_nothing() {
    let authority = Authority::new();
    let expired = |params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 1, 1);
    for tls in [
        authority.acceptor(&[HOST], expired),
        authority.acceptor(&["evil.localhost"], |_| {}),
        Authority::new().acceptor(&[HOST], |_| {}),
    ] {
        let scene = Scene::with(vec![vec![answer("{}")]], tls, Some(&authority.pem)).await;
        let answer = scene.ask(get(&scene, "/", "")).await;
        assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("\"code\":\"tls\""), "{answer}");
        assert!(scene.requests().is_empty());
    }
}

/// F9: what a sandbox trusts, its run's own authority included, is nothing to the upstream's side.
#[tokio::test]
async fn f9_a_sandboxs_own_roots_are_not_the_operators() {
    let own = Authority::new();
    let scene = Scene::with(vec![vec![answer("{}")]], own.acceptor(&[HOST], |_| {}), None).await;
    let answer = scene.ask(get(&scene, "/", "")).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(scene.requests().is_empty());
}
