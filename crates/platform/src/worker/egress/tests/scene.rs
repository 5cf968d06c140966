//! A run that is under way, the way out of its sandbox, and an upstream it has a connection to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use livery_broker::ws::{Event, Inlet, Kind, Sender};
use livery_core::agent::Network;
use livery_core::id::{ConnectionId, RunId};
use livery_core::{EventType, Timestamp};
use livery_store::RunRow;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::connections::{NewConnection, RotateConnection};
use crate::runs::StartRun;
use crate::testing::Node;
use crate::worker::egress::Egress;
use crate::worker::{claim, drive};
use crate::{Platform, Posted};

pub(super) const KEY: &str = "sk_test_4fGh7Kq2Zx9WmB3nVt8RpL6yD1cJ5sA0";
pub(super) const NEXT_KEY: &str = "sk_test_n3xt-Q9wE8rT7yU6iO5pA4sD3fG2hJ1k";
/// How long anything may take before it counts as hanging.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// What the upstream saw of one request, and what the run's log held when it came.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
    /// Whether its body came to its end.
    pub(super) whole: bool,
    pub(super) logged: Vec<String>,
}

#[derive(Clone, Default)]
struct Shared {
    seen: Arc<Mutex<Vec<Seen>>>,
    run: Arc<Mutex<Option<(Platform, RunRow)>>>,
    /// Lets the next piece of a slow answer go.
    go: Arc<Notify>,
}

pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    shared: Shared,
    _tasks: JoinSet<()>,
}

impl Upstream {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shared) = (listener.local_addr().unwrap(), Shared::default());
        let mut tasks = JoinSet::new();
        let all = shared.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(answer(stream, all.clone()));
            }
        });
        Self { address, shared, _tasks: tasks }
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Waits for a number of requests, whole or broken off.
    pub(super) async fn saw(&self, count: usize) -> Vec<Seen> {
        until("the upstream has seen them", || async { self.seen().len() >= count }).await;
        self.seen()
    }

    pub(super) fn go_on(&self) {
        self.shared.go.notify_one();
    }
}

pub(super) async fn until<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let waited = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.unwrap_or_else(|_| panic!("in vain: {what}"));
}

async fn answer(mut stream: TcpStream, all: Shared) {
    let mut bytes = Vec::new();
    let at = loop {
        if let Some(at) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            break at + 4;
        }
        match stream.read_buf(&mut bytes).await {
            Ok(count) if count > 0 => {}
            _ => return,
        }
    };
    let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
    let logged = match all.run.lock().unwrap().clone() {
        Some((platform, row)) => names(&platform, &row),
        None => return,
    };
    let logged = logged.await;
    let mut body = bytes.split_off(at);
    let length = head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let is_chunked = head.to_lowercase().contains("transfer-encoding: chunked");
    let is_whole = |body: &[u8]| match length {
        Some(length) => body.len() >= length,
        None => !is_chunked || body.ends_with(b"0\r\n\r\n"),
    };
    while !is_whole(&body) {
        match stream.read_buf(&mut body).await {
            Ok(count) if count > 0 => {}
            _ => break,
        }
    }
    let (path, whole) = (head.split(' ').nth(1).unwrap_or_default().to_owned(), is_whole(&body));
    all.seen.lock().unwrap().push(Seen { head: head.clone(), body, whole, logged });
    let key = [KEY, NEXT_KEY].into_iter().find(|key| head.contains(&format!("\r\nx-key: {key}\r\n")));
    let Some(key) = key else {
        let _ = stream.write_all(&plain("401 Unauthorized", "", "no key")).await;
        return;
    };
    if path == "/ws" {
        return converse(&mut stream, key, &head).await;
    }
    speak(&mut stream, key, &path, &all.go).await;
}

/// Opens a WebSocket and repeats what is said on it; asked for the key, it gives that.
async fn converse(stream: &mut TcpStream, key: &str, head: &str) {
    let asked = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).unwrap();
    let accept = livery_broker::ws::accept(asked).unwrap();
    let accept = accept.to_str().unwrap();
    let upgrade = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n";
    let _ = stream.write_all(format!("{upgrade}sec-websocket-accept: {accept}\r\n\r\n").as_bytes()).await;
    let (mut inlet, mut bytes) = (Inlet::new(Sender::Program), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut bytes).await {
        inlet.push(&bytes[..count]);
        while let Some(event) = inlet.take().unwrap() {
            let answer = match event {
                Event::Message(Kind::Text, said) if said == b"key" => Event::Message(Kind::Text, key.into()),
                Event::Message(kind, said) => Event::Message(kind, [b"you said ", said.as_slice()].concat()),
                Event::Ping(payload) => Event::Pong(payload),
                other => other,
            };
            let _ = stream.write_all(&answer.encode(Sender::Upstream, || [0; 4])).await;
        }
    }
}

