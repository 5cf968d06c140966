//! Process 1 of a sandbox: a static program that serves its host over one inherited stream (file descriptor 3).
//!
//! It holds no secret and enforces no boundary. It exits, and so ends every process of the sandbox, when the stream ends
//! or carries something that is not a frame. Read next: [`server`].
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

mod channel;
mod files;
mod isolate;
mod machine;
mod output;
mod path;
mod process;
mod pty;
mod relay;
mod server;
mod spawn;
mod sys;
mod terminal;
mod upload;
mod walk;

use std::process::ExitCode;

use livery_guest::seccomp::{self, Kernel};
use livery_guest::vm;

/// Where the launcher left the channel.
const CHANNEL_FD: i32 = 3;
/// More than any launcher gives.
const ARGUMENTS_MAX: usize = 16;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mode = arguments.next().unwrap_or_default();
    // A launcher confines the process that becomes the guest, except where that process's kernel is not the launcher's.
    let ready = match mode.as_str() {
        livery_guest::CONFINE => sys::let_go().and_then(|()| sys::confine(&seccomp::program(Kernel::Gvisor))),
        vm::WORD => machine::settle(&arguments.by_ref().take(ARGUMENTS_MAX).collect::<Vec<_>>(), CHANNEL_FD),
        vm::WAIT => machine::wait(CHANNEL_FD),
        vm::PROBE => Err(std::io::Error::other(vm::BOOTED)),
        _ => Ok(()),
    };
    let isolate = if mode == livery_guest::isolate::ISOLATE { isolate::Isolate::new(arguments) } else { None };
    let prepared = ready.and_then(|()| sys::prepare(CHANNEL_FD));
    match prepared.and_then(|(channel, signals)| server::run(channel, signals, isolate)) {
        Ok(()) => ExitCode::SUCCESS,
        // The host sees the stream end and the launcher sees this code. Only a machine has a console where this is read.
        Err(error) => {
            sys::say(&error);
            ExitCode::from(70)
        }
    }
}
