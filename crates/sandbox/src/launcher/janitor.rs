//! Removing workspaces: in short-lived processes with the workspace's own uid and nothing else.
//!
//! A workspace is first renamed into `trash`, so its name is free at once and a crash leaves it where the next life looks.
//! The launcher never walks it as root and never waits. Read next: `tree.rs`.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::start::Ground;
use super::{helper, tree};

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
        super::start::reap(pidfd.as_fd(), super::start::Wait::UntilGone);
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
pub(crate) fn spawn(job: &Job, ground: &Ground) -> io::Result<OwnedFd> {
    let folder = tree::open_own_folder(rustix::fs::CWD, &path_c(&job.path)?)?;
    helper::spawn(ground.launcher.as_fd(), folder.as_fd(), || empty_as_owner(job.owner, ground.privileged))
}

fn empty_as_owner((uid, gid): (u32, u32), privileged: bool) -> io::Result<()> {
    // SAFETY: plain system calls on integers, in a process with one thread; the folder is open at its place.
    unsafe {
        if privileged {
            libc::setgroups(0, std::ptr::null());
            if libc::setresgid(gid, gid, gid) == -1 || libc::setresuid(uid, uid, uid) == -1 {
                return Err(io::Error::last_os_error());
            }
        }
        // The change of ids undid it.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        let folder = std::mem::ManuallyDrop::new(OwnedFd::from_raw_fd(helper::KEPT_FD));
        tree::remove_contents(&folder)
    }
}

fn path_c(path: &Path) -> io::Result<std::ffi::CString> {
    use std::os::unix::ffi::OsStrExt;
    Ok(std::ffi::CString::new(path.as_os_str().as_bytes())?)
}
