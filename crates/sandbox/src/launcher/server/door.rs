//! The first sign of a guest's kernel: a word on its stream, or a call for one.
//!
//! Some monitors are given the guest's stream, others call for it at a path. There the carrier, while it is still ours, makes the socket
//! and hands it over. One call is taken and the socket closed, so nobody else is ever heard at that door. Read next: `birth.rs`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, EventFlags};
use rustix::net::SocketFlags;

use super::{FIRST_WORD, Server, token};
use crate::launcher::live::Phase;
use crate::launcher::tiers::Sign;
use crate::socket;

impl Server {
    /// Something is there where a starting guest's stream is, or will be. The end of it is said better by the guest's death.
    pub(super) fn first_word(&mut self, serial: u64) {
        let Some(live) = self.live.get_mut(&serial) else { return };
        let Phase::Starting { channel, sign, .. } = &mut live.phase else { return };
        let _ = epoll::delete(&self.epoll, &*channel);
        let (next, stream) = match sign {
            Sign::ReportEnds => return,
            Sign::FirstWord => {
                if socket::has_spoken(channel.as_fd()) {
                    self.hand_out(serial);
                }
                return;
            }
            Sign::Door => (Sign::Call, handed_over(channel)),
            Sign::Call => (Sign::FirstWord, call(channel)),
        };
        match stream {
            Ok(stream) => (*channel, *sign) = (stream, next),
            // The caller hung up before it was heard, or there was nothing yet: the next one may be.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
        let watched = epoll::add(&self.epoll, &*channel, token(serial, FIRST_WORD), EventFlags::IN);
        if let Err(error) = watched {
            self.give_up(serial, "watching", &error.to_string());
        }
    }
}

/// The socket that a carrier hands over.
fn handed_over(channel: &OwnedFd) -> io::Result<OwnedFd> {
    socket::receive(channel.as_fd())?.and_then(|packet| packet.fd).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// The one call at that socket, as a stream like any other guest's.
fn call(listener: &OwnedFd) -> io::Result<OwnedFd> {
    match rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
        Err(rustix::io::Errno::CONNABORTED | rustix::io::Errno::INTR) => Err(io::ErrorKind::WouldBlock.into()),
        taken => Ok(taken?),
    }
}
