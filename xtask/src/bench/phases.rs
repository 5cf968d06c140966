//! What is measured, in order: starting, weighing idle, listing, accepting, running. Each phase waits until the one before is over.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use serde_json::{Value, json};

use super::http::{Connection, Target};
use super::load::{Seen, Until, drive};
use super::reference::Measured;
use super::server::{Folder, Server};
use super::{Figures, memory, progress};

/// Starts measured with data present; the median counts.
const STARTS: usize = 7;
/// Time the server is left alone before it is weighed.
const IDLE_BEFORE_WEIGHING: Duration = Duration::from_secs(2);
/// Longest wait for accepted runs to finish.
const DRAIN_MAX: Duration = Duration::from_secs(300);
/// Longest wait for one run; a server that needs longer has lost it.
const RUN_WAITS_MAX: usize = 6;
/// Runs the list holds when it is measured.
const LISTED: usize = 20;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Size {
    phase: Duration,
    sequential: usize,
    /// (at a time, runs in all)
    parallel: [(usize, usize); 4],
}

impl Size {
    const FULL: Self = Self {
        phase: Duration::from_secs(4),
        sequential: 100,
        parallel: [(10, 200), (50, 500), (100, 600), (500, 1000)],
    };
    const QUICK: Self = Self {
        phase: Duration::from_millis(500),
        sequential: 20,
        parallel: [(10, 20), (50, 50), (100, 100), (500, 500)],
    };
}

/// Runs every phase and gives the figures in the order of the table.
pub fn all(binary: &Path, quick: bool) -> anyhow::Result<Vec<Measured>> {
    let size = if quick { Size::QUICK } else { Size::FULL };
    let folder = Folder::fresh()?;
    let data = folder.0.join("data");
    let mut figures = Figures::default();
    let server = starts(binary, &data, &mut figures)?;
    idle(&server, &mut figures);
    super::sandbox::tiers(binary, &mut figures);
    super::neighbours::beside(binary, &mut figures);
    super::broker::overhead(binary, &mut figures);
    push_agents(&server.target)?;
    lists(&server.target, size, &mut figures)?;
    accepts(&server.target, size, &mut figures)?;
    runs(&server, size, &mut figures)?;
    let recovery = super::durable::Size::of(quick);
    super::durable::short_runs(&server.target, recovery, "short_runs_per_s", &mut figures)?;
    super::readers::event_latency(&server.target, &mut figures)?;
    server.stop()?;
    let flags = super::calls::FLAGS.map(str::to_owned);
    let server = Server::start_with(binary, &folder.0.join("calls"), &flags)?;
    super::calls::in_a_run(&server.target, &super::calls::SQLITE, &mut figures)?;
    server.stop()?;
    super::durable::resume_same_node(binary, &folder.0.join("resume"), &mut figures)?;
    super::durable::on_postgres(binary, &folder.0, recovery, &mut figures)?;
    Ok(figures.in_order())
}

/// From an empty folder once, then again and again on the same one.
fn starts(binary: &Path, data: &Path, figures: &mut Figures) -> anyhow::Result<Server> {
    progress("starting on an empty folder");
    let server = Server::start(binary, data)?;
    figures.add("start_fresh_ms", server.start_ms);
    push_agents(&server.target)?;
    drain(&server.target, LISTED, |connection| accept(connection, "bench-quick"))?;
    server.stop()?;
    progress("starting with data present");
    let mut times = Vec::new();
    loop {
        let server = Server::start(binary, data)?;
        times.push(server.start_ms);
        if times.len() == STARTS {
            times.sort_by(f64::total_cmp);
            figures.add("start_data_ms", super::load::percentile(&times, 0.5));
            return Ok(server);
        }
        server.stop()?;
    }
}

fn idle(server: &Server, figures: &mut Figures) {
    progress("weighing the idle server");
    std::thread::park_timeout(IDLE_BEFORE_WEIGHING);
    let (bytes, processes) = memory::tree(server.pid());
    progress(&format!("{processes} processes"));
    figures.add("idle_rss_mb", megabytes(bytes));
}

