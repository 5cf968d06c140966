//! One `livery up` as a process: started, killed, paused, asked to stop; and the keeper that kills what this program leaves.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::process::{Child, Command};

use crate::http::{Client, EXCHANGE_MAX};

/// How long anything may take before it counts as broken. Generous: nothing here measures time.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks at something that has no doorbell.
pub const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Ports below those the kernel gives to outgoing connections: a node comes back to its own after a kill.
const PORTS: std::ops::Range<u16> = 21_000..31_000;

/// Reads `+ PID` and `- PID` lines, and kills what is left when this program is gone, however it went.
const KEEPER: &str = r#"
trap '' INT TERM HUP
pids=
while read -r op pid; do
  case $op in
    +) pids="$pids $pid" ;;
    -) left=; for p in $pids; do [ "$p" = "$pid" ] || left="$left $p"; done; pids=$left ;;
  esac
done
[ -z "$pids" ] || kill -KILL $pids
[ ! -d "$1" ] || { sleep 1; rm -rf "$1"; }
"#;

/// Kills what this program started and could not stop itself, and removes its work folder.
#[derive(Debug, Clone)]
pub struct Keeper {
    input: Arc<Mutex<std::process::ChildStdin>>,
}

impl Keeper {
    /// Watches over `work`, which is removed at the end.
    ///
    /// # Errors
    /// There is no `sh`.
    pub fn start(work: &Path) -> anyhow::Result<Self> {
        let mut child = std::process::Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(work)
            .stdin(Stdio::piped())
            .spawn()
            .context("cannot start the keeper")?;
        let input = child.stdin.take().context("the keeper has no input")?;
        Ok(Self { input: Arc::new(Mutex::new(input)) })
    }

    fn note(&self, operation: char, pid: u32) {
        use std::io::Write as _;
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        // A keeper that is gone kept nothing anyway.
        let _ = writeln!(input, "{operation} {pid}");
    }
}

/// How a node is started.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The binary.
    pub binary: PathBuf,
    /// Its data directory.
    pub data: PathBuf,
    /// More flags.
    pub flags: Vec<String>,
    /// Where it listens, in every life.
    pub address: SocketAddr,
    /// The API key, once it is known.
    pub key: String,
}

impl Plan {
    /// A node on a data directory, with a port of its own.
    ///
    /// # Errors
    /// No port is free.
    pub fn new(binary: &Path, data: &Path) -> anyhow::Result<Self> {
        let flags = ["--allow-upstream", "127.0.0.0/8"].map(str::to_owned).into();
        let (binary, data) = (binary.to_owned(), data.to_owned());
        Ok(Self { binary, data, flags, address: free_address()?, key: String::new() })
    }

    /// Keeps everything in this Postgres database.
    pub fn on_database(&mut self, url: String) {
        self.flags.extend(["--database".to_owned(), url]);
    }

    /// A client for it.
    pub fn client(&self) -> Client {
        Client { address: self.address, key: self.key.clone(), patience: EXCHANGE_MAX }
    }

    /// Where its words go.
    pub fn log(&self) -> PathBuf {
        self.data.with_extension("log")
    }

    /// The key of the first organization, from the file of the first start.
    ///
    /// # Errors
    /// The file is not there.
    pub fn read_key(&self) -> anyhow::Result<String> {
        let text = std::fs::read_to_string(self.data.join("bootstrap.json")).context("bootstrap.json")?;
        let file: serde_json::Value = serde_json::from_str(&text).context("bootstrap.json")?;
        Ok(file["api_key"].as_str().context("bootstrap.json has no key")?.to_owned())
    }
}

/// A process that was started.
#[derive(Debug)]
pub struct Node {
    /// How.
    pub plan: Plan,
    child: Child,
    keeper: Keeper,
    pid: u32,
}

impl Node {
    /// Starts it; with `crash_at`, a debug build kills itself there. It may not answer yet.
    ///
    /// # Errors
    /// The binary cannot be started.
    pub fn spawn(plan: &Plan, keeper: &Keeper, crash_at: Option<&str>) -> anyhow::Result<Self> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(plan.log())?;
        let mut command = Command::new(&plan.binary);
        for name in ["LIVERY_URL", "LIVERY_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_API_KEY", "LIVERY_CRASH_AT"] {
            command.env_remove(name);
        }
        command.args(["up", "--listen", &plan.address.to_string(), "--data"]).arg(&plan.data).args(&plan.flags);
        if let Some(point) = crash_at {
            command.env("LIVERY_CRASH_AT", point);
        }
        command.env("NO_COLOR", "1").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("cannot start {}", plan.binary.display()))?;
        let pid = child.id().context("the node is gone already")?;
        keeper.note('+', pid);
        Ok(Self { plan: plan.clone(), child, keeper: keeper.clone(), pid })
    }

    /// Waits until it is ready for work.
    ///
    /// # Errors
    /// It ended, or takes too long.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            if let Ok((200, _)) = self.plan.client().send("GET", "/readyz", &[], b"").await {
                return Ok(());
            }
            if let Some(status) = self.ended()? {
                anyhow::bail!("the node ended ({status}): {}", self.last_words());
            }
            anyhow::ensure!(begun.elapsed() < PATIENCE, "the node does not answer: {}", self.last_words());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// The kernel does not know it.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let status = self.child.try_wait().context("looking after a node")?;
        if status.is_some() {
            self.keeper.note('-', self.pid);
        }
        Ok(status)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It takes too long.
    pub async fn end(&mut self) -> anyhow::Result<ExitStatus> {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = ended.with_context(|| format!("the node does not end: {}", self.last_words()))??;
        self.keeper.note('-', self.pid);
        Ok(status)
    }

    /// SIGKILL: no chance to tidy anything up.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.start_kill().context("killing a node")?;
        self.end().await.map(drop)
    }

    /// Sends a signal by name (`TERM`, `STOP`, `CONT`) to the platform's process.
    ///
    /// # Errors
    /// There is no such process any more.
    pub async fn signal(&self, name: &str) -> anyhow::Result<()> {
        // The standard library has no signal but the one that cannot be caught, and `unsafe` has no home here.
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid.to_string()]).status().await?;
        anyhow::ensure!(status.success(), "kill -{name} {}: {status}", self.pid);
        Ok(())
    }

    /// SIGTERM, and a good end.
    ///
    /// # Errors
    /// It ends badly or not at all.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.signal("TERM").await?;
        let status = self.end().await?;
        anyhow::ensure!(status.success(), "the node ended with {status} after SIGTERM: {}", self.last_words());
        Ok(())
    }

    /// The end of its log.
    pub fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.plan.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(4).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }
}

/// Whether `livery up` of this binary knows a flag.
///
/// # Errors
/// It cannot be started.
pub async fn knows_flag(binary: &Path, flag: &str) -> anyhow::Result<bool> {
    let help = Command::new(binary).args(["up", "--help"]).output().await.context("asking the binary for help")?;
    Ok(String::from_utf8_lossy(&help.stdout).contains(&format!("{flag} ")))
}

/// A port that is free now and that the kernel gives to no outgoing connection.
fn free_address() -> anyhow::Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let span = PORTS.end - PORTS.start;
    let first = u16::try_from(std::process::id() % u32::from(span)).unwrap_or(0);
    for _ in 0..span {
        let port = PORTS.start + (first + NEXT.fetch_add(1, Ordering::Relaxed) % span) % span;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    anyhow::bail!("no port between {} and {} is free", PORTS.start, PORTS.end)
}
