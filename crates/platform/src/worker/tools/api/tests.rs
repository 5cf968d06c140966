//! `call_api` from the model's turn to the log, against an upstream that wants its key and gives it back in every way.

mod tokens;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use livery_core::id::{ConnectionId, RunId};
use livery_core::{ErrorCode, EventType, RunStatus, Timestamp};
use livery_store::RunRow;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::connections::NewConnection;
use crate::runs::StartRun;
use crate::testing::Node;
use crate::worker::{claim, drive};
use crate::{Platform, Posted};

pub(in crate::worker) const KEY: &str = "sk_test_4fGh7Kq2Zx9WmB3nVt8RpL6yD1cJ5sA0";
const SAME_LENGTH: &str = "pk_live_Q9wE8rT7yU6iO5pA4sD3fG2hJ1kL0zXc";
const LONGER: &str = "rk_prod_aB1cD2eF3gH4iJ5kL6mN7oP8qR9sT0uV1wX2yZ3aB4cD5eF6gH7iJ8kL9";
/// How long anything may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);
/// Largest head the upstream reads.
const HEAD_MAX: usize = 64 * 1024;

/// What the upstream saw of one request, and what the run's log held when it came.
struct Seen {
    head: String,
    logged: Vec<String>,
}

#[derive(Clone, Default)]
struct Shared {
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Whose log is looked at when a request comes.
    run: Arc<Mutex<Option<(Platform, RunRow)>>>,
}

pub(in crate::worker) struct Upstream {
    pub(in crate::worker) address: SocketAddr,
    shared: Shared,
    _tasks: JoinSet<()>,
}

impl Upstream {
    /// Answers with what `echo` makes of the key and the path, once it was given that key.
    pub(in crate::worker) async fn start(key: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shared) = (listener.local_addr().unwrap(), Shared::default());
        let mut tasks = JoinSet::new();
        let all = shared.clone();
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                let mut piece = [0; 4096];
                while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < HEAD_MAX {
                    match stream.read(&mut piece).await {
                        Ok(0) | Err(_) => break,
                        Ok(count) => head.extend_from_slice(&piece[..count]),
                    }
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let logged = all.logged().await;
                let allowed = head.contains(&format!("\r\nx-key: {key}\r\n"));
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                all.seen.lock().unwrap().push(Seen { head, logged });
                let answer = if allowed { echo(key, &path) } else { plain("401 Unauthorized", "", "no key") };
                // A broker that has seen enough closes.
                let _ = stream.write_all(&answer).await;
            }
        });
        Self { address, shared, _tasks: tasks }
    }

    pub(in crate::worker) fn heads(&self) -> Vec<String> {
        self.shared.seen.lock().unwrap().iter().map(|seen| seen.head.clone()).collect()
    }
}

impl Shared {
    async fn logged(&self) -> Vec<String> {
        let Some((platform, row)) = self.run.lock().unwrap().clone() else { return Vec::new() };
        let events = platform.store.events_after(row.org, row.id, 0, 1000).await.unwrap();
        events.iter().map(|event| event.event_type.to_string()).collect()
    }
}

fn plain(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: text/plain\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}")
        .into_bytes()
}

/// Every way in which a server may give a key back, by its number in the attack list.
fn echo(key: &str, path: &str) -> Vec<u8> {
    let hex = |upper: bool| {
        key.bytes().fold(String::new(), |mut out, byte| {
            let _ = if upper { write!(out, "{byte:02X}") } else { write!(out, "{byte:02x}") };
            out
        })
    };
    let escaped = |lead: &str, tail: &str| {
        key.bytes().fold(String::new(), |mut out, byte| {
            let _ = write!(out, "{lead}{byte:02x}{tail}");
            out
        })
    };
    let body = match path.trim_start_matches('/') {
        "a1" => format!("{{\"key\":\"{key}\"}}"),
        "a2" => return plain("200 OK", &format!("x-request-id: {key}\r\nx-echo-authorization: {key}\r\n"), "x"),
        "a3" => return plain("200 OK", &format!("set-cookie: k={key}\r\n"), "x"),
        "a4" => return plain("302 Found", &format!("location: https://evil.example/?k={key}\r\n"), ""),
        "a5" => {
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-key\r\nconnection: close\r\n\r\n";
            return format!("{head}2\r\nok\r\n0\r\nx-key: {key}\r\n\r\n").into_bytes();
        }
        "a10" => {
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
            let chunks: String = key.chars().map(|one| format!("1\r\n{one}\r\n")).collect();
            return format!("{head}{chunks}0\r\n\r\n").into_bytes();
        }
        "a11-0" => STANDARD.encode(format!("abc{key}xyz")),
        "a11-1" => STANDARD.encode(format!("a{key}xyz")),
        "a11-2" => STANDARD.encode(format!("ab{key}xyz")),
        "a12-lower" => hex(false),
        "a12-upper" => hex(true),
        "a13" => escaped("%", ""),
        "a14-json" => format!("\"{}\"", escaped("\\u00", "")),
        "a14-html" => escaped("&#x", ";"),
        "a15" => key.chars().rev().collect(),
        "a17" => format!("{}…{}", &key[..16], &key[key.len() - 16..]),
        "a22" => return plain("204 No Content", &format!("x-request-id: {key}\r\n"), ""),
        "e7" => "a".repeat(5 << 20),
        other => format!("this is {other}"),
    };
    plain("200 OK", "", &body)
}

