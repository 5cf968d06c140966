//! What the figures are compared with: our own must and goal, and what a peer was seen to do.
//!
//! The peer is Appstrate (commit 765d277a of August 2026, embedded database, process adapter without isolation, zero-latency
//! model). Its figures were measured on a 2-vCPU machine like ours, but not on this one and not in this run: they give an
//! order of magnitude. Measure again, side by side, before you quote them. [`Row::peer_note`] says what differs.

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Times and weights.
    Lower,
    /// Rates.
    Higher,
}

/// A line of the table before it is measured.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Name in JSON, and the link to the figure.
    pub key: &'static str,
    /// What is measured, for people.
    pub what: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Which way is better.
    pub better: Better,
    /// Not done without it.
    pub must: Option<f64>,
    /// What we aim at.
    pub goal: Option<f64>,
    /// The peer's figure in the same unit, the better end of a range.
    pub peer: Option<f64>,
    /// What differs from ours.
    pub peer_note: &'static str,
}

/// A figure that was taken.
#[derive(Debug, Clone)]
pub struct Measured {
    /// The row it belongs to.
    pub key: &'static str,
    /// In the row's unit; nothing: it could not be taken.
    pub value: Option<f64>,
    /// Why it could not, or what to know about it.
    pub note: Option<String>,
    /// What broke while it was taken: the command fails.
    pub broken: Option<String>,
}

/// The row of a key.
pub fn row(key: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.key == key)
}

const fn lower(key: &'static str, what: &'static str, unit: &'static str) -> Row {
    Row { key, what, unit, better: Better::Lower, must: None, goal: None, peer: None, peer_note: "" }
}

const fn higher(key: &'static str, what: &'static str, unit: &'static str) -> Row {
    Row { better: Better::Higher, ..lower(key, what, unit) }
}

impl Row {
    const fn aim(self, must: f64, goal: f64) -> Self {
        Self { must: Some(must), goal: Some(goal), ..self }
    }

    const fn must(self, must: f64) -> Self {
        Self { must: Some(must), ..self }
    }

    const fn peer(self, peer: f64, peer_note: &'static str) -> Self {
        Self { peer: Some(peer), peer_note, ..self }
    }
}

