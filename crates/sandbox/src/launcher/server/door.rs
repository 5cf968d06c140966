//! The first sign of a guest's kernel: a word on its stream, or a call for one.
//!
//! Some monitors are given the guest's stream, others call for it at a path. There the carrier, while it is still ours, makes the socket
//! and hands it over. One call is taken and the socket closed, so nobody else is ever heard at that door. A carrier that has talked to its
//! guest before hands the stream itself over. Read next: `birth.rs`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, EventFlags};
use rustix::net::SocketFlags;

use super::{FIRST_WORD, Server, token};
use crate::launcher::live::Phase;
use crate::launcher::tiers::Sign;
use crate::socket::{self, HANDS_DOOR, HANDS_STREAM};

impl Server {
    /// Something is there where a starting guest's stream is, or will be. The end of it is said better by the guest's death.
    pub(super) fn first_word(&mut self, serial: u64) {
        let Some(live) = self.live.get_mut(&serial) else { return };
        let Phase::Starting { channel, sign, .. } = &mut live.phase else { return };
        let _ = epoll::delete(&self.epoll, &*channel);
        let next = match sign {
            Sign::ReportEnds => return,
            Sign::FirstWord => {
                if socket::has_spoken(channel.as_fd()) {
                    self.hand_out(serial);
                }
                return;
            }
            Sign::Door => handed_over(channel),
            Sign::Call => call(channel).map(|stream| (Sign::FirstWord, stream)),
        };
        match next {
            Ok((next, stream)) => (*channel, *sign) = (stream, next),
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

/// What a carrier hands over: the socket of the door, or the stream of a guest that has called already.
pub(crate) fn handed_over(channel: &OwnedFd) -> io::Result<(Sign, OwnedFd)> {
    let packet = socket::receive(channel.as_fd())?.ok_or(io::ErrorKind::UnexpectedEof)?;
    match (packet.bytes.as_slice(), packet.fd) {
        ([HANDS_DOOR], Some(door)) => Ok((Sign::Call, door)),
        ([HANDS_STREAM], Some(stream)) => Ok((Sign::FirstWord, stream)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The one call at that socket, as a stream like any other guest's.
fn call(listener: &OwnedFd) -> io::Result<OwnedFd> {
    match rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
        Err(rustix::io::Errno::CONNABORTED | rustix::io::Errno::INTR) => Err(io::ErrorKind::WouldBlock.into()),
        taken => Ok(taken?),
    }
}
