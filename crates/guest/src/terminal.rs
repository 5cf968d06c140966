//! The terminals of a sandbox: each a program before a pseudo-terminal, and the last of what it showed.
//!
//! What a program shows is read as it comes and kept in a ring, so that nobody needs to look for it to go on. A question of the
//! host's waits until there is something to answer. Read next: `pty.rs`, and `wire/terminal.rs` for the words.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use livery_guest::wire::Kind;
use livery_guest::wire::flow::Grant;
use livery_guest::wire::message::{Done, Outcome};
use livery_guest::wire::terminal::{INPUT_WINDOW_BYTES, Open, Output, RING_BYTES, Read, Size, TERMINALS_MAX};

use crate::channel::Channel;
use crate::{pty, spawn, sys};

/// Between a hang-up and SIGKILL.
const GRACE: Duration = Duration::from_secs(1);
/// Bytes read after the program ended: more than a terminal holds, so all it showed is seen.
const LAST_READ_BYTES_MAX: usize = 64 * 1024;

/// All of them.
#[derive(Default)]
pub(crate) struct Terminals {
    open: Vec<Terminal>,
    /// Programs of closed terminals, with when they are killed.
    leaving: Vec<(i32, Instant)>,
}

struct Terminal {
    stream: u32,
    pid: i32,
    /// Gone once the program has ended and all it showed is read.
    master: Option<OwnedFd>,
    ring: VecDeque<u8>,
    /// Bytes shown before the first one in the ring.
    lost: u64,
    typed: Vec<u8>,
    asked: Option<Read>,
    ended: Option<Outcome>,
}

impl Terminals {
    /// Opens one; what went wrong is told to the host.
    pub(crate) fn open(&mut self, stream: u32, open: &Open, channel: &mut Channel) {
        if self.open.len() >= TERMINALS_MAX {
            return channel.refuse(stream, "too many terminals; close one first");
        }
        match Terminal::start(stream, open) {
            Ok(terminal) => {
                let total = u64::try_from(terminal.pid).unwrap_or(0);
                self.open.push(terminal);
                channel.send(Kind::Done, stream, &Done { total, truncated: false }.encode());
            }
            Err((error, doing)) => channel.fail(stream, &error, doing),
        }
    }

    /// Takes a frame of a terminal; one that is closed hears nothing more.
    pub(crate) fn handle(&mut self, kind: Kind, stream: u32, payload: &[u8], channel: &mut Channel) -> io::Result<()> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let Some(at) = self.open.iter().position(|terminal| terminal.stream == stream) else { return Ok(()) };
        let terminal = &mut self.open[at];
        match kind {
            Kind::TerminalInput => {
                terminal.feed(payload)?;
                terminal.write(channel);
            }
            Kind::TerminalResize => {
                let size = Size::decode(payload).map_err(invalid)?;
                if let Some(master) = &terminal.master {
                    // A size is a courtesy to the program.
                    let _ = pty::resize(master, size);
                    pty::signal_session(terminal.pid, libc::SIGWINCH);
                }
            }
            Kind::TerminalRead => {
                terminal.asked = Some(Read::decode(payload).map_err(invalid)?);
                terminal.answer(channel);
            }
            _ => self.close(at),
        }
        Ok(())
    }

    /// Hangs up: the whole session is told, and has a moment to leave, its first program being gone or not.
    fn close(&mut self, at: usize) {
        let terminal = self.open.swap_remove(at);
        pty::signal_session(terminal.pid, libc::SIGHUP);
        self.leaving.push((terminal.pid, Instant::now() + GRACE));
    }

    /// What to wait for: descriptor, events, number.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = (RawFd, i16, u32)> {
        self.open.iter().filter_map(|terminal| {
            let outgoing = if terminal.typed.is_empty() { 0 } else { libc::POLLOUT };
            terminal.master.as_ref().map(|master| (master.as_raw_fd(), libc::POLLIN | outgoing, terminal.stream))
        })
    }

    /// Serves a ready one.
    pub(crate) fn ready(&mut self, stream: u32, scratch: &mut [u8], channel: &mut Channel) {
        if let Some(terminal) = self.open.iter_mut().find(|terminal| terminal.stream == stream) {
            terminal.write(channel);
            terminal.read(scratch);
            terminal.answer(channel);
        }
    }

    /// A child ended that was no command: perhaps a terminal's.
    pub(crate) fn reaped(&mut self, pid: i32, outcome: Outcome, scratch: &mut [u8], channel: &mut Channel) {
        let Some(terminal) = self.open.iter_mut().find(|t| t.pid == pid && t.ended.is_none()) else { return };
        terminal.ended = Some(outcome);
        let mut most = LAST_READ_BYTES_MAX;
        while most > 0 {
            match terminal.read(scratch) {
                0 => break,
                count => most = most.saturating_sub(count),
            }
        }
        // What other programs of it still show is no longer its own.
        terminal.master = None;
        terminal.answer(channel);
    }

    /// When a clock next needs attention.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.leaving.iter().map(|(_, at)| *at).min()
    }

    /// Kills what did not mind the hang-up.
    pub(crate) fn tick(&mut self, now: Instant) {
        self.leaving.retain(|(pid, at)| {
            if now >= *at {
                pty::signal_session(*pid, libc::SIGKILL);
            }
            now < *at
        });
    }
}