/// Every line, in the order it is shown.
pub const ROWS: &[Row] = &[
    lower("start_fresh_ms", "start to /healthz, empty folder", "ms").peer(10_200.0, ""),
    lower("start_data_ms", "start to /healthz, data present", "ms").aim(150.0, 60.0).peer(5_300.0, ""),
    lower("idle_rss_mb", "idle RSS, server and launcher", "MB").aim(40.0, 25.0).peer(441.0, "API process alone"),
    lower("sandbox_min_ms", "container: create to first command, min", "ms"),
    lower("sandbox_median_ms", "container: create to first command, median", "ms")
        .aim(15.0, 6.0)
        .peer(623.0, "container run ready, stated in its issue 835, other machine"),
    lower("sandbox_p99_ms", "container: create to first command, p99", "ms"),
    lower("sandbox_next_ms", "container: second command, median", "ms"),
    lower("sandbox_at_once_ms", "container: 100 at once, until each has run its first command", "ms"),
    higher("sandbox_per_s", "container: whole lives, 50 at a time", "/s"),
    lower("sandbox_memory_mib", "container: host memory each", "MiB")
        .aim(3.0, 1.0)
        .peer(170.0, "RSS of one agent process"),
    lower("gvisor_min_ms", "gVisor: create to first command, min", "ms"),
    lower("gvisor_median_ms", "gVisor: create to first command, median", "ms").must(220.0),
    lower("gvisor_p99_ms", "gVisor: create to first command, p99", "ms"),
    lower("gvisor_warm_min_ms", "gVisor, one that waited: create to first command, min", "ms"),
    lower("gvisor_warm_ms", "gVisor, one that waited: create to first command, median", "ms").aim(50.0, 5.0),
    lower("gvisor_warm_p99_ms", "gVisor, one that waited: create to first command, p99", "ms"),
    lower("gvisor_next_ms", "gVisor: second command, median", "ms"),
    lower("gvisor_at_once_ms", "gVisor: 100 at once, until each has run its first command", "ms"),
    higher("gvisor_per_s", "gVisor: whole lives, 8 at a time", "/s"),
    lower("gvisor_memory_mib", "gVisor: host memory each", "MiB"),
    lower("isolate_min_ms", "isolate: create to first answer, min", "ms"),
    lower("isolate_median_ms", "isolate: create to first answer, median", "ms").aim(70.0, 30.0),
    lower("isolate_p99_ms", "isolate: create to first answer, p99", "ms"),
    lower("isolate_warm_min_ms", "isolate, one that waited: create to first answer, min", "ms"),
    lower("isolate_warm_ms", "isolate, one that waited: create to first answer, median", "ms").aim(10.0, 3.0),
    lower("isolate_warm_p99_ms", "isolate, one that waited: create to first answer, p99", "ms"),
    lower("isolate_next_ms", "isolate: second answer, from the host that waits, median", "ms"),
    lower("isolate_at_once_ms", "isolate: 100 at once, until each has run its first answer", "ms"),
    higher("isolate_per_s", "isolate: whole lives, 8 at a time", "/s"),
    lower("isolate_memory_mib", "isolate: host memory each", "MiB"),
    lower("microvm_min_ms", "microVM (QEMU, TCG: dev-only): create to first command, min", "ms"),
    lower("microvm_median_ms", "microVM (QEMU, TCG: dev-only): create to first command, median", "ms").must(2500.0),
    lower("microvm_p99_ms", "microVM (QEMU, TCG: dev-only): create to first command, p99", "ms"),
    lower("microvm_warm_min_ms", "microVM (QEMU, TCG: dev-only), one that waited: create to first command, min", "ms"),
    lower("microvm_warm_ms", "microVM (QEMU, TCG: dev-only), one that waited: create to first command, median", "ms"),
    lower("microvm_warm_p99_ms", "microVM (QEMU, TCG: dev-only), one that waited: create to first command, p99", "ms"),
    lower("microvm_next_ms", "microVM (QEMU, TCG: dev-only): second command, median", "ms"),
    lower("microvm_at_once_ms", "microVM (QEMU, TCG: dev-only): 4 at once, until each has run its first command", "ms"),
    higher("microvm_per_s", "microVM (QEMU, TCG: dev-only): whole lives, 2 at a time", "/s"),
    lower("microvm_memory_mib", "microVM (QEMU, TCG: dev-only): host memory each", "MiB"),
    lower("beside_processor", "container: p99 of ten quiet ones beside one that takes the processor", "×").must(2.0),
    lower("beside_memory", "container: p99 of ten quiet ones beside one that takes memory", "×").must(2.0),
    lower("beside_processes", "container: p99 of ten quiet ones beside a fork bomb", "×").must(2.0),
    lower("beside_disk", "container: p99 of ten quiet ones beside one that fills its disk", "×").must(2.0),
    lower("beside_files", "container: p99 of ten quiet ones beside one that makes files", "×").must(2.0),
    lower("beside_output", "container: p99 of ten quiet ones beside a flood of output", "×").must(2.0),
    lower("broker_added_p50_us", "broker: added to a GET of 1 KB, p50", "µs").aim(150.0, 60.0),
    lower("broker_added_p99_us", "broker: added to a GET of 1 KB, p99", "µs").aim(2000.0, 500.0),
    higher("broker_per_s", "broker: GETs, 32 at a time", "/s").aim(8000.0, 20_000.0),
    higher("broker_stream_mb_s", "broker: one long answer, scrubbed", "MB/s").aim(400.0, 1000.0),
    lower("call_get_p50_ms", "call_api in a run, GET: start to end in the log, p50", "ms"),
    lower("call_get_p99_ms", "call_api in a run, GET, p99", "ms"),
    lower("call_post_p50_ms", "call_api in a run, POST with its commit, p50", "ms"),
    lower("call_post_p99_ms", "call_api in a run, POST with its commit, p99", "ms"),
    lower("run_p50_ms", "run with one shell call, sequential, p50", "ms")
        .aim(60.0, 25.0)
        .peer(2_100.0, "no shell call"),
    lower("run_p99_ms", "run with one shell call, sequential, p99", "ms"),
    higher("run_10_per_s", "10 at a time: runs", "/s").peer(0.50, "no shell call"),
    lower("run_10_p50_ms", "10 at a time: p50", "ms").peer(20_500.0, "no shell call"),
    lower("run_10_p99_ms", "10 at a time: p99", "ms").peer(25_700.0, "maximum of 20 runs"),
    lower("run_10_rss_mb", "10 at a time: peak RSS, sandboxes included", "MB").peer(1_990.0, "no sandboxes"),
    higher("run_50_per_s", "50 at a time: runs", "/s").aim(60.0, 200.0),
    lower("run_50_p50_ms", "50 at a time: p50", "ms"),
    lower("run_50_p99_ms", "50 at a time: p99", "ms"),
    lower("run_50_rss_mb", "50 at a time: peak RSS, sandboxes included", "MB"),
    higher("run_100_per_s", "100 at a time: runs", "/s"),
    lower("run_100_p50_ms", "100 at a time: p50", "ms"),
    lower("run_100_p99_ms", "100 at a time: p99", "ms"),
    lower("run_100_rss_mb", "100 at a time: peak RSS, sandboxes included", "MB"),
    higher("run_500_per_s", "500 at a time: runs", "/s"),
    lower("run_500_p50_ms", "500 at a time: p50", "ms"),
    lower("run_500_p99_ms", "500 at a time: p99", "ms"),
    lower("run_500_rss_mb", "500 at a time: peak RSS, sandboxes included", "MB"),
    lower("run_500_lost", "500 at a time: runs lost", "").aim(0.0, 0.0),
    higher("list_1_per_s", "GET /v1/runs, 1 connection", "/s").peer(43.0, "list of agents"),
    higher("list_8_per_s", "GET /v1/runs, 8 connections", "/s").aim(5_000.0, 15_000.0).peer(50.0, ""),
    lower("list_8_p50_ms", "GET /v1/runs, 8 connections, p50", "ms").peer(146.0, ""),
    higher("list_32_per_s", "GET /v1/runs, 32 connections", "/s").peer(210.0, "list of agents, on Postgres"),
    higher("accept_1_per_s", "POST /v1/runs, 1 connection", "/s"),
    lower("accept_1_p50_ms", "POST /v1/runs until accepted, p50", "ms").aim(5.0, 1.0).peer(81.0, ""),
    higher("accept_8_per_s", "POST /v1/runs, 8 connections", "/s"),
    higher("accept_32_per_s", "POST /v1/runs, 32 connections", "/s").aim(1_000.0, 3_000.0),
    lower("accept_32_p99_ms", "POST /v1/runs, 32 connections, p99", "ms"),
    higher("short_runs_per_s", "short runs from POST to their end, 32 connections", "/s"),
    lower("pg_accept_1_p50_ms", "Postgres: POST /v1/runs until accepted, p50", "ms").aim(5.0, 1.0).peer(160.0, ""),
    higher("pg_accept_32_per_s", "Postgres: POST /v1/runs, 32 connections", "/s").aim(1_000.0, 3_000.0),
    higher("pg_short_runs_per_s", "Postgres: short runs from POST to their end, 32 connections", "/s"),
    lower("pg_call_get_p50_ms", "Postgres: call_api in a run, GET, p50", "ms"),
    lower("pg_call_get_p99_ms", "Postgres: call_api in a run, GET, p99", "ms"),
    lower("pg_call_post_p50_ms", "Postgres: call_api in a run, POST with its commit, p50", "ms"),
    lower("pg_call_post_p99_ms", "Postgres: call_api in a run, POST with its commit, p99", "ms"),
    lower("resume_same_ms", "kill -9, same node: start of the process to the first resumed event", "ms")
        .aim(1_000.0, 300.0),
    lower("resume_other_ms", "kill -9, other node: kill to its first event, lease included", "ms")
        .aim(10_000.0, 5_000.0),
    lower("readers_p50_ms", "1,000 event readers: commit to receipt, p50", "ms"),
    lower("readers_p99_ms", "1,000 event readers: commit to receipt, p99", "ms").aim(100.0, 20.0),
];
