//! Short work beside the launcher, which may not wait: in a process of its own that ends with it.
//!
//! Read next: `janitor.rs`, `disks/cache.rs`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::child;

/// Where the one descriptor lies that such a process keeps, beside its standard streams.
pub(super) const KEPT_FD: i32 = 3;

/// Runs `work` in a new process that has `kept` at [`KEPT_FD`] and no other descriptor of the launcher's; its pidfd.
pub(super) fn spawn(
    launcher: BorrowedFd<'_>,
    kept: BorrowedFd<'_>,
    work: impl FnOnce() -> io::Result<()>,
) -> io::Result<OwnedFd> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: all zero is valid for the structure; `pidfd` outlives the call; this process has one thread, and the child
    // leaves through `_exit`. Descriptors above the kept one are never used again there.
    unsafe {
        let mut args: libc::clone_args = std::mem::zeroed();
        args.flags = u64::from(libc::CLONE_PIDFD.cast_unsigned());
        args.pidfd = (&raw mut pidfd).addr() as u64;
        args.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
        match libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    child::die_with_launcher(launcher)?;
                    libc::dup2(kept.as_raw_fd(), KEPT_FD);
                    libc::syscall(libc::SYS_close_range, KEPT_FD + 1, u32::MAX, 0);
                    work()
                }));
                libc::_exit(i32::from(!matches!(done, Ok(Ok(())))))
            }
            _ => Ok(OwnedFd::from_raw_fd(pidfd)),
        }
    }
}
