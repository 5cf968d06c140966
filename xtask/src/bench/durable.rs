//! Durability under measurement: short runs to their end on both engines, and how soon a run goes on after `kill -9`.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::calls::{self, POSTGRES};
use super::http::{Connection, Target};
use super::load::{Until, drive};
use super::phases::{accept, base64, push_agents, wait_until_idle};
use super::postgres::Postgres;
use super::server::Server;
use super::{Figures, progress};

/// Connections that send short runs.
const CONNECTIONS: usize = 32;
/// Longest wait for a run to go on.
const RESUME_MAX: Duration = Duration::from_secs(60);
/// Between two looks at a log.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    phase: Duration,
    runs: usize,
}

impl Size {
    /// For a first look, or for figures.
    pub const fn of(quick: bool) -> Self {
        if quick {
            Self { phase: Duration::from_millis(500), runs: 300 }
        } else {
            Self { phase: Duration::from_secs(4), runs: 5_000 }
        }
    }
}

/// From the first `POST` until the last run is over.
pub fn short_runs(target: &Target, size: Size, key: &'static str, figures: &mut Figures) -> anyhow::Result<()> {
    progress(&format!("{} short runs to their end", size.runs));
    let begun = Instant::now();
    let seen = drive(target, CONNECTIONS, Until::Calls(size.runs), |connection| accept(connection, "bench-quick"))?;
    wait_until_idle(target)?;
    #[expect(clippy::cast_precision_loss, reason = "counts of a bench are far below 2^52")]
    let rate = size.runs as f64 / begun.elapsed().as_secs_f64();
    figures.checked(key, rate, &seen);
    Ok(())
}

/// The same on Postgres, with what it takes to be accepted there, and the node that takes over from a dead one.
pub fn on_postgres(binary: &Path, folder: &Path, size: Size, figures: &mut Figures) -> anyhow::Result<()> {
    let called = [POSTGRES.get_p50, POSTGRES.get_p99, POSTGRES.post_p50, POSTGRES.post_p99];
    let keys = ["pg_accept_1_p50_ms", "pg_accept_32_per_s", "pg_short_runs_per_s", "resume_other_ms"]
        .into_iter()
        .chain(called);
    let absent = |figures: &mut Figures, why: &str| keys.for_each(|key| figures.absent(key, why.to_owned()));
    if !knows_flag(binary, "--database")? {
        absent(figures, "the binary knows no --database");
        return Ok(());
    }
    let postgres = match Postgres::start(binary) {
        Ok(postgres) => postgres,
        Err(error) => {
            absent(figures, &format!("{error:#}"));
            return Ok(());
        }
    };
    let mut flags = vec!["--database".to_owned(), postgres.url.clone()];
    flags.extend(calls::FLAGS.map(str::to_owned));
    if knows_flag(binary, "--objects")? {
        flags.extend(["--objects".to_owned(), folder.join("objects").display().to_string()]);
    }
    let server = Server::start_with(binary, &folder.join("pg-1"), &flags)?;
    push_agents(&server.target)?;
    for (connections, phase) in [(1, "one connection"), (CONNECTIONS, "32 connections")] {
        progress(&format!("POST /v1/runs on Postgres, {phase}"));
        let seen = drive(&server.target, connections, Until::Elapsed(size.phase), |connection| {
            accept(connection, "bench-quick")
        })?;
        match connections {
            1 => figures.checked("pg_accept_1_p50_ms", seen.percentile(0.5), &seen),
            _ => figures.checked("pg_accept_32_per_s", seen.per_second(), &seen),
        }
        wait_until_idle(&server.target)?;
    }
    short_runs(&server.target, size, "pg_short_runs_per_s", figures)?;
    calls::in_a_run(&server.target, &POSTGRES, figures)?;
    resume_other_node(binary, folder, server, &flags, figures)
}

