//! What leaves, what comes back, and what is refused about an answer's shape.

use livery_broker::error::TlsFailure;
use livery_broker::{Error, Outbound, Slot, Target};

use crate::call::{KEY, broker, credential, post, tenant, text, timeouts};
use crate::upstream::{Step, Upstream, answer, write};

fn headers(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn the_upstream_gets_one_plain_request_with_our_key_alone() {
    let upstream = Upstream::start(vec![vec![answer("{}")]]).await;
    let mut call = post(&format!("{}/v1/chat?alt=sse&key=theirs&%6bey=theirs&API_KEY=theirs&a=b", upstream.url()));
    call.headers = headers(&[
        ("content-type", "application/json"),
        ("anthropic-version", "2023-06-01"),
        ("Authorization", "Bearer theirs"),
        ("AUTHORIZATION", "Bearer theirs-too"),
        ("proxy-authorization", "theirs"),
        ("x-api-key", "theirs"),
        ("X_Api_Key", "theirs"),
        ("api-key", "theirs"),
        ("x-goog-api-key", "theirs"),
        ("x-auth-token", "theirs"),
        ("private-token", "theirs"),
        ("cookie", "session=theirs"),
        ("host", "evil.example"),
        ("content-length", "9999"),
        ("transfer-encoding", "chunked"),
        ("te", "trailers"),
        ("expect", "100-continue"),
        ("connection", "close, x-nominated"),
        ("x-nominated", "theirs"),
        ("upgrade", "websocket"),
        ("accept-encoding", "gzip, br"),
        ("x-forwarded-host", "evil.example"),
        ("forwarded", "host=evil.example"),
        ("x-http-method-override", "DELETE"),
        ("x-original-url", "/admin"),
        ("X_Rewrite_Url", "/admin"),
        ("x-host", "evil.example"),
        ("grpc-accept-encoding", "gzip"),
        ("connect-accept-encoding", "gzip"),
        ("range", "bytes=0-1"),
    ]);
    call.idempotency_key = Some("evt-1".to_owned());
    let inbound = broker().send(call).await.unwrap();
    assert_eq!(inbound.status, 200);
    assert_eq!(text(inbound).await.unwrap(), "{}");

    let seen = upstream.seen();
    let request = &seen.requests[0];
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<&str> = head.split("\r\n").collect();
    assert_eq!(lines.remove(0), "POST /v1/chat?alt=sse&a=b HTTP/1.1");
    lines.sort_unstable();
    let expected = [
        "accept-encoding: identity".to_owned(),
        "anthropic-version: 2023-06-01".to_owned(),
        format!("authorization: Bearer {KEY}"),
        "content-length: 2".to_owned(),
        "content-type: application/json".to_owned(),
        format!("host: {}", upstream.address),
        "idempotency-key: evt-1".to_owned(),
        format!("user-agent: livery/{}", env!("CARGO_PKG_VERSION")),
    ];
    assert_eq!(lines, expected);
    assert_eq!(body, "{}");
}

#[tokio::test]
async fn the_key_goes_into_the_slot_it_belongs_to() {
    let upstream = Upstream::start(vec![vec![answer("{}")]]).await;
    let mut call = post(&upstream.url());
    let mut with_slot = credential(KEY);
    with_slot.slot = Slot::header("x-api-key");
    call.credential = Some(with_slot);
    broker().send(call).await.unwrap();
    let request = upstream.seen().requests[0].clone();
    assert!(request.contains(&format!("\r\nx-api-key: {KEY}\r\n")) && !request.contains("authorization"), "{request}");
}

#[tokio::test]
async fn a_webhook_goes_out_without_a_credential_and_keeps_its_query() {
    let upstream = Upstream::start(vec![vec![write("HTTP/1.1 204 No Content\r\n\r\n")]]).await;
    let target = Target::full_url(&format!("{}/hook?token=customers-own", upstream.url())).unwrap();
    let mut call = Outbound::post(tenant(1), target, r#"{"type":"run.succeeded"}"#);
    call.timeouts = timeouts();
    call.headers =
        headers(&[("webhook-id", "evt_1"), ("webhook-signature", "v1,abc"), ("content-type", "application/json")]);
    call.response_bytes_max = 64 * 1024;
    let inbound = broker().send(call).await.unwrap();
    assert_eq!(inbound.status, 204);
    assert_eq!(text(inbound).await.unwrap(), "");
    let request = upstream.seen().requests[0].clone();
    assert!(request.starts_with("POST /hook?token=customers-own HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("webhook-signature: v1,abc") && request.ends_with(r#"{"type":"run.succeeded"}"#));
}

#[tokio::test]
async fn e2_what_cannot_be_sent_safely_is_not_sent() {
    let upstream = Upstream::start(vec![vec![answer("{}")]]).await;
    let broker = broker();
    let bad_request =
        |error: &Error| matches!(error, Error::BadRequest { .. }) && error.nothing_sent() && !error.retryable();
    for key in
        ["line\r\nx-evil: 1-0123456789", "nul\0nul-0123456789", "spa ce-0123456789012", "ümlaut-0123456789012", ""]
    {
        let mut call = post(&upstream.url());
        call.credential = Some(credential(key));
        assert!(bad_request(&broker.send(call).await.unwrap_err()), "{key:?}");
    }
    for (name, value) in [("x-a", "1\r\nx-b: 2"), ("x a", "1"), ("x-a:", "1"), ("", "1"), ("x-a", "\0"), ("x\n", "1")] {
        let mut call = post(&upstream.url());
        call.headers = headers(&[(name, value)]);
        assert!(bad_request(&broker.send(call).await.unwrap_err()), "{name:?}: {value:?}");
    }
    for method in ["CONNECT", "TRACE", "get", "PURGE"] {
        let mut call = post(&upstream.url());
        call.method = method.parse().unwrap();
        assert!(bad_request(&broker.send(call).await.unwrap_err()), "{method}");
    }
    let mut call = post(&upstream.url());
    call.idempotency_key = Some("a\r\nb: c".to_owned());
    assert!(bad_request(&broker.send(call).await.unwrap_err()));
    let mut call = post(&upstream.url());
    call.headers = vec![("x-a".to_owned(), "a".repeat(17 * 1024))];
    assert_eq!(broker.send(call).await.unwrap_err(), Error::TooLarge { what: "the request head" });
    let mut call = post(&upstream.url());
    call.body = vec![0; 64 * 1024 * 1024 + 1].into();
    assert_eq!(broker.send(call).await.unwrap_err(), Error::TooLarge { what: "the request body" });
    let mut call = post(&upstream.url());
    call.credential = Some(credential(&"k".repeat(8 * 1024 + 1)));
    assert_eq!(broker.send(call).await.unwrap_err(), Error::TooLarge { what: "the credential" });
    assert_eq!(upstream.seen().connections, 0);
}

#[tokio::test]
async fn b1_a_redirect_is_an_answer_and_leads_nowhere() {
    let other = Upstream::start(vec![vec![answer("{}")]]).await;
    for location in ["http://169.254.169.254/latest/meta-data/", &other.url(), "/elsewhere", "https://evil.example/"] {
        for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
            let upstream = Upstream::start(vec![vec![write(format!(
                "HTTP/1.1 {status}\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"
            ))]])
            .await;
            let inbound = broker().send(post(&upstream.url())).await.unwrap();
            assert!(inbound.status.is_redirection());
            assert!(inbound.headers.get("location").is_none());
            assert_eq!(upstream.seen().requests.len(), 1);
        }
    }
    assert_eq!(other.seen().connections, 0);
}

#[tokio::test]
async fn only_headers_on_the_list_come_back() {
    let head = "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\nretry-after: 7\r\n\
        anthropic-ratelimit-tokens-remaining: 0\r\nset-cookie: a=b\r\nx-powered-by: x\r\nstrict-transport-security: x\r\n\
        alt-svc: h3=\":443\"\r\ncontent-length: 2\r\netag: \"e\"\r\nx-ratelimit-evil: 1\r\n\r\n{}";
    let upstream = Upstream::start(vec![vec![write(head)]]).await;
    let inbound = broker().send(post(&upstream.url())).await.unwrap();
    assert_eq!(inbound.status, 429);
    let mut names: Vec<&str> = inbound.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["anthropic-ratelimit-tokens-remaining", "content-type", "retry-after"]);
}

#[tokio::test]
async fn malformed_answers_are_bad_gateways() {
    let big_header = format!("HTTP/1.1 200 OK\r\nx-a: {}\r\n\r\n", "a".repeat(80 * 1024));
    let many_headers = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x-a: 1\r\n".repeat(10_000));
    let head = Error::TooLarge { what: "the head of the upstream's answer" };
    let two_lengths = Error::BadGateway { why: "an answer whose length can be read in two ways" };
    let not_http = Error::BadGateway { why: "something that is not HTTP" };
    let encoded = Error::BadGateway { why: "a body in a content coding that cannot be searched" };
    for (bytes, expected) in [
        ("SSH-2.0-OpenSSH_9.7\r\n\r\n", not_http),
        ("<html>hello</html>\r\n\r\n", not_http),
        ("HTTP/1.1 200 OK\r\nx-a : 1\r\n\r\n", not_http),
        ("HTTP/1.1 200 OK\r\nx-a: 1\r\n folded: 2\r\n\r\n", not_http),
        ("HTTP/1.1 200 OK\r\nx-a: \0\r\n\r\n", not_http),
        ("HTTP/1.1 999999 OK\r\n\r\n", not_http),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello", not_http),
        ("HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\nhello", not_http),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0x5\r\n\r\nhello", not_http),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello", two_lengths),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", two_lengths),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", two_lengths),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", two_lengths),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nhello", two_lengths),
        (
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
            Error::BadGateway { why: "an upgrade nobody asked for" },
        ),
        ("HTTP/1.1 200 OK\r\ncontent-encoding: gzip, br, zstd\r\ncontent-length: 1\r\n\r\nx", encoded),
        ("HTTP/1.1 200 OK\r\ncontent-encoding: identity, compress\r\ncontent-length: 1\r\n\r\nx", encoded),
        ("HTTP/1.1 200 OK\r\ncontent-encoding: livery\r\ncontent-length: 1\r\n\r\nx", encoded),
        (&big_header, head),
        (&many_headers, head),
    ] {
        let upstream = Upstream::start(vec![vec![write(bytes), Step::Close]]).await;
        let error = broker().send(post(&upstream.url())).await.unwrap_err();
        assert_eq!(error, expected, "{}", &bytes[..bytes.len().min(90)]);
    }
}

