//! One running command: its pipes, its clock and its end.
//!
//! A command ends when its first process ends. Descendants may live on; their inherited pipes are handed to the server
//! (see [`Process::into_leftovers`]), which drains them so that a server started with `&` does not die of a broken pipe.
//! Read next: `server.rs`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use livery_guest::isolate::READY;
use livery_guest::wire::code::Code;
use livery_guest::wire::message::{Exec, Exit, Outcome};
use livery_guest::wire::{Kind, STDIN_WINDOW_BYTES};

use crate::channel::Channel;
use crate::isolate::{Answer, Host, Limits};
use crate::output::{Capture, OUTPUT_DIR, Spill};
use crate::{spawn, sys};

/// Between a timeout's SIGTERM and its SIGKILL.
const GRACE: Duration = Duration::from_secs(1);
/// Bytes read from each pipe after the first process ended: more than a pipe holds, so all it wrote is seen.
const LAST_READ_BYTES_MAX: usize = 256 * 1024;

pub(crate) struct Process {
    pub(crate) stream: u32,
    pub(crate) pid: i32,
    pub(crate) stdin: Option<OwnedFd>,
    stdin_waiting: Vec<u8>,
    stdin_ends: bool,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
    out: Capture,
    err: Capture,
    spill: Spill,
    next_kill: Option<(Instant, i32)>,
    timed_out: bool,
    /// Set once the first process has ended.
    pub(crate) outcome: Option<Outcome>,
    /// It was answered already and is only kept for its clock.
    pub(crate) background: bool,
    /// Of an isolate host that has not said yet that it has booted: what it is capped at before it hears its program.
    booting: Option<Limits>,
    /// Where an isolate host leaves its program's answer.
    answer: Option<Answer>,
}

impl Process {
    /// Starts it; the error is a sentence for the host.
    pub(crate) fn start(stream: u32, exec: &Exec, channel: &mut Channel) -> Option<Self> {
        let log = format!("{OUTPUT_DIR}/background-{stream}.log");
        let child = match spawn::spawn(exec, &log) {
            Ok(child) => child,
            Err((error, doing)) => {
                channel.fail(stream, &error, doing);
                return None;
            }
        };
        if exec.background {
            let pid = u32::try_from(child.pid).unwrap_or(0);
            let exit = Exit { outcome: Outcome::Background(pid), timed_out: false, full_output: log.into_bytes() };
            channel.send(Kind::Exit, stream, &exit.encode());
        }
        let kill = (exec.timeout_ms > 0).then(|| (after(exec.timeout_ms), libc::SIGTERM));
        let process = Self::new(stream, child, exec.output_limit);
        Some(Self { next_kill: kill, background: exec.background, ..process })
    }

    /// Gives a host its program. Its time runs from here, whether it has booted or not, and is over at once.
    pub(crate) fn code(stream: u32, host: Host, code: Code) -> Self {
        let Host { child, answer, limits } = host;
        let kill = Some((after(code.timeout_ms), libc::SIGKILL));
        let process = Self::new(stream, child, code.output_limit);
        Self { next_kill: kill, booting: Some(limits), answer: Some(answer), ..process }
    }

    fn new(stream: u32, child: spawn::Child, output_limit: u32) -> Self {
        let (stdout, stderr) = child.outputs.map_or((None, None), |(out, err)| (Some(out), Some(err)));
        for fd in [&stdout, &stderr, &child.stdin].into_iter().flatten() {
            // A pipe just made takes this flag.
            let _ = sys::set_nonblocking(fd);
        }
        let limit = usize::try_from(output_limit).unwrap_or(usize::MAX);
        Self {
            stream,
            pid: child.pid,
            stdin: child.stdin,
            stdin_waiting: Vec::new(),
            stdin_ends: false,
            stdout,
            stderr,
            out: Capture::new(Kind::Stdout, Kind::StdoutTail, limit),
            err: Capture::new(Kind::Stderr, Kind::StderrTail, limit),
            spill: Spill::new(stream),
            next_kill: None,
            timed_out: false,
            outcome: None,
            background: false,
            booting: None,
            answer: None,
        }
    }

