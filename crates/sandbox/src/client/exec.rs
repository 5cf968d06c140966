//! Running a command in a sandbox.
//!
//! Output is streamed as it comes, kept as head and tail up to a limit, and never stops the command. Read next:
//! `livery-guest`'s `process.rs`, the other side.

use std::time::{Duration, Instant};

use livery_core::agent::Tier;
use livery_guest::wire::code::ANSWER_BYTES_MAX;
use livery_guest::wire::message::{self, Exit, OUTPUT_BYTES_MAX, Outcome, PATH_BYTES_MAX, Tail};
use livery_guest::wire::{Kind, PAYLOAD_BYTES_MAX, STDIN_WINDOW_BYTES};

use super::channel::{Call, Event};
use super::sandbox::Sandbox;
use crate::error::{Error, Lost, LostReason};

/// Beyond a command's own timeout: the guest's grace before SIGKILL, and its answer's way.
pub(super) const MARGIN: Duration = Duration::from_secs(6);
/// A command that died of SIGKILL may be the first sign of a sandbox out of memory: how long to wait for the second.
const SETTLE: Duration = Duration::from_millis(300);
/// Standard input of one command.
const STDIN_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What a shell answers for a child that died of SIGKILL.
const SHELL_SIGKILL: i32 = 128 + libc::SIGKILL;

/// A command to run.
#[derive(Clone, Debug)]
pub struct Exec {
    /// Program and arguments. A program without `/` is looked up in `PATH`.
    pub argv: Vec<String>,
    /// Absolute, or below `/workspace`. Default `/workspace`.
    pub cwd: Option<String>,
    /// On top of the sandbox's environment.
    pub env: Vec<(String, String)>,
    /// Given to standard input, which then ends. At most 64 MiB.
    pub stdin: Vec<u8>,
    /// Then its process group gets SIGTERM, and a second later SIGKILL.
    pub timeout: Duration,
    /// Answer at once with the process number; output goes to a file in the sandbox and there is no timeout.
    pub background: bool,
    /// Bytes kept of each of stdout and stderr: half from the start, half from the end. At most 1 MiB.
    pub output_limit: u32,
}

impl Exec {
    /// A command with 2 minutes and 64 KiB of output.
    #[must_use]
    pub fn new(argv: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            cwd: None,
            env: Vec::new(),
            stdin: Vec::new(),
            timeout: Duration::from_secs(120),
            background: false,
            output_limit: 64 * 1024,
        }
    }

    /// `sh -c SCRIPT`.
    #[must_use]
    pub fn shell(script: impl Into<String>) -> Self {
        Self::new(["sh".to_owned(), "-c".to_owned(), script.into()])
    }
}

/// Which output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecResult {
    /// Its exit status, unless a signal ended it or it runs in the background.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Its process number, when it runs in the background.
    pub background_pid: Option<u32>,
    /// Its output; where the middle is missing, a line says how much.
    pub stdout: Vec<u8>,
    /// Its errors, likewise.
    pub stderr: Vec<u8>,
    /// Whether something is missing from either.
    pub truncated: bool,
    /// Whether its timeout ended it.
    pub timed_out: bool,
    /// Where in the sandbox all of its output is (when truncated, or in the background).
    pub full_output: Option<String>,
    /// From the request to the answer.
    pub took: Duration,
}

#[derive(Default)]
struct Output {
    head: Vec<u8>,
    skipped: u64,
    tail: Vec<u8>,
}

impl Output {
    fn into_bytes(self) -> Vec<u8> {
        let mut bytes = self.head;
        if self.skipped > 0 {
            bytes.extend_from_slice(format!("\n[… {} bytes left out …]\n", self.skipped).as_bytes());
        }
        bytes.extend_from_slice(&self.tail);
        bytes
    }
}

