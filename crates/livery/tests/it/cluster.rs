//! Several nodes on one Postgres and one folder for files, as whole processes: whatever happens to one of them, nothing is
//! lost, nothing is done twice, and any node shows all of it.
//!
//! Walk on: each file below is one thing that happens to a node, or to the database under all of them; `database` looks at
//! and moves rows that no API shows.

mod database;
mod drain;
mod duties;
mod outage;
mod pause;
mod revoked;
mod roles;
mod streams;
mod takeover;
mod upgrade;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use livery_llm::script::Script;
use livery_testkit::fake_model::{Config, FakeModel, Mode};
use livery_testkit::postgres::{Error, Options};
use livery_testkit::{Postgres, WebhookSink};
use serde_json::{Value, json};

use crate::support::{PATIENCE, Server, processes_naming, request, skip};

/// An agent that needs no sandbox and no upstream.
const TALKER: &str = "---\nname: talker\nmodel: scripted/s\n---\nTalk.\n";
const TALK: &str = "turns:\n  - text: done\n";
/// The key of fake models.
const MODEL_KEY: &str = "sk-cluster-0123456789abcdef";

/// One server for all databases here; it goes with this process.
fn shared() -> Option<&'static Postgres> {
    static SHARED: OnceLock<Option<Postgres>> = OnceLock::new();
    let started = SHARED.get_or_init(|| match Postgres::start_with(Options { fsync: false, ..Options::default() }) {
        Ok(server) => Some(server),
        Err(Error::NotInstalled) => None,
        Err(error) => panic!("{error}"),
    });
    if started.is_none() {
        skip(&Error::NotInstalled.to_string());
    }
    started.as_ref()
}

/// A database, a folder that nodes share, and room for the nodes' own.
struct Cluster {
    database: String,
    url: String,
    home: tempfile::TempDir,
}

impl Cluster {
    fn start() -> Option<Self> {
        Some(Self::on(shared()?))
    }

    fn on(postgres: &Postgres) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let database = format!("cluster{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let url = postgres.create_database(&database).unwrap();
        let home = tempfile::tempdir().unwrap();
        // Livery leaves root and must still reach what it is given.
        let open = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        open(home.path(), 0o755);
        let cluster = Self { database, url, home };
        std::fs::create_dir(cluster.objects()).unwrap();
        open(&cluster.objects(), 0o777);
        cluster
    }

    fn objects(&self) -> PathBuf {
        self.home.path().join("objects")
    }

    /// A node of that name: the first one makes the organization, the others get its root key and its address file.
    fn node(&self, name: &str, flags: &[&str]) -> Server {
        let data = self.home.path().join(name);
        let first = self.home.path().join("first");
        match std::fs::read_to_string(&first) {
            Ok(first) if !data.exists() => copy_keys(Path::new(&first), &data),
            Ok(_) => {}
            Err(_) => std::fs::write(&first, data.to_str().unwrap()).unwrap(),
        }
        let objects = self.objects();
        let own = ["--database", &self.url, "--objects", objects.to_str().unwrap(), "--node", name];
        let allow = ["--allow-upstream", "127.0.0.1/32"];
        Server::again(&data, &[&own[..], &allow, flags].concat())
    }

    /// Two ordinary nodes.
    fn pair(&self) -> Pair {
        Pair { nodes: [self.node("one", &[]), self.node("two", &[])] }
    }
}

fn copy_keys(from: &Path, to: &Path) {
    let script = "mkdir -m 700 $1 && chown --reference=$0 $1 && cp -a $0/root.key $0/bootstrap.json $1/";
    assert!(Command::new("sh").arg("-c").arg(script).arg(from).arg(to).status().unwrap().success());
}

/// Two nodes, either of which may take a run.
struct Pair {
    nodes: [Server; 2],
}

impl Pair {
    /// The node that works on a run, and the other one.
    fn split(mut self, run: &str) -> (Server, Server) {
        let started = seen(&self.nodes[0], run, "run.started", 1);
        if started["data"]["node"] != node_id(&self.nodes[0]) {
            self.nodes.swap(0, 1);
        }
        let [holder, other] = self.nodes;
        assert_eq!(started["data"]["node"], node_id(&holder));
        (holder, other)
    }
}

/// A model server in this process.
struct Model {
    fake: FakeModel,
    runtime: tokio::runtime::Runtime,
}

impl Model {
    fn plays(script: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mode = Mode::Script(Arc::new(Script::parse("s.yaml", script).unwrap()));
        let config = Config { key: Some(MODEL_KEY.to_owned()), mode, ..Config::default() };
        Self { fake: runtime.block_on(FakeModel::start(config)).unwrap(), runtime }
    }

    /// Stores it as the provider `name`.
    fn provide(&self, node: &Server, name: &str) {
        let base_url = self.fake.anthropic_base_url();
        let body = json!({"name": name, "kind": "anthropic", "base_url": base_url, "api_key": MODEL_KEY});
        let (status, answer) = node.post("/v1/model_providers", &body);
        assert_eq!(status, 201, "{answer}");
    }

