//! Removing workspaces: in short-lived processes with the workspace's own uid and nothing else.
//!
//! A workspace is first renamed into `trash`, so its name is free at once and a crash leaves it where the next life looks.
//! The launcher never walks it as root and never waits. Read next: `tree.rs`.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::tree;

/// Removals at once.
const AT_ONCE: usize = 4;

/// One removal, waiting or running.
pub(crate) struct Job {
    pub(crate) path: PathBuf,
    pub(crate) owner: (u32, u32),
    /// Who asked, if anyone.
    pub(crate) seq: Option<u64>,
}

pub(crate) struct Running {
    pub(crate) job: Job,
    pub(crate) pidfd: OwnedFd,
    pub(crate) token: u64,
}

#[derive(Default)]
pub(crate) struct Janitor {
    waiting: VecDeque<Job>,
    running: Vec<Running>,
}

impl Janitor {
    pub(crate) fn add(&mut self, job: Job) {
        self.waiting.push_back(job);
    }

    /// The next job, if there is room for it.
    pub(crate) fn next(&mut self) -> Option<Job> {
        if self.running.len() < AT_ONCE { self.waiting.pop_front() } else { None }
    }

    pub(crate) fn started(&mut self, running: Running) {
        self.running.push(running);
    }

    /// Takes the finished job of a token. Its folder is removed here if the child emptied it.
    pub(crate) fn finished(&mut self, token: u64) -> Option<(Job, io::Result<()>)> {
        let index = self.running.iter().position(|r| r.token == token)?;
        let Running { job, pidfd, .. } = self.running.swap_remove(index);
        super::start::reap(std::os::fd::AsFd::as_fd(&pidfd), super::start::Wait::UntilGone);
        let removed = fs::remove_dir(&job.path);
        Some((job, removed))
    }
}

/// Everything an earlier life left in the trash.
pub(crate) fn left_over(trash: &Path) -> Vec<Job> {
    let entries = fs::read_dir(trash).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let metadata = fs::symlink_metadata(entry.path()).ok()?;
            metadata.is_dir().then(|| Job { path: entry.path(), owner: (metadata.uid(), metadata.gid()), seq: None })
        })
        .collect()
}

/// Starts a process that empties the job's folder as its owner.
pub(crate) fn spawn(job: &Job, privileged: bool) -> io::Result<OwnedFd> {
    let folder = tree::open_own_folder(rustix::fs::CWD, &path_c(&job.path)?)?;
    let mut pidfd: libc::c_int = -1;
    // SAFETY: all zero is valid for the structure; `pidfd` outlives the call; this process has one thread, and the child
    // leaves through `_exit`.
    unsafe {
        let mut args: libc::clone_args = std::mem::zeroed();
        args.flags = u64::from(libc::CLONE_PIDFD.cast_unsigned());
        args.pidfd = (&raw mut pidfd).addr() as u64;
        args.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
        match libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                let done = std::panic::catch_unwind(|| empty_as_owner(&folder, job.owner, privileged));
                libc::_exit(i32::from(!matches!(done, Ok(Ok(())))))
            }
            _ => Ok(OwnedFd::from_raw_fd(pidfd)),
        }
    }
}

fn empty_as_owner(folder: &OwnedFd, (uid, gid): (u32, u32), privileged: bool) -> io::Result<()> {
    // SAFETY: plain system calls on integers, in a process with one thread. Descriptors above the folder are never used
    // again, those below are closed by its end.
    unsafe {
        libc::dup2(folder.as_raw_fd(), 3);
        libc::syscall(libc::SYS_close_range, 4, u32::MAX, 0);
        if privileged {
            libc::setgroups(0, std::ptr::null());
            if libc::setresgid(gid, gid, gid) == -1 || libc::setresuid(uid, uid, uid) == -1 {
                return Err(io::Error::last_os_error());
            }
        }
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        let folder = std::mem::ManuallyDrop::new(OwnedFd::from_raw_fd(3));
        tree::remove_contents(&folder)
    }
}

fn path_c(path: &Path) -> io::Result<std::ffi::CString> {
    use std::os::unix::ffi::OsStrExt;
    Ok(std::ffi::CString::new(path.as_os_str().as_bytes())?)
}