fn names(platform: &Platform, row: &RunRow) -> impl Future<Output = Vec<String>> + Send + use<> {
    let (platform, row) = (platform.clone(), row.clone());
    async move {
        let events = platform.store.events_after(row.org, row.id, 0, 1000).await.unwrap();
        events.iter().map(|event| event.event_type.to_string()).collect()
    }
}

/// Answers by the path. What is slow waits to be let go between two pieces.
async fn speak(stream: &mut TcpStream, key: &str, path: &str, go: &Notify) {
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len()).into_bytes();
    match path {
        "/events" => {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            let _ = stream.write_all(head.as_bytes()).await;
            for n in 0..3 {
                let _ = stream.write_all(&chunk(&format!("data: {n} {key}\n\n"))).await;
                go.notified().await;
            }
            let _ = stream.write_all(b"0\r\n\r\n").await;
        }
        "/never" => go.notified().await,
        "/large" => {
            let size = 3 << 20;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(&vec![b'x'; 2 << 20]).await;
            go.notified().await;
            let _ = stream.write_all(&vec![b'y'; 1 << 20]).await;
        }
        path => {
            let _ = stream.write_all(&echo(key, path)).await;
        }
    }
}

fn echo(key: &str, path: &str) -> Vec<u8> {
    match path {
        "/a1" => plain("200 OK", "", &format!("{{\"key\":\"{key}\"}}")),
        "/a2" => plain("200 OK", &format!("x-echo-authorization: {key}\r\n"), "x"),
        "/a3" => plain("200 OK", &format!("set-cookie: k={key}\r\n"), "x"),
        "/a4" => plain("302 Found", &format!("location: https://evil.example/?k={key}\r\n"), ""),
        "/a11" => plain("200 OK", "", &STANDARD.encode(format!("abc{key}xyz"))),
        "/a15" => plain("200 OK", "", &key.chars().rev().collect::<String>()),
        "/a22" => plain("204 No Content", &format!("x-key-was: {key}\r\n"), ""),
        other => plain("200 OK", "etag: \"1\"\r\n", &format!("this is {other}")),
    }
}

fn plain(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}").into_bytes()
}

/// The run.
pub(super) struct Scene {
    pub(super) node: Node,
    pub(super) upstream: Upstream,
    pub(super) connection: ConnectionId,
    pub(super) row: RunRow,
    pub(super) egress: Arc<Egress>,
    tasks: Mutex<JoinSet<()>>,
}

impl Scene {
    pub(super) async fn new() -> Self {
        Self::with(json!({}), &["crm"]).await
    }

    /// With these settings of the connection, bound to these slots of the agent.
    pub(super) async fn with(settings: Value, slots: &[&str]) -> Self {
        Self::through(settings, json!({"value": KEY}), 1, slots).await
    }

    /// With this credential of the connection, which has come to this version.
    pub(super) async fn through(settings: Value, credential: Value, version: u32, slots: &[&str]) -> Self {
        let upstream = Upstream::start().await;
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let node = Node::with(now, |parts| parts.broker.allow_upstream = vec!["127.0.0.1/32".parse().unwrap()]).await;
        let mut all =
            json!({"base_url": format!("http://{}", upstream.address), "slot": {"in": "header", "name": "x-key"}});
        all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let body = json!({"name": "acme", "connector": "http", "settings": all, "credential": credential});
        let new: NewConnection = serde_json::from_value(body).unwrap();
        let connection = match node.platform.create_connection(&node.caller, new).await.unwrap() {
            Posted::Fresh(view) => view.id,
            Posted::Replayed(_) => unreachable!("no key was sent"),
        };
        for _ in 1..version {
            let rotate: RotateConnection = serde_json::from_value(json!({"credential": credential})).unwrap();
            node.platform.rotate_connection(&node.caller, connection, rotate).await.unwrap();
        }
        let row = start(&node, connection, slots).await;
        *upstream.shared.run.lock().unwrap() = Some((node.platform.clone(), row.clone()));
        let egress = Arc::new(way(&node, &row).await.unwrap());
        let mut tasks = JoinSet::new();
        let looking = Arc::clone(&egress);
        tasks.spawn(async move { looking.look().await });
        Self { node, upstream, connection, row, egress, tasks: Mutex::new(tasks) }
    }

    /// The variables of the sandbox.
    pub(super) fn variables(&self) -> BTreeMap<String, String> {
        self.egress.environment().into_iter().collect()
    }

    pub(super) fn placeholder(&self) -> String {
        self.variables()["LIVERY_CRM_KEY"].clone()
    }

    /// A connection of a program.
    pub(super) fn connect(&self) -> DuplexStream {
        self.connect_by(&self.egress)
    }

    fn connect_by(&self, egress: &Egress) -> DuplexStream {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let proxy = Arc::clone(&egress.proxy);
        self.tasks.lock().unwrap().spawn(async move { proxy.serve(far).await });
        near
    }

