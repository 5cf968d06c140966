//! The engine against an upstream that demands its key and gives it back.

use livery_broker::Error;
use livery_broker::Relayed;
use livery_broker::engine::{Access, Call, How, Prepared};
use livery_core::connector::{CredentialSlot, Reach};

use crate::call::{KEY, broker, credential, tenant, timeouts};
use crate::upstream::{Step, Upstream, answer, write};

fn access(upstream: &Upstream) -> Access {
    Access {
        org: tenant(1),
        connection: "con_1".to_owned(),
        name: "acme".to_owned(),
        reach: Reach {
            origins: vec![upstream.url().parse().unwrap()],
            base_path: "/api".to_owned(),
            methods: Vec::new(),
            paths: Vec::new(),
            plaintext: true,
            guarded: Vec::new(),
            graphql: None,
        },
        slot: CredentialSlot::Header { name: "x-acme-key".to_owned(), prefix: "key ".to_owned() },
        headers: vec![("acme-version".to_owned(), "7".to_owned())],
    }
}

fn how() -> How {
    How { timeouts: timeouts(), answer_bytes_max: 1 << 20, relayed: Relayed::Api }
}

fn post(upstream: &Upstream, path: &str) -> Prepared {
    let call = Call {
        method: "POST".to_owned(),
        path: path.to_owned(),
        query: vec![("q".to_owned(), "a b".to_owned())],
        headers: vec![
            ("X-Acme-Key".to_owned(), "theirs".to_owned()),
            ("X_ACME_KEY".to_owned(), "theirs".to_owned()),
            ("X-HTTP-Method-Override".to_owned(), "DELETE".to_owned()),
            ("Acme-Version".to_owned(), "1".to_owned()),
            ("x-ok".to_owned(), "1".to_owned()),
        ],
        body: "{}".into(),
    };
    Prepared::new(access(upstream), call).unwrap().with_idempotency_key("livery-run-1".to_owned())
}

#[tokio::test]
async fn what_was_looked_at_is_what_arrives_with_one_key_in_one_place() {
    let upstream = Upstream::start(vec![vec![answer(&format!("{{\"seen\":\"key {KEY}\"}}"))]]).await;
    let prepared = post(&upstream, "/v1/./things?z=1");
    let facts = prepared.facts();
    let answer = broker().call(prepared, credential(KEY), how()).await.unwrap();
    let request = upstream.seen().requests[0].clone();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<&str> = head.split("\r\n").collect();
    assert_eq!(lines.remove(0), "POST /api/v1/things?z=1&q=a+b HTTP/1.1");
    assert_eq!(
        (facts.path.as_str(), facts.query_keys.as_slice()),
        ("/api/v1/things", ["z", "q"].map(String::from).as_slice())
    );
    lines.sort_unstable();
    let expected = [
        "accept-encoding: identity".to_owned(),
        "acme-version: 7".to_owned(),
        "content-length: 2".to_owned(),
        format!("host: {}", upstream.address),
        "idempotency-key: livery-run-1".to_owned(),
        format!("user-agent: livery/{}", env!("CARGO_PKG_VERSION")),
        format!("x-acme-key: key {KEY}"),
        "x-ok: 1".to_owned(),
    ];
    assert_eq!(lines, expected);
    assert_eq!(body, "{}");
    assert_eq!(answer.body, "{\"seen\":\"key [REDACTED:acme]\"}");
    assert_eq!(answer.findings.len(), 1);
    assert_eq!(answer.dialled, upstream.address);
}

/// A23: words about a failure carry neither the query nor the key. E4: a switch of protocols nobody asked for is no tunnel.
#[tokio::test]
async fn a23_e4_failures_say_nothing_of_the_request() {
    let gone = Upstream::start(vec![]).await;
    let mut at = access(&gone);
    at.slot = CredentialSlot::Query { name: "key".to_owned() };
    drop(gone);
    let call = Call { method: "GET".to_owned(), path: "/x?customer=42".to_owned(), ..Call::default() };
    let prepared = Prepared::new(at, call).unwrap();
    let failed = broker().call(prepared, credential(KEY), how()).await.unwrap_err();
    assert_eq!(failed.error, Error::ConnectFailed);
    let said = format!("{failed:?} {}", failed.error);
    assert!(!said.contains(KEY) && !said.contains("42") && !said.contains("key="), "{said}");

    let upstream = Upstream::start(vec![vec![
        write("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"),
        Step::Stall,
    ]])
    .await;
    let failed = broker().call(post(&upstream, "/x"), credential(KEY), how()).await.unwrap_err();
    assert!(matches!(failed.error, Error::BadGateway { .. }));
}

/// E7, and a secret that could not be taken out again is not put in.
#[tokio::test]
async fn e7_too_much_is_an_error_and_a_short_secret_is_not_sent() {
    let upstream = Upstream::start(vec![vec![answer(&format!("{KEY}{}", "a".repeat(5000)))]]).await;
    let send = async |secret: &str, limit| {
        broker().call(post(&upstream, "/x"), credential(secret), How { answer_bytes_max: limit, ..how() }).await
    };
    let failed = send(KEY, 1000).await.unwrap_err();
    assert_eq!(failed.error, Error::TooLarge { what: "the upstream's answer" });
    let seen = upstream.seen().requests.len();
    let failed = send("fifteen-bytes-x", 1 << 20).await.unwrap_err();
    assert!(matches!(failed.error, Error::BadRequest { .. }) && failed.error.nothing_sent());
    assert_eq!(upstream.seen().requests.len(), seen);
}
