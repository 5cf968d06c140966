//! Shells that are not opened: who may not, and what stands in the way. Those that are need sandboxes; the tests of the whole
//! binary have them.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::site::{Listening, PATIENCE, Site, slow_talker};

const OPENING: &str = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const PROTOCOL: &str = "sec-websocket-protocol: chat, livery.shell.v1\r\n";

/// Asks for a shell of `target`; the status, the head in small letters, and the problem.
async fn ask(server: &Listening, key: &str, target: &str, fields: &str) -> (u16, String, Value) {
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let head =
        format!("GET /v1/runs/{target} HTTP/1.1\r\nhost: livery.test\r\nauthorization: Bearer {key}\r\n{fields}\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let whole = |bytes: &[u8]| bytes.ends_with(b"}");
    while !whole(&answer) {
        let read = tokio::time::timeout(PATIENCE, socket.read_buf(&mut answer)).await.unwrap().unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
    }
    let text = String::from_utf8(answer).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), head.to_lowercase(), serde_json::from_str(body).unwrap())
}

#[tokio::test]
async fn a_shell_that_cannot_be_opened_says_why() {
    let site = Site::new().await;
    let server = site.listen().await;
    let (one, two) = (site.tenant("one").await, site.tenant("two").await);
    let over = one.finished_run().await["id"].as_str().unwrap().to_owned();
    let works = one.post("/v1/runs", &json!({"agent": slow_talker(&["one", "two"], 600_000)})).await.json();
    let works = works["id"].as_str().unwrap().to_owned();
    let scopes = json!({"name": "reader", "scopes": ["runs:read", "runs:write"]});
    let reader = one.post("/v1/api_keys", &scopes).await.json()["api_key"].as_str().unwrap().to_owned();
    let (one, two) = (one.key.unwrap(), two.key.unwrap());
    let good = format!("{OPENING}{PROTOCOL}");
    let shell = |run: &str| format!("{run}/shell");
    let end_user = format!("{good}livery-on-behalf-of: eu_00000000000000000000000001\r\n");
    let cases: &[(&str, String, String, u16, &str)] = &[
        (&one, shell(&over), good.clone(), 409, "run_over"),
        (&one, shell(&works), good.clone(), 409, "no_sandbox"),
        (&one, shell("run_00000000000000000000000001"), good.clone(), 404, "not_found"),
        (&two, shell(&works), good.clone(), 404, "not_found"),
        (&reader, shell(&works), good.clone(), 403, "forbidden"),
        ("lvk_00000000000000000000000000000000", shell(&works), good.clone(), 401, "unauthenticated"),
        (&one, shell(&works), end_user, 404, "not_found"),
        (&one, format!("{works}/shell?columns=0"), good.clone(), 400, "invalid_parameter"),
        (&one, format!("{works}/shell?columns=1001"), good.clone(), 400, "invalid_parameter"),
        (&one, format!("{works}/shell?command="), good.clone(), 400, "invalid_parameter"),
        (&one, format!("{works}/shell?command={}", "x".repeat(5000)), good.clone(), 400, "invalid_parameter"),
        (&one, format!("{works}/shell?tty=1"), good.clone(), 400, "unknown_parameter"),
        (&one, shell(&works), String::new(), 426, "upgrade_required"),
        (&one, shell(&works), good.replace("version: 13", "version: 8"), 426, "upgrade_required"),
        (&one, shell(&works), good.replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), 426, "upgrade_required"),
        (&one, shell(&works), OPENING.to_owned(), 400, "invalid_header"),
        (&one, shell(&works), format!("{good}origin: https://evil.example\r\n"), 400, "invalid_header"),
        (&one, shell(&works), format!("{good}origin: null\r\n"), 400, "invalid_header"),
        (&one, shell(&works), format!("{good}origin: https://livery.test\r\n"), 409, "no_sandbox"),
    ];
    for (key, target, fields, status, code) in cases {
        let (answered, head, problem) = ask(&server, key, target, fields).await;
        assert_eq!((answered, &problem["code"]), (*status, &json!(code)), "{target} {fields:?}: {problem}");
        let asks = head.contains("\r\nupgrade: websocket\r\n") && head.contains("\r\nsec-websocket-version: 13\r\n");
        assert_eq!(asks, *status == 426, "{head}");
    }
    // Nothing was opened, so nothing is told.
    let events = site.with_key(&one).get(&format!("/v1/runs/{works}/events")).await.json();
    assert!(!events.to_string().contains("shell.opened"), "{events}");
}