#[tokio::test]
async fn an_answer_over_its_limit_is_an_error_and_never_a_shorter_answer() {
    let too_large = Error::TooLarge { what: "the upstream's answer" };
    let upstream = Upstream::start(vec![
        vec![write("HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n"), Step::Stall],
        vec![
            write(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3e9\r\n{}\r\n", "a".repeat(1001))),
            Step::Stall,
        ],
        vec![write(format!("HTTP/1.1 200 OK\r\n\r\n{}", "a".repeat(1001))), Step::Stall],
        vec![answer(&"a".repeat(1000))],
    ])
    .await;
    let broker = broker();
    let call = || {
        let mut call = post(&upstream.url());
        call.response_bytes_max = 1000;
        call
    };
    assert_eq!(broker.send(call()).await.unwrap_err(), too_large);
    for _ in 0..2 {
        let inbound = broker.send(call()).await.unwrap();
        assert_eq!(text(inbound).await.unwrap_err(), too_large);
    }
    assert_eq!(text(broker.send(call()).await.unwrap()).await.unwrap().len(), 1000);
    for _ in 0..3 {
        upstream.peer_closed().await;
    }
    let inbound = broker.send(call()).await.unwrap();
    assert_eq!(inbound.collect(999).await.unwrap_err(), too_large);
}

#[tokio::test]
async fn a5_informational_answers_and_trailers_are_not_relayed() {
    let script = format!(
        "HTTP/1.1 103 Early Hints\r\nlink: <{KEY}>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: \
         chunked\r\ntrailer: x-key\r\n\r\n2\r\nok\r\n0\r\nx-key: {KEY}\r\n\r\n"
    );
    let upstream = Upstream::start(vec![vec![write(script)]]).await;
    let inbound = broker().send(post(&upstream.url())).await.unwrap();
    assert_eq!(inbound.status, 200);
    assert!(inbound.headers.is_empty(), "{:?}", inbound.headers);
    assert_eq!(text(inbound).await.unwrap(), "ok");
}

#[test]
fn errors_are_constants_with_stable_kinds() {
    assert_eq!(Error::Cut.kind(), "cut");
    assert_eq!(
        Error::Tls { why: TlsFailure::Expired }.to_string(),
        "TLS to the upstream failed: its certificate is not valid at this time"
    );
    assert!(Error::Cut.retryable() && !Error::Cut.nothing_sent());
    assert!(!Error::Tls { why: TlsFailure::Untrusted }.retryable());
}
