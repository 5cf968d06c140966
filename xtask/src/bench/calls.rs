//! What a call of a run costs from the platform's decision to its answer in the log: a reading one, and one that changes
//! something and is therefore committed before it is sent.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::http::{Connection, Target};
use super::load::percentile;
use super::phases::{base64, whole};
use super::{Figures, progress};

/// What a server needs to be told so that a connection may lead to the upstream.
pub const FLAGS: [&str; 2] = ["--allow-upstream", "127.0.0.0/8"];
/// Calls of each method, one after the other, in one run.
const CALLS: usize = 90;
/// Events of a page.
const PAGE: usize = 500;
/// Connections and bytes of one body that the upstream takes.
const CONNECTIONS_MAX: usize = 64;
const BODY_BYTES_MAX: usize = 64 * 1024;

/// The names of the four figures on one engine.
#[derive(Debug)]
pub struct Keys {
    pub(super) get_p50: &'static str,
    pub(super) get_p99: &'static str,
    pub(super) post_p50: &'static str,
    pub(super) post_p99: &'static str,
}

/// On a server with its own files.
pub const SQLITE: Keys = Keys {
    get_p50: "call_get_p50_ms",
    get_p99: "call_get_p99_ms",
    post_p50: "call_post_p50_ms",
    post_p99: "call_post_p99_ms",
};
/// On a server with a database elsewhere.
pub const POSTGRES: Keys = Keys {
    get_p50: "pg_call_get_p50_ms",
    get_p99: "pg_call_get_p99_ms",
    post_p50: "pg_call_post_p50_ms",
    post_p99: "pg_call_post_p99_ms",
};

/// One run with [`CALLS`] of each, read off its log.
///
/// # Errors
/// A call failed, or the run did.
pub fn in_a_run(target: &Target, keys: &Keys, figures: &mut Figures) -> anyhow::Result<()> {
    progress(&format!("{CALLS} reading and {CALLS} writing calls of a run"));
    let mut connection = Connection::new(target.clone());
    let base = format!("http://{}", upstream()?);
    let settings = json!({"base_url": base, "slot": {"in": "header", "name": "x-key"}});
    let body = json!({"name": "bench", "connector": "http", "settings": settings, "credential": {"value": CREDENTIAL}});
    let bound = connection.send("POST", "/v1/connections", "", body.to_string().as_bytes())?.success()?;
    let policy = json!({"name": "bench", "text": "permit (principal, action in Action::\"call\", resource);"});
    connection.send("POST", "/v1/policies", "", policy.to_string().as_bytes())?.success()?;
    let files = json!({"scripts/bench.yaml": base64(&script())});
    let body = json!({
        "agent": {"agent_md": AGENT, "files": files}, "input": {}, "connections": {"api": bound["id"]},
    });
    let run = whole(&mut connection, &body)?;
    let events = events(&mut connection, &run)?;
    let mut times = times(&events)?;
    anyhow::ensure!(times.len() == 2 * CALLS, "{} of {} calls are in the log", times.len(), 2 * CALLS);
    let (reads, writes) = times.split_at_mut(CALLS);
    for (times, p50, p99) in [(reads, keys.get_p50, keys.get_p99), (writes, keys.post_p50, keys.post_p99)] {
        times.sort_by(f64::total_cmp);
        figures.add(p50, percentile(times, 0.5));
        figures.add(p99, percentile(times, 0.99));
    }
    Ok(())
}

/// A turn for each call, first all of one method, then all of the other.
fn script() -> String {
    let call = |method: &str| {
        let mut arguments = json!({"connection": "api", "method": method, "path": "/things"});
        if method == "POST" {
            arguments["body"] = json!({"amount": 1});
        }
        json!({"tools": [{"name": "call_api", "arguments": arguments}]})
    };
    let calls = ["GET", "POST"].into_iter().flat_map(|method| std::iter::repeat_n(call(method), CALLS));
    let turns: Vec<Value> = calls.chain([json!({"text": "done"})]).collect();
    json!({ "turns": turns }).to_string()
}

