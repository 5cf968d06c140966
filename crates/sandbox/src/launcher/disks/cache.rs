//! Images on disk, made once: by a process beside the launcher, while the first machine that wants one waits for it.
//!
//! A disk is named after what is in it, so two launchers with the same folder share it, and a changed image is another disk.
//! Whoever makes one holds the lock of its image; a machine's carrier takes the same lock, shared, before it opens the disk.
//! Read next: `walk.rs`, `erofs.rs`.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use super::erofs;
use super::walk::Forest;
use crate::launcher::root::RootPlan;
use crate::launcher::setup::ROOTS;
use crate::launcher::{helper, step};

/// Disks that are kept when a new one is made.
const KEPT: usize = 2;
const ENDING: &str = "erofs";

/// Sees to it that an image's disk is made, below `folder`; answers where it will be, and the process that makes it, if one does.
pub(crate) fn want(plan: &RootPlan, folder: &Path, launcher: BorrowedFd<'_>) -> io::Result<(Disk, Option<OwnedFd>)> {
    let disk = Disk::of(plan);
    if disk.link.exists() {
        return Ok((disk, None));
    }
    let lock = File::options().write(true).create(true).truncate(false).open(&disk.lock)?;
    match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            let maker = helper::spawn(launcher, lock.as_fd(), || disk.make(plan, folder))?;
            Ok((disk, Some(maker)))
        }
        // It is being made.
        Err(rustix::io::Errno::WOULDBLOCK) => Ok((disk, None)),
        Err(error) => Err(error.into()),
    }
}

/// An image's disk: a link to it, and the lock that is held until it is there.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    link: PathBuf,
    lock: PathBuf,
    failure: PathBuf,
}

impl Disk {
    fn of(plan: &RootPlan) -> Self {
        let name = plan.skeleton.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let below = |ending: &str| Path::new(ROOTS).join(format!("{name}.{ending}"));
        Self { link: below(ENDING), lock: below("lock"), failure: below("failed") }
    }

    /// Waits until it is there, in a process that may wait.
    pub(crate) fn wait(&self) -> Result<PathBuf, step::Error> {
        let lock = step::of("image", File::open(&self.lock))?;
        step::of("image", rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockShared).map_err(Into::into))?;
        let found = fs::read_link(&self.link);
        let why = |_| io::Error::other(fs::read_to_string(&self.failure).unwrap_or_else(|error| error.to_string()));
        step::of("image", found.map_err(why))
    }

    /// Makes it, or writes down why not.
    fn make(&self, plan: &RootPlan, folder: &Path) -> io::Result<()> {
        // SAFETY: plain system call on integers: others come first.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 10) };
        find_or_write(plan, folder).and_then(|disk| symlink(fs::canonicalize(disk)?, &self.link)).inspect_err(|error| {
            let _ = fs::write(&self.failure, format!("its disk could not be made: {error}"));
        })
    }
}

fn find_or_write(plan: &RootPlan, folder: &Path) -> io::Result<PathBuf> {
    DirBuilder::new().mode(0o700).recursive(true).create(folder)?;
    let forest = Forest::of(plan)?;
    let disk = folder.join(format!("{}.{ENDING}", forest.digest()?));
    // Another launcher may be making the same one.
    let turn = lock_file(&folder.join("lock"))?;
    rustix::fs::flock(&turn, rustix::fs::FlockOperation::LockExclusive)?;
    if !disk.exists() {
        let unfinished = folder.join("unfinished");
        let _ = fs::remove_file(&unfinished);
        prune(folder);
        let file = File::options().write(true).create_new(true).open(&unfinished)?;
        erofs::write(&forest, &file)?;
        rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(0o444))?;
        fs::rename(&unfinished, &disk)?;
    }
    Ok(disk)
}

/// A file that others may lock too: its owner made it, or another did.
fn lock_file(path: &Path) -> io::Result<File> {
    match File::options().write(true).create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => File::open(path),
        made => made,
    }
}

/// Removes the disks that were used longest ago. One in use stays until its last machine ends.
fn prune(folder: &Path) {
    let disks = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let disks = disks.filter(|path| path.extension().is_some_and(|ending| ending == ENDING));
    let mut disks: Vec<_> = disks.filter_map(|path| Some((path.metadata().ok()?.accessed().ok()?, path))).collect();
    disks.sort();
    for (_, path) in disks.iter().rev().skip(KEPT - 1) {
        let _ = fs::remove_file(path);
    }
}
