//! Measures what a sandbox costs: create to first command, starts per second at 50 in parallel, memory each.
//!
//! `cargo run --release -p livery-sandbox --example start_latency [LIVE]`: also keeps LIVE sandboxes (default 100) at once.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring program")]

use std::time::{Duration, Instant};

use livery_sandbox::{Exec, Sandbox, SandboxConfig, Sandboxes, Spec, launcher, spawn_launcher};

fn main() -> std::process::ExitCode {
    if let Some(code) = launcher::run_if_asked() {
        return code;
    }
    let live = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(100);
    let temp = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let process = spawn_launcher(&SandboxConfig::new(temp.path().join("state"))).unwrap();
    let pid = process.pid();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let sandboxes = Sandboxes::connect(process).unwrap();
        println!("{:?}", sandboxes.grants().await.unwrap());
        println!("launcher ready after {:?}", began.elapsed());
        sequential(&sandboxes).await;
        parallel(&sandboxes).await;
        many(&sandboxes, live, pid).await;
        sandboxes.shutdown().await.unwrap();
    });
    std::process::ExitCode::SUCCESS
}

async fn first_command(sandboxes: &Sandboxes, id: String) -> (Sandbox, Duration, Duration) {
    let began = Instant::now();
    let sandbox = sandboxes.create(Spec::new(id)).await.unwrap();
    let created = began.elapsed();
    let result = sandbox.exec(Exec::new(["/bin/echo", "x"]), |_, _| {}).await.unwrap();
    assert_eq!(result.stdout, b"x\n");
    (sandbox, created, began.elapsed())
}

async fn sequential(sandboxes: &Sandboxes) {
    let (mut creates, mut firsts, mut kills, mut removes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..100 {
        let id = format!("seq-{round}");
        let (sandbox, created, first) = first_command(sandboxes, id.clone()).await;
        creates.push(created);
        firsts.push(first);
        kills.push(sandbox.kill("done").await.unwrap().took);
        let began = Instant::now();
        sandboxes.remove_workspace(&id).await.unwrap();
        removes.push(began.elapsed());
    }
    for (name, times) in
        [("create", creates), ("create to first output", firsts), ("kill", kills), ("remove workspace", removes)]
    {
        print_times(name, times);
    }
}

fn print_times(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    println!("{name}: min {:?}, median {:?}, p99 {:?}", times[0], at(50), at(99));
}

async fn parallel(sandboxes: &Sandboxes) {
    let (rounds, at_once) = (400, 50);
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    let mut times = Vec::new();
    for round in 0..rounds {
        if tasks.len() >= at_once {
            times.push(tasks.join_next().await.unwrap().unwrap());
        }
        let sandboxes = sandboxes.clone();
        tasks.spawn(async move {
            let id = format!("par-{round}");
            let (sandbox, _, first) = first_command(&sandboxes, id.clone()).await;
            sandbox.kill("done").await.unwrap();
            sandboxes.remove_workspace(&id).await.unwrap();
            first
        });
    }
    while let Some(done) = tasks.join_next().await {
        times.push(done.unwrap());
    }
    println!(
        "{rounds} whole lives, {at_once} at a time: {:.0} per second",
        f64::from(rounds) / began.elapsed().as_secs_f64()
    );
    print_times("create to first output among them", times);
}

async fn many(sandboxes: &Sandboxes, live: usize, launcher: u32) {
    let before = memory_available_kb();
    let mut all = Vec::new();
    let began = Instant::now();
    for number in 0..live {
        all.push(first_command(sandboxes, format!("live-{number}")).await.0);
    }
    println!("{live} sandboxes at once after {:?}", began.elapsed());
    let each = (before.saturating_sub(memory_available_kb())) / live.max(1) as u64;
    println!("host memory each: {each} KiB; launcher RSS: {} KiB", status_kb(launcher, "VmRSS:"));
    let usage = all[0].usage().await.unwrap();
    println!("one of them: {usage:?}");
    let began = Instant::now();
    for sandbox in all {
        sandbox.kill("done").await.unwrap();
    }
    println!("all ended after {:?}", began.elapsed());
}

fn memory_available_kb() -> u64 {
    line_kb("/proc/meminfo", "MemAvailable:")
}

fn status_kb(pid: u32, name: &str) -> u64 {
    line_kb(&format!("/proc/{pid}/status"), name)
}

fn line_kb(path: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
