//! The guest's one loop: the channel, child exits, and every command's pipes, in a single `poll`.
//!
//! Nothing here waits for one command while another has something to say. A frame that is not a frame ends the guest.
//! Read next: `process.rs`, `terminal.rs`, `files.rs`, `relay.rs`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Instant;

use livery_guest::wire::code::Code;
use livery_guest::wire::flow::Listen;
use livery_guest::wire::job::Job;
use livery_guest::wire::message::{Done, Exec, Get, Hello, List, Put, Stat};
use livery_guest::wire::terminal::Open;
use livery_guest::wire::{Kind, STREAMS_MAX, VERSION, Writer};

use crate::channel::Channel;
use crate::files::{self, Download};
use crate::isolate::Isolate;
use crate::process::{Process, outcome_of};
use crate::relay::Relay;
use crate::sys;
use crate::terminal::Terminals;
use crate::upload::Upload;

/// Pipes of descendants whose command has ended; beyond this the oldest is closed.
const LEFTOVERS_MAX: usize = 64;
/// One read from anything.
const SCRATCH_BYTES: usize = 32 * 1024;

/// What a polled descriptor is.
#[derive(Clone, Copy)]
enum Source {
    Channel,
    Signals,
    Stdin(u32),
    Stdout(u32),
    Stderr(u32),
    Leftover(RawFd),
    Listener,
    Flow(u32),
    Terminal(u32),
}

struct Server {
    channel: Channel,
    signals: OwnedFd,
    processes: Vec<Process>,
    uploads: Vec<Upload>,
    downloads: Vec<Download>,
    leftovers: Vec<OwnedFd>,
    relay: Relay,
    /// Where programs run instead of commands.
    isolate: Option<Isolate>,
    terminals: Terminals,
    scratch: Vec<u8>,
}

/// Serves until the host closes the channel.
pub(crate) fn run(channel: OwnedFd, signals: OwnedFd, isolate: Option<Isolate>) -> io::Result<()> {
    let mut server = Server {
        channel: Channel::new(channel),
        signals,
        processes: Vec::new(),
        uploads: Vec::new(),
        downloads: Vec::new(),
        leftovers: Vec::new(),
        relay: Relay::default(),
        isolate,
        terminals: Terminals::default(),
        scratch: vec![0; SCRATCH_BYTES],
    };
    server.channel.send(Kind::Hello, 0, &Hello { version: u32::from(VERSION) }.encode());
    server.channel.flush()?;
    // The first of what waits is started now.
    server.advance();
    let mut fds = Vec::new();
    let mut sources = Vec::new();
    loop {
        server.channel.flush()?;
        server.gather(&mut fds, &mut sources);
        sys::poll(&mut fds, server.wait_ms())?;
        for (fd, source) in fds.iter().zip(&sources) {
            if fd.revents != 0 && !server.ready(*source)? {
                return Ok(());
            }
        }
        server.advance();
    }
}

impl Server {
    /// Everything worth waiting for now.
    fn gather(&self, fds: &mut Vec<libc::pollfd>, sources: &mut Vec<Source>) {
        fds.clear();
        sources.clear();
        let mut add = |fd: RawFd, events: i16, source| {
            fds.push(libc::pollfd { fd, events, revents: 0 });
            sources.push(source);
        };
        let room = self.channel.has_room();
        let incoming = if room { libc::POLLIN } else { 0 };
        let outgoing = if self.channel.has_unsent() { libc::POLLOUT } else { 0 };
        add(self.channel.raw_fd(), incoming | outgoing, Source::Channel);
        add(self.signals.as_raw_fd(), libc::POLLIN, Source::Signals);
        for process in &self.processes {
            if let Some(fd) = process.stdin.as_ref().filter(|_| process.wants_stdin()) {
                add(fd.as_raw_fd(), libc::POLLOUT, Source::Stdin(process.stream));
            }
            if room {
                if let Some(fd) = &process.stdout {
                    add(fd.as_raw_fd(), libc::POLLIN, Source::Stdout(process.stream));
                }
                if let Some(fd) = &process.stderr {
                    add(fd.as_raw_fd(), libc::POLLIN, Source::Stderr(process.stream));
                }
            }
        }
        for fd in &self.leftovers {
            add(fd.as_raw_fd(), libc::POLLIN, Source::Leftover(fd.as_raw_fd()));
        }
        if let Some(fd) = self.relay.listener_fd().filter(|_| room) {
            add(fd, libc::POLLIN, Source::Listener);
        }
        for (fd, events, number) in self.relay.wanted(room) {
            add(fd, events, Source::Flow(number));
        }
        // What they show goes to a ring of their own, whatever room there is to send.
        for (fd, events, number) in self.terminals.wanted() {
            add(fd, events, Source::Terminal(number));
        }
    }

