//! Measures what a sandbox of a tier costs: create to first command, starts per second in parallel, memory each.
//!
//! `cargo run --release -p livery-sandbox --example start_latency [TIER] [LIVE]`: a container if no tier is named; LIVE of them
//! are kept at once. The programs of other tiers are those of `cargo xtask setup`.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, reason = "a measuring program")]

mod shared;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use livery_sandbox::{
    Code, CodeOutcome, Exec, Language, Sandbox, SandboxConfig, Sandboxes, Spec, Tier, launcher, spawn_launcher,
};

use shared::{config, print_times};

/// How much is measured of a tier: one after the other, whole lives in parallel (how many, how many at a time), at once.
struct Size {
    rounds: u32,
    lives: (u32, usize),
    live: usize,
}

impl Size {
    const fn of(tier: Tier) -> Self {
        match tier {
            Tier::Container => Self { rounds: 100, lives: (400, 50), live: 100 },
            Tier::Gvisor => Self { rounds: 30, lives: (40, 8), live: 100 },
            Tier::Isolate => Self { rounds: 50, lives: (100, 8), live: 100 },
            Tier::Microvm => Self { rounds: 10, lives: (8, 2), live: 4 },
        }
    }
}

fn main() -> std::process::ExitCode {
    if let Some(code) = launcher::run_if_asked() {
        return code;
    }
    let tier = std::env::args().nth(1).map_or(Ok(Tier::Container), |name| name.parse());
    let Ok(tier) = tier else {
        eprintln!("there is no such tier");
        return std::process::ExitCode::from(2);
    };
    let size = Size::of(tier);
    let live = std::env::args().nth(2).and_then(|n| n.parse().ok()).unwrap_or(size.live);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let measured = runtime.block_on(async {
        cold(tier, &size, live).await?;
        if tier == Tier::Container { Ok(()) } else { warm(tier, size.rounds).await }
    });
    if let Err(why) = measured {
        eprintln!("{tier}: {why}");
        return std::process::ExitCode::FAILURE;
    }
    std::process::ExitCode::SUCCESS
}

/// Each sandbox is started when it is wanted.
async fn cold(tier: Tier, size: &Size, live: usize) -> Result<(), String> {
    let temp = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let (bench, launcher) = Bench::open(tier, temp.path(), Some(0)).await?;
    println!("{:?}", bench.sandboxes.grants().await.unwrap());
    println!("launcher ready after {:?}", began.elapsed());
    bench.sequential(size.rounds).await;
    bench.parallel(size.lives).await;
    bench.many(live, launcher).await;
    bench.sandboxes.shutdown().await.map_err(|error| error.to_string())
}

/// Each was started before it was wanted.
async fn warm(tier: Tier, rounds: u32) -> Result<(), String> {
    let temp = tempfile::tempdir().unwrap();
    let (bench, _) = Bench::open(tier, temp.path(), None).await?;
    bench.waiting(rounds).await;
    bench.sandboxes.shutdown().await.map_err(|error| error.to_string())
}

struct Bench {
    sandboxes: Sandboxes,
    tier: Tier,
    /// Where one sees that sandboxes wait.
    workspaces: PathBuf,
}

/// How long one may take until it waits, and what its programs take to be ready after that.
const WAITS_MAX: Duration = Duration::from_secs(30);
const SETTLED: Duration = Duration::from_millis(400);

async fn first_command(sandboxes: &Sandboxes, spec: Spec) -> (Sandbox, Duration, Duration) {
    let (began, tier) = (Instant::now(), spec.tier);
    let sandbox = sandboxes.create(spec).await.unwrap();
    let created = began.elapsed();
    command(&sandbox, tier).await;
    (sandbox, created, began.elapsed())
}

/// The least that a sandbox of this tier can be asked for.
async fn command(sandbox: &Sandbox, tier: Tier) {
    if tier == Tier::Isolate {
        let result = sandbox.run_code(Code::new(Language::Js, "6 * 7"), |_, _| {}).await.unwrap();
        assert_eq!(result.outcome, CodeOutcome::Value(Some(42.into())));
    } else {
        let result = sandbox.exec(Exec::new(["/bin/echo", "x"]), |_, _| {}).await.unwrap();
        assert_eq!(result.stdout, b"x\n");
    }
}

