//! The stream to the host: bytes in become frames, frames out wait in one bounded queue.
//!
//! The queue is bounded because producers ask [`Channel::has_room`] first and stop reading their pipes and files while
//! it says no. Read next: `server.rs`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use livery_guest::wire::message::Failure;
use livery_guest::wire::{self, Decoder, Frame, Kind, PAYLOAD_BYTES_MAX, Side};

use crate::sys;

/// Above this many waiting bytes nothing new is produced.
const QUEUE_BYTES: usize = 256 * 1024;

pub(crate) struct Channel {
    fd: OwnedFd,
    decoder: Decoder,
    queue: Vec<u8>,
    /// How much of `queue` is already sent.
    sent: usize,
}

impl Channel {
    pub(crate) const fn new(fd: OwnedFd) -> Self {
        Self { fd, decoder: Decoder::new(Side::Guest), queue: Vec::new(), sent: 0 }
    }

    pub(crate) fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    pub(crate) fn has_room(&self) -> bool {
        self.queue.len() - self.sent < QUEUE_BYTES
    }

    pub(crate) fn has_unsent(&self) -> bool {
        self.sent < self.queue.len()
    }

    /// Queues one frame, or several when `payload` is long and the kind is raw bytes.
    pub(crate) fn send(&mut self, kind: Kind, stream: u32, payload: &[u8]) {
        if payload.is_empty() {
            wire::encode(&mut self.queue, kind, stream, &[]);
        }
        for part in payload.chunks(PAYLOAD_BYTES_MAX) {
            wire::encode(&mut self.queue, kind, stream, part);
        }
    }

    pub(crate) fn fail(&mut self, stream: u32, error: &io::Error, doing: &str) {
        let failure = Failure { errno: error.raw_os_error().unwrap_or(0), reason: format!("{doing}: {error}") };
        self.send(Kind::Failed, stream, &failure.encode());
    }

    pub(crate) fn refuse(&mut self, stream: u32, reason: &str) {
        self.send(Kind::Failed, stream, &Failure { errno: 0, reason: reason.to_owned() }.encode());
    }

    /// Sends what the socket takes now.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while self.has_unsent() {
            match sys::write(self.fd.as_fd(), &self.queue[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if !self.has_unsent() {
            // A burst's memory is given back; a small buffer is kept.
            if self.queue.capacity() > 16 * 1024 {
                self.queue = Vec::new()
            } else {
                self.queue.clear()
            }
            self.sent = 0;
        } else if self.sent > QUEUE_BYTES {
            self.queue.drain(..self.sent);
            self.sent = 0;
        }
        Ok(())
    }

    /// Receives once. `Ok(false)`: the host is gone.
    pub(crate) fn receive(&mut self, scratch: &mut [u8]) -> io::Result<bool> {
        match sys::read(self.fd.as_fd(), scratch) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.decoder.push(&scratch[..count]);
                Ok(true)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The next received frame, copied out so that the handler may send.
    pub(crate) fn next(&mut self) -> io::Result<Option<(Kind, u32, Vec<u8>)>> {
        match self.decoder.next() {
            Ok(Some(Frame { kind, stream, payload })) => Ok(Some((kind, stream, payload.to_vec()))),
            Ok(None) => {
                self.decoder.shrink();
                Ok(None)
            }
            Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }
}