    /// How long nothing will happen by itself.
    fn wait_ms(&self) -> i32 {
        if !self.downloads.is_empty() && self.channel.has_room() {
            return 0;
        }
        let next = self.processes.iter().filter_map(Process::deadline).chain(self.terminals.deadline()).min();
        next.map_or(-1, |at| {
            let left = at.saturating_duration_since(Instant::now()).as_millis() + 1;
            i32::try_from(left).unwrap_or(i32::MAX)
        })
    }

    /// Serves one ready descriptor. `Ok(false)`: the host is gone.
    fn ready(&mut self, source: Source) -> io::Result<bool> {
        match source {
            Source::Channel => return self.receive(),
            Source::Signals => self.reap(),
            Source::Stdin(stream) => {
                if let Some(process) = self.processes.iter_mut().find(|p| p.stream == stream) {
                    process.write_stdin(&mut self.channel);
                }
            }
            Source::Stdout(stream) => self.read_output(stream, false),
            Source::Stderr(stream) => self.read_output(stream, true),
            Source::Leftover(raw) => self.drain_leftover(raw),
            Source::Listener => self.relay.accept(&mut self.channel),
            Source::Flow(number) => self.relay.ready(number, &mut self.scratch, &mut self.channel),
            Source::Terminal(number) => self.terminals.ready(number, &mut self.scratch, &mut self.channel),
        }
        Ok(true)
    }

    fn read_output(&mut self, stream: u32, error: bool) {
        if let Some(process) = self.processes.iter_mut().find(|p| p.stream == stream) {
            process.read_output(error, &mut self.scratch, &mut self.channel);
        }
    }

    fn drain_leftover(&mut self, raw: RawFd) {
        let scratch = &mut self.scratch;
        self.leftovers.retain(|fd| {
            if fd.as_raw_fd() != raw {
                return true;
            }
            match sys::read(fd.as_fd(), scratch) {
                Ok(count) => count > 0,
                Err(error) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
            }
        });
    }

    /// Collects every child that ended; those no command knows were orphans.
    fn reap(&mut self) {
        while matches!(sys::read(self.signals.as_fd(), &mut self.scratch), Ok(count) if count > 0) {}
        while let Some((pid, status)) = sys::reap() {
            let outcome = outcome_of(status);
            if let Some(process) = self.processes.iter_mut().find(|p| p.pid == pid) {
                process.outcome = Some(outcome);
            } else {
                self.terminals.reaped(pid, outcome, &mut self.scratch, &mut self.channel);
                if let Some(isolate) = &mut self.isolate {
                    isolate.ended(pid);
                }
            }
        }
    }

    /// Clocks, ended commands, and the next chunks of downloads.
    fn advance(&mut self) {
        let now = Instant::now();
        self.terminals.tick(now);
        let mut index = 0;
        while let Some(process) = self.processes.get_mut(index) {
            process.tick(now);
            if let Some(outcome) = process.outcome.take() {
                sys::keep();
                let process = self.processes.swap_remove(index);
                let pipes = process.into_leftovers(outcome, &mut self.scratch, &mut self.channel);
                self.leftovers.extend(pipes);
            } else {
                index += 1;
            }
        }
        if let Some(isolate) = self.isolate.as_mut().filter(|_| self.processes.is_empty()) {
            isolate.refill();
        }
        let excess = self.leftovers.len().saturating_sub(LEFTOVERS_MAX);
        self.leftovers.drain(..excess);
        if self.channel.has_room() {
            let (scratch, channel) = (&mut self.scratch, &mut self.channel);
            self.downloads.retain_mut(|download| !download.pump(scratch, channel));
        }
    }

    fn receive(&mut self) -> io::Result<bool> {
        if self.channel.has_room() && !self.channel.receive(&mut self.scratch)? {
            return Ok(false);
        }
        while let Some((kind, stream, payload)) = self.channel.next()? {
            self.handle(kind, stream, &payload)?;
        }
        Ok(true)
    }

