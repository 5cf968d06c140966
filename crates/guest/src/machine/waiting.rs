//! A machine that becomes a snapshot, and then many machines: how each becomes another one before anything of a run exists.
//!
//! It calls its host, says that it waits, and reads. The snapshot is taken there. Where it is restored the stream is reset, so that the
//! read fails; the machine calls again, and is greeted: with bytes for its generator of random numbers that no other machine gets,
//! the hour, and what it is for. Read next: `../machine.rs`, `livery_guest::vm`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use livery_guest::vm::{GREETING_BYTES, Given, Greeting, HOST_PORT, WAITING};

use super::{DEVICES, all, calls, wait_for};

/// Calls until one is answered with a greeting: one before the snapshot, one after it, and some for a host that is slow.
const CALLS_MAX: usize = 8;

/// Waits; what it is for, and its stream.
pub(super) fn greeted() -> io::Result<(Given, OwnedFd)> {
    if !all(DEVICES, "vd").is_empty() {
        return Err(io::Error::other("this kernel knows its disks before they are a run's, so it makes no snapshot"));
    }
    for _ in 0..CALLS_MAX {
        let mut stream = File::from(wait_for(|| calls::call_host(HOST_PORT).ok())?);
        let mut bytes = [0; GREETING_BYTES];
        if stream.write_all(&[WAITING]).and_then(|()| stream.read_exact(&mut bytes)).is_err() {
            // This machine is another one from here on.
            continue;
        }
        let Greeting { given, clock_ns, random } = Greeting::parse(&bytes).ok_or(io::ErrorKind::InvalidData)?;
        calls::reseed(&File::options().write(true).open(format!("{DEVICES}/urandom"))?, &random)?;
        calls::set_clock(clock_ns)?;
        return Ok((given, stream.into()));
    }
    Err(io::Error::other("nobody says what this machine is for"))
}