impl Bench {
    /// With the launcher's process number. The error says why there is no such tier here.
    async fn open(tier: Tier, folder: &Path, waiting: Option<usize>) -> Result<(Self, u32), String> {
        let config = SandboxConfig { waiting, ..config(tier, folder) };
        let process = spawn_launcher(&config).unwrap();
        let launcher = process.pid();
        let sandboxes = Sandboxes::connect(process).unwrap();
        let report = sandboxes.tier(tier).await.unwrap();
        if report.trial.is_none() && tier != Tier::Container {
            return Err(report.detail);
        }
        Ok((Self { sandboxes, tier, workspaces: config.state_dir.join("workspaces") }, launcher))
    }

    fn spec(&self, id: &str) -> Spec {
        Spec { tier: self.tier, ..Spec::new(id) }
    }

    async fn waiting(&self, rounds: u32) {
        let (sandbox, ..) = first_command(&self.sandboxes, self.spec("warm")).await;
        sandbox.kill("done").await.unwrap();
        let mut firsts = Vec::new();
        for round in 0..rounds {
            self.until_one_waits().await;
            let id = format!("warm-{round}");
            let (sandbox, _, first) = first_command(&self.sandboxes, self.spec(&id)).await;
            firsts.push(first);
            sandbox.kill("done").await.unwrap();
            self.sandboxes.remove_workspace(&id).await.unwrap();
        }
        print_times("create to first output of one that waited", firsts);
    }

    /// Until every one that is to wait does: nothing is started then.
    async fn until_one_waits(&self) {
        let began = Instant::now();
        let mut steady = (0, Instant::now());
        while steady.0 == 0 || steady.1.elapsed() < SETTLED {
            assert!(began.elapsed() < WAITS_MAX, "none waits");
            let names = std::fs::read_dir(&self.workspaces).unwrap().flatten().map(|entry| entry.file_name());
            let now = names.filter(|name| name.to_string_lossy().starts_with("waiting-")).count();
            if now != steady.0 {
                steady = (now, Instant::now());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn sequential(&self, rounds: u32) {
        let (mut creates, mut firsts, mut seconds) = (Vec::new(), Vec::new(), Vec::new());
        let (mut kills, mut removes) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            let id = format!("seq-{round}");
            let (sandbox, created, first) = first_command(&self.sandboxes, self.spec(&id)).await;
            creates.push(created);
            firsts.push(first);
            // A moment, as between two calls of a model.
            tokio::time::sleep(Duration::from_millis(100)).await;
            let began = Instant::now();
            command(&sandbox, self.tier).await;
            seconds.push(began.elapsed());
            kills.push(sandbox.kill("done").await.unwrap().took);
            let began = Instant::now();
            self.sandboxes.remove_workspace(&id).await.unwrap();
            removes.push(began.elapsed());
        }
        for (name, times) in [
            ("create", creates),
            ("create to first output", firsts),
            ("second command", seconds),
            ("kill", kills),
            ("remove workspace", removes),
        ] {
            print_times(name, times);
        }
    }

    async fn parallel(&self, (lives, at_once): (u32, usize)) {
        let began = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        let mut times = Vec::new();
        for round in 0..lives {
            if tasks.len() >= at_once {
                times.push(tasks.join_next().await.unwrap().unwrap());
            }
            let id = format!("par-{round}");
            let (sandboxes, spec) = (self.sandboxes.clone(), self.spec(&id));
            tasks.spawn(async move {
                let (sandbox, _, first) = first_command(&sandboxes, spec).await;
                sandbox.kill("done").await.unwrap();
                sandboxes.remove_workspace(&id).await.unwrap();
                first
            });
        }
        while let Some(done) = tasks.join_next().await {
            times.push(done.unwrap());
        }
        let rate = f64::from(lives) / began.elapsed().as_secs_f64();
        println!("whole lives, {at_once} at a time: {rate:.1} /s");
        print_times("create to first output among them", times);
    }

    async fn many(&self, live: usize, launcher: u32) {
        let before = memory_available_kb();
        let began = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..live {
            let (sandboxes, spec) = (self.sandboxes.clone(), self.spec(&format!("live-{number}")));
            tasks.spawn(async move { first_command(&sandboxes, spec).await.0 });
        }
        let all = tasks.join_all().await;
        println!("asked for at once, {live}, until each has answered: {:?}", began.elapsed());
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
