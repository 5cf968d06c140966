//! The keeper: stays beside the launcher with nothing to do but to start it again when it dies.
//!
//! It holds the launcher's end of the platform's socket, so that the platform, which has left root for good, need not start
//! anything. It reads no request: what was under way when a launcher died is thrown away unread, and the platform is told so.
//! Read next: `server.rs` for what the launcher does with the socket.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, WaitOptions, WaitStatus, getpid, getppid, waitpid};

use crate::protocol::Message;
use crate::socket;

/// Starts in [`RESTARTS_TIME`] after which the keeper gives up, and the platform sees that there is no launcher.
const RESTARTS_MAX: usize = 10;
/// See [`RESTARTS_MAX`].
const RESTARTS_TIME: Duration = Duration::from_secs(60);
/// The pause before a start; twice as long for each one in [`RESTARTS_TIME`].
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long the platform may take to make room for the news of a death.
const TELL_MAX: Duration = Duration::from_secs(5);
/// Exit codes of a launcher that ended because it was to: asked, or not able to work here, which it has said.
const IN_ORDER: [i32; 3] = [0, 64, 78];
/// The exit code of a keeper that gave up, or could not start a launcher.
const GAVE_UP: u8 = 71;

/// Becomes the keeper of launchers on this socket. `None`: this process is a launcher, go on. `Some`: there is none any more.
/// Call it while there is a single thread.
pub(super) fn keep(control: &OwnedFd) -> Option<ExitCode> {
    let mut deaths = VecDeque::new();
    loop {
        let launcher = match born() {
            Ok(Some(launcher)) => launcher,
            Ok(None) => return None,
            Err(_) => return Some(ExitCode::from(GAVE_UP)),
        };
        crate::thin::give_back();
        let Some(how) = end_of(launcher) else { return Some(ExitCode::SUCCESS) };
        let now = Instant::now();
        deaths.push_back(now);
        while deaths.front().is_some_and(|at: &Instant| now.duration_since(*at) > RESTARTS_TIME) {
            deaths.pop_front();
        }
        if deaths.len() > RESTARTS_MAX || tell(control, &how).is_err() || rest(control, pause(deaths.len())) {
            return Some(ExitCode::from(GAVE_UP));
        }
    }
}

/// A new launcher's process number; `None` in the launcher itself, which dies with its keeper.
fn born() -> io::Result<Option<Pid>> {
    let keeper = getpid();
    // SAFETY: there is one thread, so the new process has all of what this one had.
    let pid = unsafe { libc::fork() };
    if pid == -1 {
        return Err(io::Error::last_os_error());
    }
    if let Some(launcher) = Pid::from_raw(pid) {
        return Ok(Some(launcher));
    }
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // It may have died before that was asked.
    if getppid() != Some(keeper) {
        return Err(io::Error::other("the keeper is gone"));
    }
    Ok(None)
}

/// Waits for the end of a launcher: how it died; `None` when it ended in order.
fn end_of(launcher: Pid) -> Option<String> {
    loop {
        match waitpid(Some(launcher), WaitOptions::empty()) {
            Ok(Some((_, status))) => return death_in(status),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            // Nobody to wait for any more.
            Err(_) => return None,
        }
    }
}

fn death_in(status: WaitStatus) -> Option<String> {
    if let Some(signal) = status.terminating_signal() {
        return Some(format!("signal {signal}"));
    }
    let code = status.exit_status().unwrap_or_default();
    (!IN_ORDER.contains(&code)).then(|| format!("exit code {code}"))
}

fn pause(deaths: usize) -> Duration {
    let doublings = u32::try_from(deaths.saturating_sub(1)).unwrap_or(u32::MAX);
    PAUSE_FIRST.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(PAUSE_MAX)
}

/// Throws away what the dead launcher had not read, and says that it is dead: no request from before will be answered.
fn tell(control: &OwnedFd, how: &str) -> io::Result<()> {
    loop {
        match socket::receive(control.as_fd()) {
            Ok(Some(_)) => {}
            Ok(None) => return Err(io::ErrorKind::BrokenPipe.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    let bytes = serde_json::to_vec(&Message::Died { how: how.to_owned() })?;
    let until = Instant::now() + TELL_MAX;
    loop {
        match socket::send(control.as_fd(), &bytes, None) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < until => {
                wait(control, PollFlags::OUT, PAUSE_FIRST);
            }
            outcome => return outcome,
        }
    }
}

/// Waits; `true` at once when the platform is gone, which needs no launcher any more.
fn rest(control: &OwnedFd, pause: Duration) -> bool {
    let until = Instant::now() + pause;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if wait(control, PollFlags::empty(), left).intersects(PollFlags::HUP | PollFlags::ERR) {
            return true;
        }
        if left.is_zero() {
            return false;
        }
    }
}

/// What is true of the socket, at the latest after `most`.
fn wait(control: &OwnedFd, what: PollFlags, most: Duration) -> PollFlags {
    let mut fds = [PollFd::new(control, what)];
    let most = Timespec::try_from(most).ok();
    // An interruption is as good as an end of the time: the callers look again.
    let _ = poll(&mut fds, most.as_ref());
    fds[0].revents()
}

#[cfg(test)]
mod tests {
    //! Pauses grow, and a life is over only when it was to be.

    use super::*;

    #[test]
    fn pauses_double_up_to_their_limit() {
        assert_eq!([1, 2, 3, 7, 8, 500].map(|deaths| pause(deaths).as_millis()), [50, 100, 200, 3200, 5000, 5000]);
    }

    #[test]
    fn the_platform_learns_what_is_not_answered_and_its_end_is_seen() {
        let (platform, launcher) = socket::packet_pair().unwrap();
        socket::send(platform.as_fd(), b"a request", None).unwrap();
        tell(&launcher, "signal 9").unwrap();
        let told = socket::receive(platform.as_fd()).unwrap().unwrap();
        assert!(matches!(serde_json::from_slice(&told.bytes).unwrap(), Message::Died { how } if how == "signal 9"));
        let unread = socket::receive(launcher.as_fd()).err().unwrap();
        assert_eq!(unread.kind(), io::ErrorKind::WouldBlock, "thrown away");
        assert!(!rest(&launcher, Duration::from_millis(1)));
        drop(platform);
        assert!(rest(&launcher, Duration::from_secs(60)));
        assert!(tell(&launcher, "signal 9").is_err());
    }
}