    /// How often each idempotency key arrived.
    fn keys(&self) -> BTreeMap<String, usize> {
        let mut keys = BTreeMap::new();
        for asked in self.fake.requests() {
            *keys.entry(asked.header("idempotency-key").unwrap().to_owned()).or_default() += 1;
        }
        keys
    }
}

/// An agent with a shell on the provider `name`.
fn sheller(name: &str) -> String {
    format!("---\nname: sheller\nmodel: {name}/m\ntools: [shell, read_file, write_file]\n---\nWork.\n")
}

/// A turn whose commands run at the same time.
fn turn(commands: &[&str]) -> String {
    let call = |command: &&str| format!("{{name: shell, arguments: {{command: {}}}}}", json!(command));
    format!("  - tools: [{}]\n", commands.iter().map(call).collect::<Vec<_>>().join(", "))
}

/// A word that no other process of this machine has on its command line, but for those that were given it.
fn marker(what: &str) -> String {
    format!("{what}-{}-marker", std::process::id())
}

/// Polls until `look` sees something.
fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: it did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The `nth` event of that type, once a node shows it.
fn seen(node: &Server, run: &str, kind: &str, nth: usize) -> Value {
    let what = format!("{kind} of {run}");
    eventually(&what, || node.events(run).into_iter().filter(|event| event["type"] == kind).nth(nth - 1))
}

fn count(events: &[Value], kind: &str) -> usize {
    events.iter().filter(|event| event["type"] == kind).count()
}

/// What the command that ended last printed.
fn last_printed(events: &[Value]) -> String {
    let ended = events.iter().rfind(|event| event["type"] == "tool.finished").unwrap();
    let result: Value = serde_json::from_str(ended["data"]["result"].as_str().unwrap()).unwrap();
    result["stdout"].as_str().unwrap().to_owned()
}

/// Sequences from 1 without a gap, nothing twice, one beginning and one end.
fn whole(events: &[Value]) {
    let sequences: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<_>>());
    let ends = ["run.succeeded", "run.failed", "run.cancelled", "run.timed_out"];
    assert_eq!(ends.map(|kind| count(events, kind)).iter().sum::<usize>(), 1, "{events:#?}");
    assert_eq!((count(events, "run.queued"), count(events, "run.started")), (1, 1), "{events:#?}");
}

/// The id of a node, kept in its data directory.
fn node_id(node: &Server) -> String {
    std::fs::read_to_string(node.data.join("node.id")).unwrap().trim().to_owned()
}

/// Waits until no process of a run's sandbox is left, nor its workspace on this node.
fn sandbox_gone(node: &Server, run: &str, marker: &str) {
    eventually("the end of the sandbox", || processes_naming(marker).is_empty().then_some(()));
    let workspace = node.data.join("sandboxes/workspaces").join(run);
    eventually("the end of the workspace", || (!workspace.exists()).then_some(()));
}

/// Asks without a key; `None` when nobody answers.
fn probe(node: &Server, path: &str) -> Option<(u16, Value)> {
    TcpStream::connect(node.url.trim_start_matches("http://")).ok()?;
    std::panic::catch_unwind(|| request(&node.url, "", "GET", path, &[], b"")).ok()
}

/// Waits for an answer of `/readyz` with that status.
fn readiness(node: &Server, status: u16) -> Value {
    eventually(&format!("readiness {status}"), || {
        probe(node, "/readyz").filter(|(found, _)| *found == status).map(|(_, answer)| answer)
    })
}

/// An open event stream.
struct Stream {
    lines: Lines<BufReader<TcpStream>>,
}

/// An event as a stream brings it: its place in the log, if it has one, and its type.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Streamed {
    id: Option<u64>,
    kind: String,
}

impl Stream {
    /// Follows a run from behind the event `after`.
    fn open(node: &Server, run: &str, after: u64) -> Self {
        let host = node.url.trim_start_matches("http://");
        let mut socket = TcpStream::connect(host).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        // In HTTP/1.0 the body comes as it is.
        let head = format!(
            "GET /v1/runs/{run}/events HTTP/1.0\r\nhost: {host}\r\naccept: text/event-stream\r\nlast-event-id: {after}\r\n\
             authorization: Bearer {}\r\n\r\n",
            node.key
        );
        socket.write_all(head.as_bytes()).unwrap();
        let mut lines = BufReader::new(socket).lines();
        let status = lines.next().unwrap().unwrap();
        assert!(status.contains(" 200 "), "{status}");
        Self { lines }
    }
}

impl Iterator for Stream {
    type Item = Streamed;

    /// The next event; `None` at the end of the stream.
    fn next(&mut self) -> Option<Streamed> {
        let mut event = Streamed { id: None, kind: String::new() };
        for line in self.lines.by_ref() {
            let line = line.unwrap();
            match line.split_once(": ") {
                Some(("id", id)) => event.id = Some(id.parse().unwrap()),
                Some(("event", kind)) => event.kind = kind.to_owned(),
                _ if line.is_empty() && !event.kind.is_empty() => return Some(event),
                _ => {}
            }
        }
        None
    }
}

/// The places in the log that a stream brought.
fn places<'a>(events: impl IntoIterator<Item = &'a Streamed>) -> Vec<u64> {
    events.into_iter().filter_map(|event| event.id).collect()
}