    /// Takes standard input from the host. A host that ignores its window is not one of ours.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> io::Result<()> {
        let window = usize::try_from(STDIN_WINDOW_BYTES).unwrap_or(usize::MAX);
        if self.stdin_waiting.len() + bytes.len() > window {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "standard input beyond its window"));
        }
        if self.stdin.is_some() {
            self.stdin_waiting.extend_from_slice(bytes);
        }
        Ok(())
    }

    pub(crate) fn end_stdin(&mut self, channel: &mut Channel) {
        self.stdin_ends = true;
        self.write_stdin(channel);
    }

    pub(crate) fn wants_stdin(&self) -> bool {
        self.stdin.is_some() && !self.stdin_waiting.is_empty() && self.booting.is_none()
    }

    /// Writes what the pipe takes and grants the host as much again.
    pub(crate) fn write_stdin(&mut self, channel: &mut Channel) {
        let Some(pipe) = self.stdin.as_ref().filter(|_| self.booting.is_none()) else { return };
        if !self.stdin_waiting.is_empty() {
            match sys::write(pipe.as_fd(), &self.stdin_waiting) {
                Ok(count) => {
                    self.stdin_waiting.drain(..count);
                    let granted = u32::try_from(count).unwrap_or(0);
                    channel.send(Kind::Window, self.stream, &granted.to_le_bytes());
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(_) => self.close_stdin(channel),
            }
        }
        if self.stdin_ends && self.stdin_waiting.is_empty() {
            self.stdin = None;
        }
    }

    /// The command closed its input: whatever the host still sends is dropped, so it may send it all.
    fn close_stdin(&mut self, channel: &mut Channel) {
        self.stdin = None;
        self.stdin_waiting = Vec::new();
        channel.send(Kind::Window, self.stream, &u32::MAX.to_le_bytes());
    }

    /// Reads once from standard output (or error). Answers how many bytes came.
    pub(crate) fn read_output(&mut self, error: bool, scratch: &mut [u8], channel: &mut Channel) -> usize {
        let pipe = if error { &mut self.stderr } else { &mut self.stdout };
        let Some(fd) = pipe.as_ref() else { return 0 };
        match sys::read(fd.as_fd(), scratch) {
            Ok(0) => {
                *pipe = None;
                0
            }
            Ok(count) => {
                let bytes = &scratch[..count];
                let bytes = if error { bytes } else { self.booted(bytes, channel) };
                let capture = if error { &mut self.err } else { &mut self.out };
                let cut = capture.push(self.stream, bytes, channel);
                self.spill.push(bytes, cut);
                count
            }
            Err(failure) => {
                if !matches!(failure.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) {
                    *pipe = None;
                }
                0
            }
        }
    }

    /// Hears a host's first byte, caps it and gives it its program; answers the rest.
    fn booted<'a>(&mut self, bytes: &'a [u8], channel: &mut Channel) -> &'a [u8] {
        let (Some(limits), [READY, rest @ ..]) = (self.booting, bytes) else { return bytes };
        self.booting = None;
        if limits.apply(self.pid).is_err() {
            // Without a cap it gets no program.
            sys::signal_group(self.pid, libc::SIGKILL);
        } else {
            self.write_stdin(channel);
        }
        rest
    }

    /// When its clock next needs attention.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.next_kill.map(|(at, _)| at)
    }

    /// Acts on a deadline that has passed.
    pub(crate) fn tick(&mut self, now: Instant) {
        if let Some((at, signal)) = self.next_kill
            && now >= at
        {
            self.timed_out = true;
            sys::signal_group(self.pid, signal);
            self.next_kill = (signal == libc::SIGTERM).then(|| (now + GRACE, libc::SIGKILL));
        }
    }

    /// Sends the last of its output and its end, and gives back the pipes a descendant may still hold.
    pub(crate) fn into_leftovers(
        mut self,
        outcome: Outcome,
        scratch: &mut [u8],
        channel: &mut Channel,
    ) -> Vec<OwnedFd> {
        if self.timed_out {
            // The rest of a group that ignored SIGTERM must not outlive the answer.
            sys::signal_group(self.pid, libc::SIGKILL);
        }
        if self.background {
            return Vec::new();
        }
        for error in [false, true] {
            let mut left = LAST_READ_BYTES_MAX;
            while left > 0 {
                match self.read_output(error, scratch, channel) {
                    0 => break,
                    count => left = left.saturating_sub(count),
                }
            }
        }
        self.out.finish(self.stream, channel);
        self.err.finish(self.stream, channel);
        if let Some(answer) = self.answer.take().filter(|_| !self.timed_out)
            && let Some(bytes) = answer.read()
        {
            channel.send(Kind::Data, self.stream, &bytes);
        }
        let full_output = self.spill.into_path().unwrap_or_default().into_bytes();
        let exit = Exit { outcome, timed_out: self.timed_out, full_output };
        channel.send(Kind::Exit, self.stream, &exit.encode());
        [self.stdout, self.stderr].into_iter().flatten().collect()
    }
}

fn after(timeout_ms: u32) -> Instant {
    Instant::now() + Duration::from_millis(u64::from(timeout_ms))
}

/// What a raw wait status says.
pub(crate) const fn outcome_of(status: i32) -> Outcome {
    if libc::WIFSIGNALED(status) {
        Outcome::Signal(libc::WTERMSIG(status))
    } else {
        Outcome::Code(libc::WEXITSTATUS(status))
    }
}
