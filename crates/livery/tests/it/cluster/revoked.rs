//! A connection that is revoked through one node ends what a run on another node has open through it.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Cluster, Pair, eventually, last_printed, shared};
use crate::egress::Upstream;
use crate::support::{one_command, skip};

const PASSWORD: &str = "pw-n0t-in-the-sandbox-4fGh7Kq2Zx9";
const KEY: &str = "sk_live_n0t-in-the-sandbox-4fGh7Kq2Zx9";

/// Begins an answer that has no end, and writes down when nobody takes it any more.
const ENDLESS: &str = r#"
import http.server, ssl, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_):
        pass
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        print("begun", file=open("../requests", "a"))
        try:
            while True:
                self.wfile.write(b"5\r\ntick\n\r\n")
                time.sleep(0.05)
        except OSError:
            print("gone", file=open("../requests", "a"))
"#;

const AGENT: &str = "---\nname: open\nmodel: scripted/s\ntools: [shell]\nsandbox: {network: broker}\n\
    connections:\n  db: {connector: postgres}\n  api: {connector: http}\n---\nWork.\n";

#[test]
fn f11_c4_a_connection_revoked_on_one_node_is_cut_on_the_other() {
    if let Some(missing) =
        ["/usr/lib/postgresql/15/bin/psql", "/usr/bin/curl"].iter().find(|path| !Path::new(path).exists())
    {
        return skip(&format!("there is no {missing}"));
    }
    let (Some(cluster), Some(postgres)) = (Cluster::start(), shared()) else { return };
    postgres.sql("postgres", &format!("create role revoked_app login password '{PASSWORD}'")).unwrap();
    let upstream = Upstream::running(ENDLESS, KEY);
    let root = upstream.home.path().join("root.pem");
    let flags = ["--upstream-ca", root.to_str().unwrap()];
    let pair = Pair { nodes: [cluster.node("one", &flags), cluster.node("two", &flags)] };
    let port =
        postgres.tcp_url("postgres").split(':').nth(3).unwrap().split('/').next().unwrap().parse::<u16>().unwrap();
    let connect = |body: &serde_json::Value| {
        let (status, view) = pair.nodes[0].post("/v1/connections", body);
        assert_eq!(status, 201, "{view}");
        view["id"].as_str().unwrap().to_owned()
    };
    let db = connect(&json!({
        "name": "db", "connector": "postgres", "credential": {"username": "revoked_app", "password": PASSWORD},
        "settings": {"host": "127.0.0.1", "port": port, "database": "postgres", "sslmode": "disable", "statement_timeout_s": 300},
    }));
    let api = connect(&json!({
        "name": "api", "connector": "http", "credential": {"value": KEY},
        "settings": {"base_url": format!("https://api.localhost:{}", upstream.port)},
    }));
    // Names below `localhost` are for the test alone: programs would not ask a proxy for them.
    let command = format!(
        "export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1 PGCONNECT_TIMEOUT=20
        (/usr/lib/postgresql/15/bin/psql -X -A -t -c 'select pg_sleep(250)' > db.out 2>&1; echo db=$? >> db.out) &
        (curl -sSN -m 250 https://api.localhost:{}/ > api.out 2>&1; echo api=$? >> api.out) &
        wait; tail -n 9 db.out; tail -n 2 api.out",
        upstream.port
    );
    let bound = json!({"connections": {"db": db, "api": api}});
    let run = pair.nodes[0].start_run(AGENT, Some(&one_command(&command)), &bound);
    let (holder, other) = pair.split(&run);
    let sessions = || {
        let count =
            "select count(*) from pg_stat_activity where usename = 'revoked_app' and query like '%pg_sleep(250)%'";
        postgres.sql("postgres", count).unwrap()
    };
    let requests = || upstream.requests();
    eventually("a session and a stream", || (sessions() == "1" && requests().contains("begun")).then_some(()));
    for (connection, what) in [(&db, "the session"), (&api, "the stream")] {
        let revoked = other.command(&["connections", "delete", connection]).output().unwrap();
        assert!(revoked.status.success(), "{}", String::from_utf8_lossy(&revoked.stderr));
        let begun = Instant::now();
        let is_open = || match what {
            "the session" => sessions() != "0",
            _ => !requests().contains("gone"),
        };
        while is_open() {
            assert!(begun.elapsed() < Duration::from_secs(20), "{what} is still open\n{}", holder.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("{what} ended {:?} after its connection was revoked on the other node", begun.elapsed());
    }
    let view = other.ended(&run);
    assert_eq!(view["status"], "succeeded", "{view}");
    let text = last_printed(&other.events(&run));
    assert!(
        text.contains("the connection was revoked or its credential replaced") && text.contains("db=2\n"),
        "{text}"
    );
    assert!(text.contains("api=") && !text.contains("api=0") && !text.contains("api=28"), "cut before its end: {text}");
}