impl Sandbox {
    /// Runs a command. `on_output` hears the first half of `output_limit` of each stream as it comes. Dropping the future
    /// kills the command's process group.
    ///
    /// # Errors
    /// The command could not be started ([`Error::Guest`]), or the sandbox was lost under it. A command that fails or
    /// times out is an `Ok`.
    pub async fn exec(&self, exec: Exec, mut on_output: impl FnMut(Stream, &[u8])) -> Result<ExecResult, Error> {
        let started = Instant::now();
        if self.inner.spec.tier == Tier::Isolate {
            return Err(Error::Unsupported("commands"));
        }
        let payload = self.request(&exec)?;
        let mut call = self.inner.channel.open(u64::from(exec.output_limit) * 2 + exec.stdin.len() as u64);
        let deadline = if exec.background { MARGIN } else { exec.timeout.saturating_add(MARGIN) };
        call.send(Kind::Exec, &payload).await?;
        if !exec.background {
            call.kill_on_drop();
        }
        let mut run = Run::new(&exec.stdin, None);
        let exit = match tokio::time::timeout(deadline, run.until_exit(&mut call, &mut on_output)).await {
            Ok(exit) => exit?,
            Err(_) => return Err(self.silent().await),
        };
        self.settle(&exit).await?;
        Ok(run.result(exit, started.elapsed()))
    }

    fn request(&self, exec: &Exec) -> Result<Vec<u8>, Error> {
        if exec.argv.is_empty() || exec.stdin.len() > STDIN_BYTES_MAX {
            return Err(Error::Invalid("a command needs a program, and at most 64 MiB of standard input".to_owned()));
        }
        let request = message::Exec {
            argv: exec.argv.iter().map(|argument| argument.clone().into_bytes()).collect(),
            env: environment(&self.inner.spec.env, &exec.env),
            cwd: absolute(exec.cwd.as_deref().unwrap_or("/workspace"))?,
            timeout_ms: if exec.background {
                0
            } else {
                u32::try_from(exec.timeout.as_millis()).unwrap_or(u32::MAX).max(1)
            },
            background: exec.background,
            output_limit: exec.output_limit.min(OUTPUT_BYTES_MAX),
            has_stdin: !exec.stdin.is_empty(),
        };
        let strings = request.argv.iter().chain(&request.env);
        if strings.clone().any(|s| s.contains(&0)) {
            return Err(Error::Invalid("arguments and environment cannot hold a NUL".to_owned()));
        }
        request
            .encode()
            .map_err(|_| Error::Invalid("arguments and environment are too long (64 KiB, 1024 entries)".to_owned()))
    }

    /// The guest did not answer in time: it is not to be trusted any more.
    pub(crate) async fn silent(&self) -> Error {
        let lost = Lost::new(LostReason::Protocol, "its guest stopped answering");
        self.inner.channel.give_up(lost.clone());
        let _ = self.kill("its guest stopped answering").await;
        Error::Lost(lost)
    }

    /// Waits a moment for the reason behind a SIGKILL nobody here sent.
    pub(super) async fn settle(&self, exit: &Exit) -> Result<(), Error> {
        let killed = matches!(exit.outcome, Outcome::Signal(libc::SIGKILL) | Outcome::Code(SHELL_SIGKILL));
        if killed && !exit.timed_out {
            let mut lost = self.lost();
            if let Ok(Ok(lost)) = tokio::time::timeout(SETTLE, lost.wait_for(Option::is_some)).await
                && let Some(lost) = lost.clone()
            {
                return Err(Error::Lost(lost));
            }
        }
        Ok(())
    }
}

/// A command or a program under way.
pub(super) struct Run<'a> {
    left: &'a [u8],
    window: u32,
    ended: bool,
    out: Output,
    err: Output,
    /// What a program left; a command leaves nothing.
    pub(super) answer: Option<Vec<u8>>,
}

impl<'a> Run<'a> {
    pub(super) fn new(stdin: &'a [u8], answer: Option<Vec<u8>>) -> Self {
        let (out, err) = (Output::default(), Output::default());
        Self { left: stdin, window: STDIN_WINDOW_BYTES, ended: false, out, err, answer }
    }