fn lists(target: &Target, size: Size, figures: &mut Figures) -> anyhow::Result<()> {
    for (connections, rate) in [(1, "list_1_per_s"), (8, "list_8_per_s"), (32, "list_32_per_s")] {
        progress(&format!("GET /v1/runs on {connections} connections"));
        let seen = drive(target, connections, Until::Elapsed(size.phase), |connection| {
            let answer = connection.send("GET", &format!("/v1/runs?limit={LISTED}"), "", b"")?;
            anyhow::ensure!(answer.status == 200, "the list answered {}", answer.status);
            Ok(())
        })?;
        figures.rate(rate, &seen);
        if connections == 8 {
            figures.add("list_8_p50_ms", seen.percentile(0.5));
        }
    }
    Ok(())
}

fn accepts(target: &Target, size: Size, figures: &mut Figures) -> anyhow::Result<()> {
    for (connections, rate) in [(1, "accept_1_per_s"), (8, "accept_8_per_s"), (32, "accept_32_per_s")] {
        progress(&format!("POST /v1/runs on {connections} connections"));
        let seen =
            drive(target, connections, Until::Elapsed(size.phase), |connection| accept(connection, "bench-quick"))?;
        figures.rate(rate, &seen);
        match connections {
            1 => figures.add("accept_1_p50_ms", seen.percentile(0.5)),
            32 => figures.add("accept_32_p99_ms", seen.percentile(0.99)),
            _ => {}
        }
        progress("waiting until the accepted runs are finished");
        wait_until_idle(target)?;
    }
    Ok(())
}

fn runs(server: &Server, size: Size, figures: &mut Figures) -> anyhow::Result<()> {
    progress("whole runs with one shell call, one after the other");
    let seen = drive(&server.target, 1, Until::Calls(size.sequential), whole_run)?;
    figures.checked("run_p50_ms", seen.percentile(0.5), &seen);
    figures.add("run_p99_ms", seen.percentile(0.99));
    for (at_a_time, in_all) in size.parallel {
        progress(&format!("{in_all} whole runs, {at_a_time} at a time"));
        let load = || drive(&server.target, at_a_time, Until::Calls(in_all), whole_run);
        let (peak, seen) = memory::peak_during(server.pid(), load);
        let seen = seen?;
        let Some([rate, p50, p99, rss]) = keys(at_a_time) else { continue };
        figures.checked(rate, seen.per_second(), &seen);
        figures.add(p50, seen.percentile(0.5));
        figures.add(p99, seen.percentile(0.99));
        figures.add(rss, megabytes(peak));
        if at_a_time == 500 {
            #[expect(clippy::cast_precision_loss, reason = "at most a few thousand runs")]
            figures.add("run_500_lost", (in_all - seen.latencies_ms.len()) as f64);
        }
    }
    Ok(())
}

fn keys(at_a_time: usize) -> Option<[&'static str; 4]> {
    Some(match at_a_time {
        10 => ["run_10_per_s", "run_10_p50_ms", "run_10_p99_ms", "run_10_rss_mb"],
        50 => ["run_50_per_s", "run_50_p50_ms", "run_50_p99_ms", "run_50_rss_mb"],
        100 => ["run_100_per_s", "run_100_p50_ms", "run_100_p99_ms", "run_100_rss_mb"],
        500 => ["run_500_per_s", "run_500_p50_ms", "run_500_p99_ms", "run_500_rss_mb"],
        _ => return None,
    })
}

/// Bytes as megabytes of a million.
fn megabytes(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "memory of this machine is far below 2^52 bytes")]
    let bytes = bytes as f64;
    bytes / 1e6
}

/// A run from the request to its end; anything but success is a failure.
fn whole_run(connection: &mut Connection) -> anyhow::Result<()> {
    let body =
        json!({"agent": {"agent_md": SHELL_AGENT, "files": {"scripts/bench.yaml": base64(SHELL_SCRIPT)}}, "input": {}});
    whole(connection, &body).map(drop)
}

