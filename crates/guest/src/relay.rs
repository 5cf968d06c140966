//! Connections programs in the sandbox make to a port on loopback, carried to the host as flows.
//!
//! Nothing is read from a connection that the host has no room for, and nothing is kept for one beyond its window.
//! Read next: `livery_guest::wire::flow` for the rules, `server.rs` for the loop.

use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, RawFd};

use livery_guest::wire::Kind;
use livery_guest::wire::flow::{FLOW_FRAME_BYTES, FLOW_WINDOW_BYTES, FLOWS_MAX, Grant};

use crate::channel::Channel;
use crate::sys;

/// One accepted connection.
struct Flow {
    number: u32,
    socket: TcpStream,
    /// From the host, not written yet.
    waiting: Vec<u8>,
    /// Whether the host has sent all it will.
    host_ended: bool,
    /// Bytes the host has granted.
    may_send: u32,
    read_ended: bool,
    /// The connection broke: what the host still sends is dropped.
    broken: bool,
}

/// The listener, once the host asked for it, and every connection it accepted.
#[derive(Default)]
pub(crate) struct Relay {
    listener: Option<TcpListener>,
    flows: Vec<Flow>,
    last: u32,
}

impl Relay {
    /// Starts to listen. Asking twice for one port is an error of the kernel's.
    pub(crate) fn listen(&mut self, port: u16) -> io::Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        listener.set_nonblocking(true)?;
        self.listener = Some(listener);
        Ok(())
    }

    /// The listener, while another connection may come.
    pub(crate) fn listener_fd(&self) -> Option<RawFd> {
        self.listener.as_ref().filter(|_| self.flows.len() < FLOWS_MAX).map(AsRawFd::as_raw_fd)
    }

    /// Each connection worth waiting for, with its number and what it is waited for.
    pub(crate) fn wanted(&self, room: bool) -> impl Iterator<Item = (RawFd, i16, u32)> {
        self.flows.iter().filter_map(move |flow| {
            let reads = room && !flow.read_ended && flow.may_send > 0;
            let writes = !flow.broken && !flow.waiting.is_empty();
            let events = if reads { libc::POLLIN } else { 0 } | if writes { libc::POLLOUT } else { 0 };
            (events != 0).then(|| (flow.socket.as_raw_fd(), events, flow.number))
        })
    }

    /// Takes the connections that wait, as many as there are places for.
    pub(crate) fn accept(&mut self, channel: &mut Channel) {
        while self.flows.len() < FLOWS_MAX {
            let Some(Ok((socket, _))) = self.listener.as_ref().map(TcpListener::accept) else { return };
            if socket.set_nonblocking(true).is_err() {
                continue;
            }
            // Latency only; a flow without it works.
            let _ = socket.set_nodelay(true);
            self.last += 1;
            channel.send(Kind::FlowOpened, self.last, &[]);
            self.flows.push(Flow {
                number: self.last,
                socket,
                waiting: Vec::new(),
                host_ended: false,
                may_send: FLOW_WINDOW_BYTES,
                read_ended: false,
                broken: false,
            });
        }
    }

    /// A connection can be read, written or both.
    pub(crate) fn ready(&mut self, number: u32, scratch: &mut [u8], channel: &mut Channel) {
        let Some(flow) = self.flows.iter_mut().find(|flow| flow.number == number) else { return };
        flow.write(channel);
        if channel.has_room() {
            flow.read(scratch, channel);
        }
        self.settle(number, channel);
    }

    /// A frame of the host's for a flow. One for a flow that is over crossed its end on the way.
    pub(crate) fn handle(&mut self, kind: Kind, number: u32, payload: &[u8], channel: &mut Channel) -> io::Result<()> {
        let invalid = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let Some(flow) = self.flows.iter_mut().find(|flow| flow.number == number) else { return Ok(()) };
        match kind {
            Kind::FlowWrite => {
                let window = usize::try_from(FLOW_WINDOW_BYTES).unwrap_or(usize::MAX);
                if flow.waiting.len() + payload.len() > window {
                    return Err(invalid("a flow beyond its window"));
                }
                flow.waiting.extend_from_slice(payload);
                flow.write(channel);
            }
            Kind::FlowWriteEnd => flow.host_ended = true,
            Kind::FlowGrant => {
                let grant = Grant::decode(payload).map_err(|_| invalid("a grant of nothing"))?;
                flow.may_send = flow.may_send.saturating_add(grant.bytes);
            }
            _ => {
                self.close(number, channel);
                return Ok(());
            }
        }
        self.settle(number, channel);
        Ok(())
    }

    /// Ends the writing side when all is written, and the whole connection when the other side has ended too.
    fn settle(&mut self, number: u32, channel: &mut Channel) {
        let Some(flow) = self.flows.iter().find(|flow| flow.number == number) else { return };
        if !flow.host_ended || !flow.waiting.is_empty() {
            return;
        }
        // A connection that is gone already has nothing left to end.
        let _ = flow.socket.shutdown(Shutdown::Write);
        if flow.read_ended {
            self.close(number, channel);
        }
    }

    fn close(&mut self, number: u32, channel: &mut Channel) {
        self.flows.retain(|flow| flow.number != number);
        channel.send(Kind::FlowClosed, number, &[]);
    }
}

impl Flow {
    /// Writes what the connection takes and grants the host as much again.
    fn write(&mut self, channel: &mut Channel) {
        if self.waiting.is_empty() {
            return;
        }
        let count = if self.broken {
            self.waiting.len()
        } else {
            match sys::write(self.socket.as_fd(), &self.waiting) {
                Ok(count) => count,
                Err(error) if passes(&error) => 0,
                Err(_) => {
                    self.end_reading(channel);
                    self.broken = true;
                    self.waiting.len()
                }
            }
        };
        if count > 0 {
            self.waiting.drain(..count);
            let bytes = u32::try_from(count).unwrap_or(FLOW_WINDOW_BYTES);
            channel.send(Kind::FlowGranted, self.number, &Grant { bytes }.encode());
        }
        if self.waiting.is_empty() && self.waiting.capacity() > 4096 {
            self.waiting = Vec::new();
        }
    }

    /// Reads once, no more than the host has granted.
    fn read(&mut self, scratch: &mut [u8], channel: &mut Channel) {
        let most = usize::try_from(self.may_send).unwrap_or(usize::MAX).min(FLOW_FRAME_BYTES).min(scratch.len());
        if self.read_ended || most == 0 {
            return;
        }
        match sys::read(self.socket.as_fd(), &mut scratch[..most]) {
            Ok(0) => self.end_reading(channel),
            Ok(count) => {
                self.may_send -= u32::try_from(count).unwrap_or(self.may_send);
                channel.send(Kind::FlowRead, self.number, &scratch[..count]);
            }
            Err(error) if passes(&error) => {}
            Err(_) => {
                self.end_reading(channel);
                self.broken = true;
            }
        }
    }

    fn end_reading(&mut self, channel: &mut Channel) {
        if !self.read_ended {
            self.read_ended = true;
            channel.send(Kind::FlowReadEnd, self.number, &[]);
        }
    }
}

fn passes(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