    fn handle(&mut self, kind: Kind, stream: u32, payload: &[u8]) -> io::Result<()> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let starts = matches!(kind, Kind::Exec | Kind::Code | Kind::Put | Kind::Get | Kind::List | Kind::Stat);
        if starts && self.processes.len() + self.uploads.len() + self.downloads.len() >= STREAMS_MAX {
            self.channel.refuse(stream, "too many commands and transfers at once");
            return Ok(());
        }
        match kind {
            Kind::Exec if self.isolate.is_some() => self.channel.refuse(stream, "no command can run here, only code"),
            Kind::Exec => {
                let exec = Exec::decode(payload).map_err(invalid)?;
                self.processes.extend(Process::start(stream, &exec, &mut self.channel));
            }
            Kind::Code => self.code(stream, Code::decode(payload).map_err(invalid)?),
            Kind::Stdin => {
                if let Some(process) = self.processes.iter_mut().find(|p| p.stream == stream) {
                    process.feed(payload)?;
                    process.write_stdin(&mut self.channel);
                }
            }
            Kind::StdinEnd => {
                if let Some(process) = self.processes.iter_mut().find(|p| p.stream == stream) {
                    process.end_stdin(&mut self.channel);
                }
            }
            Kind::Signal => self.signal(stream, payload)?,
            Kind::Put => match Upload::start(stream, &Put::decode(payload).map_err(invalid)?) {
                Ok(upload) => self.uploads.push(upload),
                Err(error) => self.channel.fail(stream, &error, "creating the file"),
            },
            Kind::PutData => self.put_data(stream, payload),
            Kind::PutEnd => self.put_end(stream),
            Kind::Get => match Download::start(stream, &Get::decode(payload).map_err(invalid)?) {
                Ok(download) => self.downloads.push(download),
                Err(error) => self.channel.fail(stream, &error, "opening the file"),
            },
            Kind::List => {
                let request = List::decode(payload).map_err(invalid)?;
                if let Err(error) = files::list(stream, &request, &mut self.channel) {
                    self.channel.fail(stream, &error, "opening the folder");
                }
            }
            Kind::Stat => {
                let request = Stat::decode(payload).map_err(invalid)?;
                if let Err(error) = files::stat(stream, &request, &mut self.channel) {
                    self.channel.fail(stream, &error, "looking at the path");
                }
            }
            Kind::Listen => self.listen(stream, Listen::decode(payload).map_err(invalid)?),
            Kind::FlowWrite | Kind::FlowWriteEnd | Kind::FlowGrant | Kind::FlowCut => {
                self.relay.handle(kind, stream, payload, &mut self.channel)?;
            }
            Kind::TerminalOpen if self.isolate.is_some() => {
                self.channel.refuse(stream, "no terminal can be here, only code");
            }
            Kind::TerminalOpen => {
                self.terminals.open(stream, &Open::decode(payload).map_err(invalid)?, &mut self.channel);
            }
            Kind::TerminalInput | Kind::TerminalResize | Kind::TerminalRead | Kind::TerminalClose => {
                self.terminals.handle(kind, stream, payload, &mut self.channel)?;
            }
            Kind::Jobs => self.list_jobs(stream),
            // The decoder lets no other kind through.
            _ => {}
        }
        Ok(())
    }

    fn code(&mut self, stream: u32, code: Code) {
        match self.isolate.as_mut().map(Isolate::take) {
            None => self.channel.refuse(stream, "no code can run here, only commands"),
            Some(Ok(host)) => self.processes.push(Process::code(stream, host, code)),
            Some(Err((error, doing))) => self.channel.fail(stream, &error, doing),
        }
    }

    fn list_jobs(&mut self, stream: u32) {
        let mut jobs = Writer::new();
        for process in self.processes.iter().filter(|process| process.background) {
            Job { stream: process.stream, pid: u32::try_from(process.pid).unwrap_or(0) }.encode(&mut jobs);
        }
        self.channel.send(Kind::Running, stream, &jobs.into_bytes());
    }

    fn listen(&mut self, stream: u32, Listen { port }: Listen) {
        match self.relay.listen(port) {
            Ok(()) => self.channel.send(Kind::Done, stream, &Done { total: port.into(), truncated: false }.encode()),
            Err(error) => self.channel.fail(stream, &error, "listening on loopback"),
        }
    }

    fn signal(&self, stream: u32, payload: &[u8]) -> io::Result<()> {
        let number = <[u8; 4]>::try_from(payload).map(i32::from_le_bytes);
        let number = number.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        if let Some(process) = self.processes.iter().find(|p| p.stream == stream) {
            sys::signal_group(process.pid, number);
        }
        Ok(())
    }

    /// A transfer that failed has no upload any more; the rest of its bytes are dropped.
    fn put_data(&mut self, stream: u32, bytes: &[u8]) {
        let Some(index) = self.uploads.iter().position(|u| u.stream == stream) else { return };
        if let Err(error) = self.uploads[index].write(bytes) {
            self.uploads.swap_remove(index);
            self.channel.fail(stream, &error, "writing the file");
        }
    }

    fn put_end(&mut self, stream: u32) {
        let Some(index) = self.uploads.iter().position(|u| u.stream == stream) else { return };
        match self.uploads.swap_remove(index).finish().inspect(|_| sys::keep()) {
            Ok(total) => self.channel.send(Kind::Done, stream, &Done { total, truncated: false }.encode()),
            Err(error) => self.channel.fail(stream, &error, "naming the file"),
        }
    }
}
