//! Starts the real server on an empty or a used data folder, waits until it answers, and stops it for certain.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::http::{Connection, Target};

/// Longest wait for the first answer of `/healthz`.
const START_MAX: Duration = Duration::from_secs(30);
/// Longest wait for the end after SIGTERM; then it is killed, and that is an error.
const STOP_MAX: Duration = Duration::from_secs(30);
/// Longest wait for `bootstrap.json` after that.
const KEY_MAX: Duration = Duration::from_secs(5);
/// Between two looks at something that has no doorbell.
const LOOK_EVERY: Duration = Duration::from_micros(500);

/// A folder that is removed with everything in it.
#[derive(Debug)]
pub struct Folder(pub PathBuf);

impl Folder {
    /// A fresh one on the disk of the build, so that durable means durable: a temporary file system would flatter.
    pub fn fresh() -> anyhow::Result<Self> {
        let path = crate::root::folder().join(format!("target/xtask/bench-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            crate::root::complain(&format!("{} stays behind: {error}", self.0.display()));
        }
    }
}

/// A server under measurement. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Where it is, and the key of its first organization.
    pub target: Target,
    /// From the start of the process to the first good answer of `/healthz`, in milliseconds.
    pub start_ms: f64,
}

impl Server {
    /// Starts `binary up` on this data folder.
    pub fn start(binary: &Path, data: &Path) -> anyhow::Result<Self> {
        Self::start_with(binary, data, &[])
    }

    /// The same with more flags.
    pub fn start_with(binary: &Path, data: &Path, flags: &[String]) -> anyhow::Result<Self> {
        let address = free_address()?;
        let log = std::fs::File::create(data.with_extension("log")).context("creating the server's log")?;
        let started = Instant::now();
        let child = Command::new(binary)
            .arg("up")
            .arg("--data")
            .arg(data)
            .args(["--listen", &address.to_string()])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::from(log.try_clone()?))
            .stderr(Stdio::from(log))
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let mut server = Self { child, target: Target { address, api_key: String::new() }, start_ms: 0.0 };
        server.wait_until_healthy(started, data)?;
        server.start_ms = started.elapsed().as_secs_f64() * 1000.0;
        server.target.api_key = server.wait_for_key(data)?;
        Ok(server)
    }

    /// The process id of the server.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_healthy(&mut self, started: Instant, data: &Path) -> anyhow::Result<()> {
        loop {
            let answer = Connection::new(self.target.clone()).send("GET", "/healthz", "", b"");
            if answer.is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait().context("looking after the server")? {
                anyhow::bail!("the server ended ({status}): {}", last_words(data));
            }
            anyhow::ensure!(started.elapsed() < START_MAX, "the server did not answer: {}", last_words(data));
            std::thread::park_timeout(LOOK_EVERY);
        }
    }

    /// The file with the key is written at the first start, soon after the first answer.
    fn wait_for_key(&self, data: &Path) -> anyhow::Result<String> {
        let deadline = Instant::now() + KEY_MAX;
        loop {
            match bootstrap_key(data) {
                Err(_) if Instant::now() < deadline => std::thread::park_timeout(LOOK_EVERY),
                answer => return answer,
            }
        }
    }

    /// SIGKILL: no chance to tidy anything up.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().context("killing the server")?;
        self.child.wait().context("waiting for the server")?;
        Ok(())
    }

    /// Asks it to drain and waits for its end.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.terminate()
    }

    fn terminate(&mut self) -> anyhow::Result<()> {
        if self.child.try_wait().context("looking after the server")?.is_some() {
            return Ok(());
        }
        // The standard library has no signal but the one that cannot be caught, and `unsafe` has no home here.
        let asked = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.pid())]).status();
        let deadline = Instant::now() + STOP_MAX;
        while asked.is_ok() && Instant::now() < deadline {
            if self.child.try_wait().context("looking after the server")?.is_some() {
                return Ok(());
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
        self.child.kill().context("killing the server")?;
        self.child.wait().context("waiting for the server")?;
        anyhow::bail!("the server did not end within {} s of SIGTERM", STOP_MAX.as_secs())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.terminate() {
            crate::root::complain(&format!("{error:#}"));
        }
    }
}

/// A port that was free a moment ago; the server says clearly when it no longer is.
fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("finding a free port")?;
    listener.local_addr().context("finding a free port")
}

fn bootstrap_key(data: &Path) -> anyhow::Result<String> {
    let path = data.join("bootstrap.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let bootstrap: serde_json::Value = serde_json::from_str(&text).context("bootstrap.json")?;
    let key = bootstrap["api_key"].as_str().context("bootstrap.json has no api_key")?;
    Ok(key.to_owned())
}

/// The end of the server's log, for an error message.
fn last_words(data: &Path) -> String {
    let log = std::fs::read_to_string(data.with_extension("log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}