/// Starts this run and waits for its success; its id.
pub(super) fn whole(connection: &mut Connection, body: &Value) -> anyhow::Result<String> {
    let answer = connection.send("POST", "/v1/runs", "prefer: wait=55\r\n", body.to_string().as_bytes())?;
    let mut run = answer.success()?;
    let id = run["id"].as_str().context("a run without an id")?.to_owned();
    for _ in 0..RUN_WAITS_MAX {
        match run["status"].as_str().unwrap_or_default() {
            "succeeded" => return Ok(id),
            "queued" | "running" | "waiting" => {}
            _ => anyhow::bail!("{id} ended as {}: {}", run["status"], run["error"]),
        }
        run = connection.send("GET", &format!("/v1/runs/{id}?wait=55"), "", b"")?.success()?;
    }
    anyhow::bail!("{id} is still {} after {RUN_WAITS_MAX} waits", run["status"])
}

/// Starts a run of a stored agent and does not wait for it.
pub(super) fn accept(connection: &mut Connection, agent: &str) -> anyhow::Result<()> {
    let body = format!("{{\"agent\":\"{agent}\",\"input\":{{}}}}");
    let answer = connection.send("POST", "/v1/runs", "", body.as_bytes())?;
    anyhow::ensure!(answer.status == 202, "status {}: {}", answer.status, String::from_utf8_lossy(&answer.body));
    Ok(())
}

pub(super) fn push_agents(target: &Target) -> anyhow::Result<()> {
    let body = json!({"agent_md": QUICK_AGENT, "files": {"scripts/bench.yaml": base64(QUICK_SCRIPT)}});
    let answer = Connection::new(target.clone()).send("POST", "/v1/agents", "", body.to_string().as_bytes())?;
    answer.success().context("storing the bench agent").map(drop)
}

fn drain<F>(target: &Target, calls: usize, call: F) -> anyhow::Result<()>
where
    F: Fn(&mut Connection) -> anyhow::Result<()> + Sync,
{
    let seen = drive(target, 4, Until::Calls(calls), call)?;
    anyhow::ensure!(seen.failures.is_empty(), "{}", seen.failures.join("; "));
    wait_until_idle(target)
}

/// Waits until no run is queued or running; fails when some stay.
pub(super) fn wait_until_idle(target: &Target) -> anyhow::Result<()> {
    let mut connection = Connection::new(target.clone());
    let deadline = std::time::Instant::now() + DRAIN_MAX;
    while std::time::Instant::now() < deadline {
        let mut open = false;
        for status in ["queued", "running"] {
            let answer = connection.send("GET", &format!("/v1/runs?limit=1&status={status}"), "", b"")?.success()?;
            open |= answer["data"].as_array().is_some_and(|runs| !runs.is_empty());
        }
        if !open {
            return Ok(());
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    anyhow::bail!("accepted runs are still open after {} s", DRAIN_MAX.as_secs())
}

pub(super) fn base64(text: &str) -> Value {
    Value::String(base64::engine::general_purpose::STANDARD.encode(text))
}

const SHELL_AGENT: &str = "---
name: bench-shell
description: One shell call, then done.
model: scripted/bench
tools: [shell]
---
Say hello.
";
const SHELL_SCRIPT: &str = "turns:
  - tools: [{name: shell, arguments: {command: \"echo hello\"}}]
  - expect: {tool_result_contains: \"hello\"}
    tools: [{name: finish, arguments: {text: done}}]
";
const QUICK_AGENT: &str = "---
name: bench-quick
description: Done at once, without a sandbox.
model: scripted/bench
---
Say hello.
";
const QUICK_SCRIPT: &str = "turns:
  - tools: [{name: finish, arguments: {text: done}}]
";

impl Figures {
    /// A rate over calls of which none may fail.
    fn rate(&mut self, key: &'static str, seen: &Seen) {
        self.checked(key, seen.per_second(), seen);
    }

    /// A figure that is worth something only if nothing failed.
    pub(super) fn checked(&mut self, key: &'static str, value: f64, seen: &Seen) {
        match seen.failures.first() {
            None => self.add(key, value),
            Some(first) => self.broken(key, value, format!("{} failed, the first: {first}", seen.failures.len())),
        }
    }

    /// In the order of the table.
    fn in_order(self) -> Vec<Measured> {
        let mut figures = self.0;
        figures.sort_by_key(|figure| super::reference::ROWS.iter().position(|row| row.key == figure.key));
        figures
    }
}
