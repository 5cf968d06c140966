//! Measures what a hostile sandbox costs its quiet neighbours: the p99 of their commands beside it, as a multiple of that without it.
//!
//! `cargo run --release -p livery-sandbox --example neighbours [TIER]`: a container if no tier is named.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, reason = "a measuring program")]

mod shared;

use std::time::{Duration, Instant};

use livery_sandbox::{Exec, Sandbox, Sandboxes, Spec, Tier, Usage, launcher, spawn_launcher};
use tokio::sync::oneshot;

use shared::{config, print_times};

/// Quiet sandboxes, the commands of each, and the time between two.
const QUIET: usize = 10;
const COMMANDS: usize = 100;
const PACE: Duration = Duration::from_millis(20);
/// What the hostile one is given before the others are measured.
const HEAD_START: Duration = Duration::from_millis(500);

/// What each takes without end: a name and a shell's line.
const HOSTILE: [(&str, &str); 6] = [
    ("processor", "for n in 1 2 3 4 5 6 7; do (while :; do :; done) & done; while :; do :; done"),
    ("memory", "while :; do tail /dev/zero; done"),
    ("processes", "while :; do sleep 5 & done"),
    ("disk", "while :; do dd if=/dev/zero of=full bs=1M; rm full; done"),
    ("files", "n=0; while :; do : > file-$n; n=$((n + 1)); done"),
    ("output", "while :; do yes flood; done"),
];

fn main() -> std::process::ExitCode {
    if let Some(code) = launcher::run_if_asked() {
        return code;
    }
    let tier = std::env::args().nth(1).map_or(Ok(Tier::Container), |name| name.parse());
    let Ok(tier) = tier else {
        eprintln!("there is no such tier");
        return std::process::ExitCode::from(2);
    };
    let temp = tempfile::tempdir().unwrap();
    let process = spawn_launcher(&config(tier, temp.path())).unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let sandboxes = Sandboxes::connect(process).unwrap();
        let mut quiet = Vec::new();
        for number in 0..QUIET {
            quiet.push(sandboxes.create(spec(tier, &format!("quiet-{number}"))).await.unwrap());
        }
        // Nothing of the first time is in the figures.
        commands(&quiet).await;
        for (name, script) in HOSTILE {
            let alone = commands(&quiet).await;
            let beside = beside(&sandboxes, spec(tier, name), script, &quiet).await;
            print_times("alone", alone.clone());
            print_times("beside it", beside.clone());
            println!("{name}: {:.2} times the p99", p99(beside) / p99(alone));
        }
        sandboxes.shutdown().await.unwrap();
    });
    std::process::ExitCode::SUCCESS
}

fn spec(tier: Tier, id: &str) -> Spec {
    Spec { tier, disk_mb: 256, memory_mb: 256, ..Spec::new(id) }
}

/// How long the quiet ones' commands take while the hostile one is at it.
async fn beside(sandboxes: &Sandboxes, spec: Spec, script: &str, quiet: &[Sandbox]) -> Vec<Duration> {
    let (name, (enough, stop)) = (spec.id.clone(), oneshot::channel());
    let work = tokio::spawn(attack(sandboxes.clone(), spec, script.to_owned(), stop));
    tokio::time::sleep(HEAD_START).await;
    let times = commands(quiet).await;
    enough.send(()).unwrap();
    let (lives, usage) = work.await.unwrap();
    println!("{name}: {lives} lives of it, and of the last {usage:?}");
    sandboxes.remove_workspace(&name).await.unwrap();
    times
}

/// Takes without end, and in a new sandbox where that ended the former one. How many there were, and what the last one used.
async fn attack(
    sandboxes: Sandboxes,
    spec: Spec,
    script: String,
    mut stop: oneshot::Receiver<()>,
) -> (u32, Option<Usage>) {
    let (mut lives, mut usage, mut is_enough) = (0, None, false);
    while !is_enough {
        let hostile = sandboxes.create(spec.clone()).await.unwrap();
        lives += 1;
        let exec = Exec { timeout: Duration::from_secs(60), ..Exec::shell(&script) };
        tokio::select! {
            _ = hostile.exec(exec, |_, _| {}) => {}
            _ = &mut stop => (usage, is_enough) = (hostile.usage().await.ok(), true),
        }
        hostile.kill("done").await.unwrap();
    }
    (lives, usage)
}

/// A small command again and again in each sandbox, and how long each took.
async fn commands(quiet: &[Sandbox]) -> Vec<Duration> {
    let mut tasks = tokio::task::JoinSet::new();
    for sandbox in quiet {
        let sandbox = sandbox.clone();
        tasks.spawn(async move {
            let mut times = Vec::with_capacity(COMMANDS);
            for _ in 0..COMMANDS {
                let began = Instant::now();
                let result = sandbox.exec(Exec::new(["/bin/echo", "x"]), |_, _| {}).await.unwrap();
                assert_eq!(result.stdout, b"x\n");
                times.push(began.elapsed());
                tokio::time::sleep(PACE).await;
            }
            times
        });
    }
    tasks.join_all().await.concat()
}

fn p99(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[(times.len() - 1) * 99 / 100].as_secs_f64()
}