impl Terminal {
    fn start(stream: u32, open: &Open) -> Result<Self, (io::Error, &'static str)> {
        let (master, slave) = pty::open(open.size).map_err(|error| (error, "opening a terminal"))?;
        if open.plain {
            pty::make_plain(&slave).map_err(|error| (error, "setting a terminal"))?;
        }
        let pid = spawn::before_terminal(open, slave)?;
        Ok(Self {
            stream,
            pid,
            master: Some(master),
            ring: VecDeque::new(),
            lost: 0,
            typed: Vec::new(),
            asked: None,
            ended: None,
        })
    }

    /// Takes what is typed. A host that ignores its window is not one of ours.
    fn feed(&mut self, bytes: &[u8]) -> io::Result<()> {
        let window = usize::try_from(INPUT_WINDOW_BYTES).unwrap_or(usize::MAX);
        if self.typed.len() + bytes.len() > window {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "typed beyond the window"));
        }
        self.typed.extend_from_slice(bytes);
        Ok(())
    }

    /// Types what the terminal takes, and grants the host as much again.
    fn write(&mut self, channel: &mut Channel) {
        if self.typed.is_empty() {
            return;
        }
        let taken = match &self.master {
            // Nobody reads it any more.
            None => self.typed.len(),
            Some(master) => match sys::write(master.as_fd(), &self.typed) {
                Ok(count) => count,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => 0,
                Err(_) => self.typed.len(),
            },
        };
        self.typed.drain(..taken);
        if let Some(bytes) = u32::try_from(taken).ok().filter(|bytes| *bytes > 0) {
            channel.send(Kind::TerminalGranted, self.stream, &Grant { bytes }.encode());
        }
    }

    /// Reads once what it shows. Answers how many bytes came.
    fn read(&mut self, scratch: &mut [u8]) -> usize {
        let Some(master) = &self.master else { return 0 };
        match sys::read(master.as_fd(), scratch) {
            Ok(count) if count > 0 => {
                self.ring.extend(&scratch[..count]);
                let excess = self.ring.len().saturating_sub(RING_BYTES);
                self.ring.drain(..excess);
                self.lost += excess as u64;
                count
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => 0,
            // No program holds the other end: one may open it again, but the one that led ends soon or has.
            _ => {
                self.master = None;
                0
            }
        }
    }

    /// Answers the question that waits, if there is something to say.
    fn answer(&mut self, channel: &mut Channel) {
        let Some(Read { ticket, offset, limit }) = self.asked else { return };
        let end = self.lost + self.ring.len() as u64;
        let start = offset.clamp(self.lost, end.max(self.lost));
        // An offset beyond the end is answered with nothing until there is something there, or never will be.
        if (start == end || offset > end) && self.ended.is_none() {
            return;
        }
        self.asked = None;
        let from = usize::try_from(start - self.lost).unwrap_or(usize::MAX).min(self.ring.len());
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let to = self.ring.len().min(from.saturating_add(limit));
        let ended = self.ended.clone().filter(|_| to == self.ring.len());
        let bytes: Vec<u8> = self.ring.range(from..to).copied().collect();
        let output = Output { ticket, start: start.max(offset), ended, bytes: &bytes };
        channel.send(Kind::TerminalOutput, self.stream, &output.encode());
    }
}