/// One tool call of a scripted turn.
pub(in crate::worker) fn call(method: &str, path: &str) -> Value {
    json!({"name": "call_api", "arguments": {"connection": "crm", "method": method, "path": path}})
}

pub(in crate::worker) struct Site {
    pub(in crate::worker) node: Node,
    connection: ConnectionId,
}

impl Site {
    pub(in crate::worker) async fn new(upstream: &Upstream, key: &str) -> Self {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let node = Node::with(now, |parts| parts.broker.allow_upstream = vec!["127.0.0.1/32".parse().unwrap()]).await;
        let body = json!({
            "name": "acme",
            "connector": "http",
            "settings": {"base_url": format!("http://{}", upstream.address), "slot": {"in": "header", "name": "x-key"}},
            "credential": {"value": key},
        });
        let new: NewConnection = serde_json::from_value(body).unwrap();
        let connection = match node.platform.create_connection(&node.caller, new).await.unwrap() {
            Posted::Fresh(view) => view.id,
            Posted::Replayed(_) => unreachable!("no key was sent"),
        };
        Self { node, connection }
    }

    /// Plays the calls, one turn each, and then ends.
    pub(in crate::worker) async fn play(&self, upstream: &Upstream, calls: &[Value]) -> RunRow {
        let mut turns: Vec<Value> = calls.iter().map(|call| json!({"tools": [call]})).collect();
        turns.push(json!({"text": "Done."}));
        let script = STANDARD.encode(json!({"turns": turns}).to_string());
        let agent_md = "---\nname: clerk\nmodel: scripted/a\ntools: [call_api]\nconnections:\n  crm: {connector: http}\n---\nHi.\n";
        let agent = json!({"agent_md": agent_md, "files": {"scripts/a.yaml": script}});
        let body = json!({"agent": agent, "connections": {"crm": self.connection}});
        let request: StartRun = serde_json::from_value(body).unwrap();
        let run = match self.node.platform.start_run(&self.node.caller, request).await.unwrap() {
            Posted::Fresh(view) => view.id,
            Posted::Replayed(_) => unreachable!("no key was sent"),
        };
        self.go_on(upstream, run).await
    }

    /// Works on the run that is due, until it ends or waits.
    pub(in crate::worker) async fn go_on(&self, upstream: &Upstream, run: RunId) -> RunRow {
        let claimed = claim(&self.node.platform, 1).await.unwrap().pop().expect("a run is due");
        *upstream.shared.run.lock().unwrap() = Some((self.node.platform.clone(), claimed.run.clone()));
        let driven = Box::pin(drive::drive(self.node.platform.clone(), claimed));
        tokio::time::timeout(PATIENCE, driven).await.expect("the run comes to an end");
        self.node.platform.store.get_run(self.node.caller.principal.org, run).await.unwrap().unwrap()
    }

    pub(in crate::worker) async fn events(&self, run: RunId) -> Vec<Value> {
        let events = self.node.platform.store.events_after(self.node.caller.principal.org, run, 0, 1000).await.unwrap();
        events.iter().map(|event| serde_json::to_value(event).unwrap()).collect()
    }

    pub(in crate::worker) async fn of_type(&self, run: RunId, event_type: EventType) -> Vec<Value> {
        let events = self.events(run).await;
        events
            .into_iter()
            .filter(|event| event["type"] == event_type.as_str())
            .map(|event| event["data"].clone())
            .collect()
    }

