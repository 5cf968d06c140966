//! The launcher's half of a start: one `clone3` into new namespaces, the id maps, and the descriptors to watch.
//!
//! Never waits: the new process sets itself up while the launcher serves others. Read next: `child.rs`.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::cgroup::Group;
use super::child::{self, Birth};
use super::tiers::{Carrier, Sign};
use crate::socket;

/// What is the same for all sandboxes of a launcher.
pub(crate) struct Ground {
    /// A sealed memory file with the guest program.
    pub(crate) guest: OwnedFd,
    /// A pidfd of the launcher itself.
    pub(crate) launcher: OwnedFd,
    pub(crate) filter: Vec<libc::sock_filter>,
    pub(crate) landlock_abi: u32,
    pub(crate) privileged: bool,
}

/// One start.
pub(crate) struct Start<'a> {
    pub(crate) carrier: Carrier<'a>,
    /// The host's uid and gid behind the run's id inside.
    pub(crate) host_id: (u32, u32),
    pub(crate) group: Option<&'a Group>,
}

/// A process that sets itself up.
pub(crate) struct Started {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    /// A failed step arrives here.
    pub(crate) report: OwnedFd,
    /// By what its success is seen.
    pub(crate) sign: Sign,
    /// The host's end of the channel.
    pub(crate) channel: OwnedFd,
}

const NAMESPACES: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;

/// Gives birth to a sandbox's process 1.
pub(crate) fn start(ground: &Ground, start: &Start<'_>) -> io::Result<Started> {
    let (channel, guest_channel) = socket::stream_pair()?;
    let (report_read, report_write) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK)?;
    let (go_read, go_write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let birthplace = start.group.and_then(Group::birthplace).transpose()?;
    let birth = Birth {
        doors: start.group.map(Group::doors).transpose()?.unwrap_or_default(),
        launcher: ground.launcher.as_fd(),
        go: go_read,
        report: report_write,
        channel: guest_channel,
        drop_groups: ground.privileged,
        carrier: &start.carrier,
    };
    let (pid, pidfd) = clone(&birth, birthplace.as_ref().map(AsFd::as_fd))?;
    let started = Started { pid, pidfd, report: report_read, sign: start.carrier.sign(), channel };
    if let Err(error) = map_ids(pid, &start.carrier, start.host_id, ground.privileged)
        .and_then(|()| File::from(go_write).write_all(&[1]))
    {
        // It waits for the byte that will not come; the caller never learns of it.
        kill(started.pidfd.as_fd());
        reap(started.pidfd.as_fd(), Wait::UntilGone);
        return Err(error);
    }
    Ok(started)
}

fn clone(birth: &Birth<'_>, birthplace: Option<BorrowedFd<'_>>) -> io::Result<(i32, OwnedFd)> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: all zero is valid for the structure; `pidfd` outlives the call. This process has one thread and no memory
    // is shared with the child, which never returns from `child::run`.
    unsafe {
        let mut args: libc::clone_args = std::mem::zeroed();
        args.flags = u64::from((NAMESPACES | libc::CLONE_PIDFD).cast_unsigned());
        args.pidfd = (&raw mut pidfd).addr() as u64;
        args.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
        if let Some(folder) = birthplace {
            const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
            args.flags |= CLONE_INTO_CGROUP;
            args.cgroup = u64::from(folder.as_raw_fd().cast_unsigned());
        }
        match libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) {
            -1 => Err(io::Error::last_os_error()),
            0 => child::run(birth),
            pid => Ok((i32::try_from(pid).unwrap_or(-1), OwnedFd::from_raw_fd(pidfd))),
        }
    }
}

/// The ids of the carrier's namespace; the host's uid 0 is behind none of them.
fn map_ids(pid: i32, carrier: &Carrier<'_>, (uid, gid): (u32, u32), privileged: bool) -> io::Result<()> {
    let map =
        |own| carrier.ids(own).iter().map(|(inside, outside)| format!("{inside} {outside} 1\n")).collect::<String>();
    if !privileged {
        // The kernel asks this of whoever may not set groups, before the group map.
        std::fs::write(format!("/proc/{pid}/setgroups"), "deny")?;
    }
    std::fs::write(format!("/proc/{pid}/uid_map"), map(uid))?;
    std::fs::write(format!("/proc/{pid}/gid_map"), map(gid))
}

/// Kills a sandbox: the kernel takes every process of a PID namespace with its process 1.
pub(crate) fn kill(pidfd: BorrowedFd<'_>) {
    // A process that is gone already is what the caller wanted.
    let _ = rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::KILL);
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    IfGone,
    UntilGone,
}

/// Collects a dead process 1. `true`: it, and so every process of its namespace, is gone.
pub(crate) fn reap(pidfd: BorrowedFd<'_>, wait: Wait) -> bool {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let mut options = WaitIdOptions::EXITED;
    if wait == Wait::IfGone {
        options |= WaitIdOptions::NOHANG;
    }
    loop {
        match waitid(WaitId::PidFd(pidfd), options) {
            Ok(status) => return status.is_some(),
            Err(rustix::io::Errno::INTR) => {}
            // Not a child any more: collected before.
            Err(_) => return true,
        }
    }
}