    pub(super) async fn until_exit(
        &mut self,
        call: &mut Call,
        on_output: &mut impl FnMut(Stream, &[u8]),
    ) -> Result<Exit, Error> {
        loop {
            self.send_stdin(call).await?;
            let Event { kind, payload } = call.next().await?;
            match kind {
                Kind::Stdout => {
                    on_output(Stream::Stdout, &payload);
                    self.out.head.extend_from_slice(&payload);
                }
                Kind::Stderr => {
                    on_output(Stream::Stderr, &payload);
                    self.err.head.extend_from_slice(&payload);
                }
                Kind::StdoutTail | Kind::StderrTail => {
                    let tail = Tail::decode(&payload).map_err(|error| call.rubbish(error))?;
                    let output = if kind == Kind::StdoutTail { &mut self.out } else { &mut self.err };
                    output.skipped = output.skipped.saturating_add(tail.skipped);
                    output.tail.extend_from_slice(tail.bytes);
                }
                Kind::Window => {
                    let granted = <[u8; 4]>::try_from(payload.as_slice()).map(u32::from_le_bytes).unwrap_or(0);
                    self.window = self.window.saturating_add(granted);
                }
                Kind::Data if let Some(answer) = &mut self.answer => {
                    if answer.len() + payload.len() > ANSWER_BYTES_MAX as usize {
                        return Err(call.rubbish(livery_guest::wire::Error::TooLong));
                    }
                    answer.extend_from_slice(&payload);
                }
                Kind::Exit => return Exit::decode(&payload).map_err(|error| call.rubbish(error)),
                _ => return Err(call.rubbish(livery_guest::wire::Error::Kind(kind as u8))),
            }
        }
    }

    /// Sends what the guest has granted.
    async fn send_stdin(&mut self, call: &Call) -> Result<(), Error> {
        while !self.left.is_empty() && self.window > 0 {
            let window = usize::try_from(self.window).unwrap_or(usize::MAX);
            let (now, later) = self.left.split_at(self.left.len().min(window).min(PAYLOAD_BYTES_MAX));
            call.send(Kind::Stdin, now).await?;
            self.window -= u32::try_from(now.len()).unwrap_or(self.window);
            self.left = later;
        }
        if self.left.is_empty() && !self.ended {
            self.ended = true;
            call.send(Kind::StdinEnd, &[]).await?;
        }
        Ok(())
    }

    pub(super) fn result(self, exit: Exit, took: Duration) -> ExecResult {
        let path = String::from_utf8(exit.full_output).unwrap_or_default();
        let code = |wanted: &Outcome| if let Outcome::Code(code) = wanted { Some(*code) } else { None };
        let signal = |wanted: &Outcome| if let Outcome::Signal(signal) = wanted { Some(*signal) } else { None };
        let pid = |wanted: &Outcome| if let Outcome::Background(pid) = wanted { Some(*pid) } else { None };
        ExecResult {
            exit_code: code(&exit.outcome),
            signal: signal(&exit.outcome),
            background_pid: pid(&exit.outcome),
            truncated: self.out.skipped > 0 || self.err.skipped > 0,
            stdout: self.out.into_bytes(),
            stderr: self.err.into_bytes(),
            timed_out: exit.timed_out,
            full_output: (!path.is_empty()).then_some(path),
            took,
        }
    }
}

/// The fixed part, then the sandbox's, then the command's; a later name wins.
pub(super) fn environment(sandbox: &[(String, String)], command: &[(String, String)]) -> Vec<Vec<u8>> {
    let fixed = [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", "/workspace"),
        ("USER", "agent"),
        ("LOGNAME", "agent"),
        ("SHELL", "/bin/sh"),
        ("LANG", "C.UTF-8"),
        ("TERM", "dumb"),
    ];
    let mut all: Vec<(&str, &str)> = Vec::new();
    let given = sandbox.iter().chain(command).map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in fixed.into_iter().chain(given) {
        all.retain(|(known, _)| *known != name);
        all.push((name, value));
    }
    all.into_iter().map(|(name, value)| format!("{name}={value}").into_bytes()).collect()
}

/// A path as the guest wants it: absolute, relative ones below `/workspace`.
pub(crate) fn absolute(path: &str) -> Result<Vec<u8>, Error> {
    let absolute = if path.starts_with('/') { path.to_owned() } else { format!("/workspace/{path}") };
    if absolute.len() > PATH_BYTES_MAX || absolute.contains('\0') {
        return Err(Error::Invalid("the path is too long or holds a NUL".to_owned()));
    }
    Ok(absolute.into_bytes())
}