    /// The whole log without what differs from run to run: ids, waits, ports, and digests that cover them.
    async fn normal(&self, row: &RunRow, upstream: &Upstream) -> String {
        let mut out = String::new();
        for mut event in self.events(row.id).await {
            event["digest"] = Value::Null;
            event["actor"] = Value::Null;
            for waited in ["total_ms", "first_byte_ms", "duration_ms", "latency_ms"] {
                if let Some(value) = event["data"].get_mut(waited) {
                    *value = Value::Null;
                }
            }
            for own in ["agent", "node", "port", "request_id", "request_sha256"] {
                if let Some(value) = event["data"].get_mut(own) {
                    *value = Value::Null;
                }
            }
            out.push_str(&event.to_string());
            out.push('\n');
        }
        out.replace(&row.id.to_string(), "RUN")
            .replace(&self.connection.to_string(), "CONNECTION")
            .replace(&upstream.address.to_string(), "UPSTREAM")
    }
}

const ECHOES: &[(&str, u64)] = &[
    ("a1", 1),
    ("a2", 1),
    ("a3", 0),
    ("a4", 1),
    ("a5", 0),
    ("a10", 1),
    ("a11-0", 1),
    ("a11-1", 1),
    ("a11-2", 1),
    ("a12-lower", 1),
    ("a12-upper", 1),
    ("a13", 1),
    ("a14-json", 1),
    ("a14-html", 1),
    ("a15", 1),
    ("a17", 1),
    ("a22", 1),
];

fn assert_absent(text: &str, key: &str) {
    let reversed: String = key.chars().rev().collect();
    let hex: String = key.bytes().map(|byte| format!("{byte:02x}")).collect();
    for needle in [&key[..16], &key[key.len() - 16..], &reversed[..16], &hex[..32]] {
        assert!(!text.to_lowercase().contains(&needle.to_lowercase()), "{needle} is in {text}");
    }
}

/// A1 to A17, A22, F1, F3: whatever comes back, log and model see no byte of the key, and the same with every key.
#[tokio::test]
async fn a1_to_a17_a22_f1_f3_no_echo_reaches_the_log_or_the_model_and_no_key_makes_a_difference() {
    let mut logs: Vec<Vec<String>> = Vec::new();
    for key in [KEY, SAME_LENGTH, LONGER] {
        let upstream = Upstream::start(key).await;
        let site = Site::new(&upstream, key).await;
        let mut normal = Vec::new();
        for (echo, found) in ECHOES {
            let row = site.play(&upstream, &[call("GET", &format!("/{echo}"))]).await;
            assert_eq!(row.status, RunStatus::Succeeded, "{echo}: {:?}", row.error);
            let log = site.normal(&row, &upstream).await;
            assert_absent(&log, key);
            let finished = &site.of_type(row.id, EventType::EgressFinished).await[0];
            assert_eq!(finished["redactions"], *found, "{echo}: {finished}");
            let redacted = site.of_type(row.id, EventType::EgressRedacted).await;
            assert_eq!(redacted.len() as u64, *found, "{echo}");
            assert_eq!(log.contains("[REDACTED:acme]"), *found > 0, "{echo}: {log}");
            normal.push(log);
        }
        assert!(upstream.heads().iter().all(|head| head.contains(&format!("x-key: {key}"))));
        logs.push(normal);
    }
    for (at, (echo, _)) in ECHOES.iter().enumerate() {
        // The base64 characters at either edge mix a few bits of the key with its neighbours', and what follows the key moves
        // with its length: both stay, as the page says.
        if echo.starts_with("a11") {
            continue;
        }
        assert_eq!(logs[0][at], logs[1][at], "{echo}: a key of the same length makes a difference");
        assert_eq!(logs[0][at], logs[2][at], "{echo}: a longer key makes a difference");
    }
}