/// A node dies and starts again on its own data.
pub fn resume_same_node(binary: &Path, data: &Path, figures: &mut Figures) -> anyhow::Result<()> {
    progress("kill -9 and a start of the same node");
    let server = Server::start(binary, data)?;
    let (run, last) = long_run(&server.target)?;
    server.kill()?;
    let begun = Instant::now();
    let server = Server::start(binary, data)?;
    next_event(&server.target, &run, last)?;
    figures.add("resume_same_ms", begun.elapsed().as_secs_f64() * 1000.0);
    server.kill()
}

/// A node dies, and another one that is up has to see that the lease runs out.
fn resume_other_node(
    binary: &Path,
    folder: &Path,
    first: Server,
    flags: &[String],
    figures: &mut Figures,
) -> anyhow::Result<()> {
    progress("kill -9, and another node goes on");
    let data = folder.join("pg-2");
    std::fs::create_dir_all(&data)?;
    let owner = std::fs::metadata(folder.join("pg-1"))?;
    chown(&data, Some(owner.uid()), Some(owner.gid())).context("giving the data directory away")?;
    // Nodes of one database share the root key, and the operator's file with the API key.
    for name in ["root.key", "bootstrap.json"] {
        // With its owner: a server that left root has to read it.
        let status = Command::new("cp").arg("-a").arg(folder.join("pg-1").join(name)).arg(&data).status();
        anyhow::ensure!(status.context("cp")?.success(), "{name} cannot be copied");
    }
    let (run, _) = long_run(&first.target)?;
    let second = Server::start_with(binary, &data, flags)?;
    let last = last_seq(&first.target, &run)?;
    first.kill()?;
    let begun = Instant::now();
    next_event(&second.target, &run, last)?;
    figures.add("resume_other_ms", begun.elapsed().as_secs_f64() * 1000.0);
    second.kill()
}

/// A run in the middle of a long model call, and the last event of its log.
fn long_run(target: &Target) -> anyhow::Result<(String, u64)> {
    let files = json!({"scripts/bench.yaml": base64(LONG_SCRIPT)});
    let body = json!({"agent": {"agent_md": LONG_AGENT, "files": files}, "input": {}}).to_string();
    let run = Connection::new(target.clone()).send("POST", "/v1/runs", "", body.as_bytes())?.success()?;
    let run = run["id"].as_str().context("a run without an id")?.to_owned();
    let begun = Instant::now();
    loop {
        let last = last_seq(target, &run)?;
        // Queued, started, asked.
        if last >= 3 {
            return Ok((run, last));
        }
        anyhow::ensure!(begun.elapsed() < RESUME_MAX, "{run} does not begin");
        std::thread::park_timeout(LOOK_EVERY);
    }
}

fn last_seq(target: &Target, run: &str) -> anyhow::Result<u64> {
    let view = Connection::new(target.clone()).send("GET", &format!("/v1/runs/{run}"), "", b"")?.success()?;
    Ok(view["last_seq"].as_u64().unwrap_or(0))
}

/// Waits for an event behind `last`.
fn next_event(target: &Target, run: &str, last: u64) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut connection = Connection::new(target.clone());
    while begun.elapsed() < RESUME_MAX {
        let answer = connection.send("GET", &format!("/v1/runs/{run}"), "", b"");
        let view = answer.and_then(|answer| answer.success()).unwrap_or(Value::Null);
        if view["last_seq"].as_u64().is_some_and(|seq| seq > last) {
            return Ok(());
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
    anyhow::bail!("{run} does not go on")
}

/// Whether `livery up` of this binary knows a flag.
fn knows_flag(binary: &Path, flag: &str) -> anyhow::Result<bool> {
    let help = Command::new(binary).args(["up", "--help"]).output().context("asking for help")?;
    Ok(String::from_utf8_lossy(&help.stdout).contains(&format!("{flag} ")))
}

const LONG_AGENT: &str = "---
name: bench-long
description: Thinks for a long time.
model: scripted/bench
---
Think.
";
const LONG_SCRIPT: &str = "turns:
  - text: done
    delay_ms: 300000
";