    /// One request with these further headers, and all that is answered.
    pub(super) async fn ask(&self, method: &str, path: &str, headers: &str) -> String {
        self.say(self.request(method, path, headers)).await
    }

    pub(super) fn request(&self, method: &str, path: &str, headers: &str) -> String {
        let host = self.upstream.address;
        format!("{method} http://{host}{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n")
    }

    pub(super) async fn say(&self, bytes: impl AsRef<[u8]>) -> String {
        self.say_by(&self.egress, bytes).await
    }

    /// The same by another way out of the same run.
    pub(super) async fn say_by(&self, egress: &Egress, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect_by(egress);
        let (mut reading, mut writing) = tokio::io::split(&mut stream);
        let mut answer = Vec::new();
        // What is refused is not read to its end.
        let (_, read) = tokio::join!(writing.write_all(bytes.as_ref()), read_all(&mut reading, &mut answer));
        read.expect("the connection stays open");
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(super) async fn events(&self, event_type: EventType) -> Vec<Value> {
        let events = self.node.platform.store.events_after(self.row.org, self.row.id, 0, 1000).await.unwrap();
        let told = events.iter().map(|event| serde_json::to_value(event).unwrap());
        told.filter(|event| event["type"] == event_type.as_str()).map(|event| event["data"].clone()).collect()
    }

    /// Waits for this many of them: they are written beside the answer.
    pub(super) async fn told(&self, event_type: EventType, count: usize) -> Vec<Value> {
        until(event_type.as_str(), || async { self.events(event_type).await.len() >= count }).await;
        self.events(event_type).await
    }

    pub(super) async fn rotate(&self, key: &str) {
        let request: RotateConnection = serde_json::from_value(json!({"credential": {"value": key}})).unwrap();
        self.node.platform.rotate_connection(&self.node.caller, self.connection, request).await.unwrap();
    }

    pub(super) async fn revoke(&self) {
        self.node.platform.revoke_connection(&self.node.caller, self.connection).await.unwrap();
    }

    pub(super) async fn run(&self) -> RunRow {
        self.node.platform.store.get_run(self.row.org, self.row.id).await.unwrap().unwrap()
    }

    /// The whole log of the run as text.
    pub(super) async fn log(&self) -> String {
        let events = self.node.platform.store.events_after(self.row.org, self.row.id, 0, 1000).await.unwrap();
        events.iter().map(|event| serde_json::to_string(event).unwrap() + "\n").collect()
    }
}

async fn read_all(
    stream: &mut (impl AsyncRead + Unpin),
    answer: &mut Vec<u8>,
) -> Result<(), tokio::time::error::Elapsed> {
    tokio::time::timeout(PATIENCE, stream.read_to_end(answer)).await.map(drop)
}

/// The way out of a run, as a node makes it that has just got hold of the run.
pub(super) async fn way(node: &Node, row: &RunRow) -> Option<Egress> {
    Egress::of(&node.platform, row, &Network::Broker, Duration::from_secs(600)).await.unwrap()
}

/// A run that waits for its model, and goes on waiting.
pub(super) async fn start(node: &Node, connection: ConnectionId, slots: &[&str]) -> RunRow {
    let script = json!({"turns": [{"text": "Done.", "delay_ms": 600_000}]}).to_string();
    let slots_yaml: String = slots.iter().map(|slot| format!("  {slot}: {{connector: http}}\n")).collect();
    let agent_md = format!("---\nname: clerk\nmodel: scripted/a\ntools: [shell]\nconnections:\n{slots_yaml}---\nHi.\n");
    let agent = json!({"agent_md": agent_md, "files": {"scripts/a.yaml": STANDARD.encode(script)}});
    let connections: BTreeMap<&str, ConnectionId> = slots.iter().map(|slot| (*slot, connection)).collect();
    let request: StartRun = serde_json::from_value(json!({"agent": agent, "connections": connections})).unwrap();
    let id: RunId = match node.platform.start_run(&node.caller, request).await.unwrap() {
        Posted::Fresh(view) => view.id,
        Posted::Replayed(_) => unreachable!("no key was sent"),
    };
    let claimed = claim(&node.platform, 1).await.unwrap().pop().unwrap();
    let row = claimed.run.clone();
    node.platform.tasks.spawn(Box::pin(drive::drive(node.platform.clone(), claimed)));
    until("the run has its door", || async { node.platform.running.doors.of(id).is_some() }).await;
    row
}

pub(super) fn assert_absent(text: &str) {
    for key in [KEY, NEXT_KEY] {
        let reversed: String = key.chars().rev().collect();
        let hex: String = key.bytes().map(|byte| format!("{byte:02x}")).collect();
        for needle in [&key[..16], &key[key.len() - 16..], &reversed[..16], &hex[..32]] {
            assert!(!text.to_lowercase().contains(&needle.to_lowercase()), "{needle} is in {text}");
        }
    }
}