fn events(connection: &mut Connection, run: &str) -> anyhow::Result<Vec<Value>> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let path = format!("/v1/runs/{run}/events?limit={PAGE}&after={after}");
        let page = connection.send("GET", &path, "", b"")?.success()?;
        let page = page["data"].as_array().context("a page of events without data")?;
        let Some(last) = page.last() else { return Ok(all) };
        after = last["seq"].as_u64().context("an event without a number")?;
        all.extend(page.iter().cloned());
    }
}

/// Milliseconds from each call's start to its end in the log, in the order of the calls.
fn times(events: &[Value]) -> anyhow::Result<Vec<f64>> {
    let of = |name: &'static str| events.iter().filter(move |event| event["type"] == name);
    let mut times = Vec::new();
    for started in of("tool.started") {
        let call = &started["data"]["call_id"];
        let end = of("tool.finished").find(|end| end["data"]["call_id"] == *call).context("a call without end")?;
        anyhow::ensure!(end["data"]["ok"] == true, "a call failed: {}", end["data"]["result"]);
        times.push(milliseconds(&end["at"])? - milliseconds(&started["at"])?);
    }
    Ok(times)
}

/// Since midnight, of `2026-01-02T03:04:05.678901Z`: a call that passes it is one of very many.
fn milliseconds(at: &Value) -> anyhow::Result<f64> {
    let at = at.as_str().context("an event without a time")?;
    let clock = at.split_once('T').map(|(_, clock)| clock.trim_end_matches('Z')).context("a time without a clock")?;
    let mut parts = clock.split(':').map(str::parse::<f64>);
    let mut part = || parts.next().context("a short time")?.context("a time of no numbers");
    let (hours, minutes, seconds) = (part()?, part()?, part()?);
    Ok(((hours * 60.0 + minutes) * 60.0 + seconds) * 1e3)
}

/// An API on loopback that answers everything with a little JSON, on connections that stay open.
fn upstream() -> anyhow::Result<std::net::SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("an upstream")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().take(CONNECTIONS_MAX).flatten() {
            // A connection that breaks is the broker's to report.
            std::thread::spawn(move || serve(stream).ok());
        }
    });
    Ok(address)
}

fn serve(stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut answers = stream.try_clone()?;
    let mut requests = BufReader::new(stream);
    loop {
        let (mut length, mut line) = (0, String::new());
        loop {
            line.clear();
            if requests.by_ref().take(8192).read_line(&mut line)? == 0 {
                return Ok(());
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if line.trim_end().is_empty() {
                break;
            }
        }
        let mut body = vec![0; std::cmp::min(length, BODY_BYTES_MAX)];
        requests.read_exact(&mut body)?;
        answers.write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 12\r\n\r\n{\"ok\": true}",
        )?;
    }
}

const CREDENTIAL: &str = "a-key-for-the-bench-that-opens-nothing";
const AGENT: &str = "---
name: bench-calls
description: Calls an API, again and again.
model: scripted/bench
tools: [call_api]
connections:
  api: {connector: http}
limits: {max_turns: 200}
---
Call.
";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::times;

    #[test]
    fn the_time_of_a_call_is_read_off_the_log() {
        let event =
            |name: &str, id: &str, at: &str| json!({"type": name, "at": at, "data": {"call_id": id, "ok": true}});
        let events = [
            event("tool.started", "a", "2026-01-02T03:59:59.999000Z"),
            event("tool.finished", "a", "2026-01-02T03:59:59.9995Z"),
            event("tool.started", "b", "2026-01-02T04:00:00.002Z"),
            event("model.requested", "b", "2026-01-02T04:00:00.003Z"),
            event("tool.finished", "b", "2026-01-02T04:00:00.012Z"),
        ];
        let tenths: Vec<f64> = times(&events).unwrap().iter().map(|ms| (ms * 10.0).round()).collect();
        assert_eq!(tenths, [5.0, 100.0]);
        assert!(times(&events[..1]).is_err());
    }
}
