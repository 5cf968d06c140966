//! Programs in a V8 isolate: one host process each, with one more waiting so that the next program need not.
//!
//! A host runs a single program and ends: nothing a program does to its isolate outlives it but its files. The guest starts hosts,
//! caps their memory once they have booted, and reads the answer they leave; it reads neither programs nor answers.
//! Read next: `process.rs`, which feeds and ends them as it does commands.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;

use livery_guest::isolate::{HOST, LIBRARIES, SCRIPT};
use livery_guest::wire::code::ANSWER_BYTES_MAX;
use livery_guest::wire::message::Exec;

use crate::spawn::{self, Child};
use crate::sys;

/// Where answers are left: in memory, out of the programs' sight but for their own.
const ANSWERS: &str = "/tmp";

/// The hosts of this sandbox.
pub(crate) struct Isolate {
    limits: Limits,
    spare: Option<Host>,
    /// A spare that ended by itself is not replaced before somebody wants one: it may never start here.
    is_broken: bool,
    started: u32,
}

/// What a program may have beyond a host that has just booted.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// JavaScript objects, MiB.
    heap_mb: u64,
    /// Everything, with buffers, modules' memory and other isolates, MiB.
    data_mb: u64,
}

/// A host that waits for its program.
pub(crate) struct Host {
    pub(crate) child: Child,
    pub(crate) answer: Answer,
    pub(crate) limits: Limits,
}

/// Where a program's answer is to be.
pub(crate) struct Answer {
    path: String,
}

impl Isolate {
    /// From the guest's arguments.
    pub(crate) fn new(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut number = || arguments.next()?.parse().ok();
        let limits = Limits { heap_mb: number()?, data_mb: number()? };
        Some(Self { limits, spare: None, is_broken: false, started: 0 })
    }

    /// A host for a program: the one that waits, or a new one.
    pub(crate) fn take(&mut self) -> Result<Host, (io::Error, &'static str)> {
        self.is_broken = false;
        match self.spare.take() {
            Some(host) => Ok(host),
            None => self.start(),
        }
    }

    /// Sees to it that one waits.
    pub(crate) fn refill(&mut self) {
        if self.spare.is_none() && !self.is_broken {
            self.spare = self.start().ok();
            self.is_broken = self.spare.is_none();
        }
    }

    /// A child ended; perhaps it was the one that waited.
    pub(crate) fn ended(&mut self, pid: i32) {
        if self.spare.as_ref().is_some_and(|host| host.child.pid == pid) {
            self.spare = None;
            self.is_broken = true;
        }
    }

    fn start(&mut self) -> Result<Host, (io::Error, &'static str)> {
        self.started = self.started.wrapping_add(1);
        let answer = Answer::new(self.started).map_err(|error| (error, "creating the place for an answer"))?;
        let child = spawn::spawn(&command(&answer, self.limits), "")?;
        Ok(Host { child, answer, limits: self.limits })
    }
}

/// Everything is said, so that no default of another version decides.
fn command(answer: &Answer, limits: Limits) -> Exec {
    let path = &answer.path;
    let argv = [
        HOST.to_owned(),
        "run".to_owned(),
        "--quiet".to_owned(),
        "--no-prompt".to_owned(),
        "--no-config".to_owned(),
        "--no-lock".to_owned(),
        "--no-remote".to_owned(),
        "--no-npm".to_owned(),
        "--deny-import".to_owned(),
        "--cached-only".to_owned(),
        "--no-code-cache".to_owned(),
        // For the inspector, which evaluates; taken away before a program runs.
        "--allow-sys".to_owned(),
        "--allow-read=/workspace".to_owned(),
        format!("--allow-write=/workspace,{path}"),
        // What there is of a network is the relay on loopback.
        "--allow-net".to_owned(),
        format!("--v8-flags=--max-old-space-size={}", limits.heap_mb),
        SCRIPT.to_owned(),
        path.clone(),
    ];
    let env = [
        format!("LD_LIBRARY_PATH={LIBRARIES}"),
        // Nowhere: what it would keep, downloads and web storage among it, would outlive a program and fill a small disk.
        "DENO_DIR=/proc/none".to_owned(),
        "DENO_NO_UPDATE_CHECK=1".to_owned(),
        "NO_COLOR=1".to_owned(),
        // Nowhere either: settings that it reads there are the run's to write.
        "HOME=/nonexistent".to_owned(),
        "LANG=C.UTF-8".to_owned(),
    ];
    Exec {
        argv: argv.map(String::into_bytes).to_vec(),
        env: env.map(String::into_bytes).to_vec(),
        cwd: b"/workspace".to_vec(),
        timeout_ms: 0,
        background: false,
        output_limit: 0,
        has_stdin: true,
    }
}

impl Limits {
    /// Caps the private memory of a host that has booted at what it has now and the program's share. What V8 has reserved but not
    /// made writable does not count.
    pub(crate) fn apply(self, pid: i32) -> io::Result<()> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let now =
            status.lines().find_map(|line| line.strip_prefix("VmData:")?.trim().strip_suffix(" kB")?.parse().ok());
        let now: u64 = now.ok_or_else(|| io::Error::other("its memory cannot be read"))?;
        sys::limit_data(pid, (now << 10) + (self.data_mb << 20))
    }
}

impl Answer {
    fn new(number: u32) -> io::Result<Self> {
        let path = format!("{ANSWERS}/answer-{number}");
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { path })
    }

    /// What the program left; `None` where that is nothing, or more than an answer may be.
    pub(crate) fn read(&self) -> Option<Vec<u8>> {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file: File = OpenOptions::new().read(true).custom_flags(flags).open(&self.path).ok()?;
        let mut bytes = Vec::new();
        let most = u64::from(ANSWER_BYTES_MAX);
        file.take(most + 1).read_to_end(&mut bytes).ok()?;
        (!bytes.is_empty() && bytes.len() as u64 <= most).then_some(bytes)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // Nobody else needs the name. A program may have made a folder of it.
        if fs::remove_file(&self.path).is_err() {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
