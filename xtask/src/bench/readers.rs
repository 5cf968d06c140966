//! A thousand readers of live events: how long an event takes from the moment in its record to each of them.
//!
//! Both ends read the same clock: the record's moment is taken before its commit, so the commit is part of the figure.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::Barrier;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use livery_core::Timestamp;
use serde_json::{Value, json};

use super::http::{Connection, Target};
use super::load::percentile;
use super::phases::base64;
use super::{Figures, progress};

/// Stack of a reader's thread.
const STACK_BYTES: usize = 128 * 1024;
/// Longest silence of a stream.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Adds p50 and p99 over all readers and events.
pub fn event_latency(target: &Target, figures: &mut Figures) -> anyhow::Result<()> {
    // In a quick run too: the row says a thousand, and fewer would be another figure.
    let (runs, readers_each) = (20, 50);
    progress(&format!("{} readers of {runs} runs", runs * readers_each));
    let started: Vec<String> = (0..runs).map(|_| start(target)).collect::<anyhow::Result<_>>()?;
    let gate = Barrier::new(runs * readers_each);
    let parts = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for run in &started {
            for _ in 0..readers_each {
                let gate = &gate;
                let reader = move || read(target, run, gate);
                let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, reader);
                threads.push(thread.context("starting a reader")?);
            }
        }
        anyhow::Ok(threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Vec<_>>())
    })?;
    let mut latencies = Vec::new();
    for part in parts {
        latencies.extend(part.map_err(|_| anyhow::anyhow!("a reader panicked"))??);
    }
    anyhow::ensure!(!latencies.is_empty(), "no reader saw an event");
    latencies.sort_by(f64::total_cmp);
    progress(&format!("{} receipts", latencies.len()));
    figures.add("readers_p50_ms", percentile(&latencies, 0.5));
    figures.add("readers_p99_ms", percentile(&latencies, 0.99));
    Ok(())
}

/// A run that waits for its readers, then goes through a few turns.
fn start(target: &Target) -> anyhow::Result<String> {
    let files = json!({"scripts/bench.yaml": base64(SCRIPT)});
    let body = json!({"agent": {"agent_md": AGENT, "files": files}, "input": {}}).to_string();
    let run = Connection::new(target.clone()).send("POST", "/v1/runs", "", body.as_bytes())?.success()?;
    Ok(run["id"].as_str().context("a run without an id")?.to_owned())
}

/// Milliseconds from each event's own moment to its receipt, for events that happened after all readers were there.
fn read(target: &Target, run: &str, gate: &Barrier) -> anyhow::Result<Vec<f64>> {
    let stream = open(target, run);
    // Also a reader that could not connect: the others wait for it.
    gate.wait();
    let ready = now();
    let mut latencies = Vec::new();
    for line in BufReader::with_capacity(4096, stream?).lines() {
        let line = line.context("reading events")?;
        let received = now();
        let Some(data) = line.strip_prefix("data: ").or_else(|| line.strip_prefix("data:")) else { continue };
        let event: Value = serde_json::from_str(data).unwrap_or(Value::Null);
        let Some(at) = event["at"].as_str().and_then(|at| at.parse::<Timestamp>().ok()) else { continue };
        // Live deltas have no number: they are not in the log.
        if event["seq"].is_u64() && at > ready {
            #[expect(clippy::cast_precision_loss, reason = "microseconds of a bench are far below 2^52")]
            latencies.push(received.micros_since(at) as f64 / 1000.0);
        }
        if event["type"].as_str().is_some_and(|kind| kind == "run.succeeded" || kind == "run.failed") {
            return Ok(latencies);
        }
    }
    anyhow::bail!("the stream of {run} ended before its run")
}

fn open(target: &Target, run: &str) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(target.address).context("connecting to the server")?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    write!(
        stream,
        "GET /v1/runs/{run}/events HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\naccept: text/event-stream\r\n\r\n",
        target.address, target.api_key
    )?;
    Ok(stream)
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

const AGENT: &str = "---
name: bench-turns
description: Several turns with a shell.
model: scripted/bench
tools: [shell]
---
Take your turns.
";
const SCRIPT: &str = "turns:
  - tools: [{name: shell, arguments: {command: \"true\"}}]
    delay_ms: 5000
  - tools: [{name: shell, arguments: {command: \"true\"}}]
    delay_ms: 300
  - tools: [{name: shell, arguments: {command: \"true\"}}]
    delay_ms: 300
  - tools: [{name: shell, arguments: {command: \"true\"}}]
    delay_ms: 300
  - text: done
    delay_ms: 300
";