#[tokio::test]
async fn the_intent_of_what_changes_something_is_committed_before_a_byte_leaves() {
    let upstream = Upstream::start(KEY).await;
    let site = Site::new(&upstream, KEY).await;
    let post = json!({"name": "call_api", "arguments": {"connection": "crm", "method": "POST", "path": "/things",
        "query": {"b": "x y", "a": [1, true]}, "headers": {"X-Key": "theirs", "x-ok": "1"}, "body": {"n": 1}}});
    let row = site.play(&upstream, &[post]).await;
    assert_eq!(row.status, RunStatus::Succeeded);
    {
        let seen = upstream.shared.seen.lock().unwrap();
        assert!(seen[0].logged.contains(&"egress.requested".to_owned()), "{:?}", seen[0].logged);
        let head = &seen[0].head;
        assert!(head.starts_with("POST /things?a=1&a=true&b=x+y HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("\r\ncontent-type: application/json\r\n") && head.contains("\r\nx-ok: 1\r\n"), "{head}");
        assert!(!head.contains("theirs") && head.matches("x-key").count() == 1, "{head}");
    }
    let requested = &site.of_type(row.id, EventType::EgressRequested).await[0];
    assert_eq!(requested["path"], "/things");
    assert_eq!(requested["query_keys"], json!(["a", "b"]));
    assert_eq!((&requested["method"], &requested["request_bytes"]), (&json!("POST"), &json!(7)));
    let finished = &site.of_type(row.id, EventType::EgressFinished).await[0];
    assert_eq!((&finished["status"], &finished["credential_version"]), (&json!(200), &json!(1)));
    assert_eq!(finished["dialled"], upstream.address.to_string());
    let told = &site.of_type(row.id, EventType::ToolFinished).await[0];
    assert_eq!(told["ok"], true);
    let read: Value = serde_json::from_str(told["result"].as_str().unwrap()).unwrap();
    assert_eq!((&read["status"], &read["body"]), (&json!(200), &json!("this is things?a=1&a=true&b=x+y")));
}

/// B7, B8, C7, D1, A24, E2: nothing is sent, the model reads why, and the log has it.
#[tokio::test]
async fn what_is_refused_is_sent_to_nobody_and_said_to_the_model() {
    let upstream = Upstream::start(KEY).await;
    let site = Site::new(&upstream, KEY).await;
    for path in [
        "https://evil.com/",
        "//evil.com/",
        "@evil.com",
        "file:///etc/passwd",
        "/v1/%2e%2e/admin",
        "/..;/admin",
        "/a\r\nhost: evil.com",
        "/x?_method=DELETE",
        "/x/lvp_0123456789abcdefghijklmnopqrstuv",
    ] {
        let row = site.play(&upstream, &[call("GET", path)]).await;
        assert_eq!(row.status, RunStatus::Succeeded, "{path:?}");
        let told = &site.of_type(row.id, EventType::ToolFinished).await[0];
        assert!(told["result"].as_str().unwrap().starts_with("policy_denied: "), "{path:?}: {told}");
        assert_eq!((&told["ok"], site.of_type(row.id, EventType::EgressDenied).await.len()), (&json!(false), 1));
        assert!(site.of_type(row.id, EventType::EgressRequested).await.is_empty());
    }
    assert!(upstream.heads().is_empty());
}

#[tokio::test]
async fn e7_an_answer_over_the_limit_is_an_error_and_says_so() {
    let upstream = Upstream::start(KEY).await;
    let site = Site::new(&upstream, KEY).await;
    let row = site.play(&upstream, &[call("GET", "/e7")]).await;
    let told = &site.of_type(row.id, EventType::ToolFinished).await[0];
    assert!(told["result"].as_str().unwrap().contains("larger than the limit"), "{told}");
    assert_eq!(site.of_type(row.id, EventType::EgressFinished).await[0]["outcome"], "too_large");
}

#[tokio::test]
async fn a_credential_that_comes_back_three_times_ends_the_run() {
    let upstream = Upstream::start(KEY).await;
    let site = Site::new(&upstream, KEY).await;
    let row =
        site.play(&upstream, &[call("GET", "/a1"), call("GET", "/a15"), call("GET", "/a1"), call("GET", "/a1")]).await;
    let error = row.error.clone().unwrap();
    assert_eq!((row.status, error.code), (RunStatus::Failed, ErrorCode::Quarantined));
    let redacted = site.of_type(row.id, EventType::EgressRedacted).await;
    assert_eq!(redacted.len(), 3);
    assert_eq!((&redacted[1]["location"], &redacted[1]["variants"]), (&json!("body"), &json!(["reversed"])));
    assert_eq!(upstream.heads().len(), 3, "the fourth call is never made");
    assert_absent(&site.normal(&row, &upstream).await, KEY);
}

#[tokio::test]
async fn a_key_that_is_not_the_right_one_is_an_answer_like_any_other() {
    let upstream = Upstream::start(LONGER).await;
    let site = Site::new(&upstream, KEY).await;
    let row = site.play(&upstream, &[call("GET", "/fine")]).await;
    let told = &site.of_type(row.id, EventType::ToolFinished).await[0];
    assert!(told["result"].as_str().unwrap().contains("\"status\":401"), "{told}");
    assert_eq!((row.status, &told["ok"]), (RunStatus::Succeeded, &json!(false)));
}
