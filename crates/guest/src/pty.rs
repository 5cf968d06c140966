//! Pseudo-terminals of the sandbox's own `/dev/pts`: a pair, its size, and becoming a session's terminal.
//!
//! Every `unsafe` about terminals is here. Read next: `terminal.rs`.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use livery_guest::wire::terminal::Size;

use crate::sys::{self, check};

/// Both ends of a terminal: the guest's, which does not wait, and the program's.
pub(crate) fn open(size: Size) -> io::Result<(OwnedFd, OwnedFd)> {
    let ends = |path: &str| {
        File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY | libc::O_CLOEXEC)
            .open(path)
            .map(OwnedFd::from)
    };
    let master = ends("/dev/ptmx")?;
    let (unlocked, mut number): (libc::c_int, libc::c_uint) = (0, 0);
    // SAFETY: the descriptor is open and both integers outlive the calls.
    unsafe {
        check(libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked))?;
        check(libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN, &raw mut number))?;
    }
    let slave = ends(&format!("/dev/pts/{number}"))?;
    resize(&master, size)?;
    sys::set_nonblocking(&master)?;
    Ok((master, slave))
}

/// Makes it pass bytes on, line by line: nothing is echoed or changed, and no key does anything but Ctrl-D, which ends the input.
pub(crate) fn make_plain(slave: &OwnedFd) -> io::Result<()> {
    // SAFETY: the descriptor is open; the structure is plain integers, which the first call fills and the second reads.
    unsafe {
        let mut settings: libc::termios = std::mem::zeroed();
        check(libc::tcgetattr(slave.as_raw_fd(), &raw mut settings))?;
        settings.c_iflag &= !(libc::ICRNL | libc::INLCR | libc::IGNCR | libc::ISTRIP | libc::IXON | libc::IXOFF);
        settings.c_oflag &= !libc::OPOST;
        settings.c_lflag &= !(libc::ECHO | libc::ECHOE | libc::ECHOK | libc::ECHONL | libc::ISIG | libc::IEXTEN);
        settings.c_lflag |= libc::ICANON;
        for key in [libc::VERASE, libc::VKILL, libc::VEOL, libc::VEOL2, libc::VWERASE] {
            settings.c_cc[key] = 0;
        }
        check(libc::tcsetattr(slave.as_raw_fd(), libc::TCSANOW, &raw const settings)).map(drop)
    }
}

/// Says how large it is; the programs before it are told.
pub(crate) fn resize(master: &OwnedFd, size: Size) -> io::Result<()> {
    let size = libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the descriptor is open and the structure outlives the call.
    check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }).map(drop)
}

/// Sends a signal to every process of a session, also to those that went into groups of their own: of a changed size gVisor's
/// kernel tells none, nor which is in the foreground.
pub(crate) fn signal_session(session: i32, signal: i32) {
    let Ok(processes) = std::fs::read_dir("/proc") else { return };
    for entry in processes.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if session_of(&entry.path().join("stat")) == Some(session) {
            sys::signal(pid, signal);
        }
    }
}

/// The sixth field, of which the second may hold any bytes in its brackets.
fn session_of(stat: &std::path::Path) -> Option<i32> {
    let stat = std::fs::read(stat).ok()?;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    std::str::from_utf8(stat.get(end + 1..)?).ok()?.split_whitespace().nth(3)?.parse().ok()
}

/// In a child that leads a session: makes the terminal the session's.
///
/// # Safety
/// Only right after `fork` and `setsid` in a single-threaded process.
pub(crate) unsafe fn take(slave: RawFd) -> bool {
    // SAFETY: a plain system call on integers, as is fit for a child.
    unsafe { libc::ioctl(slave, libc::TIOCSCTTY, 0) != -1 }
}
