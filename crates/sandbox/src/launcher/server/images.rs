//! Folder images: found once, made reachable for new namespaces, and forgotten when their folder is another one.
//!
//! A folder image may lie where only the platform's user may go. As root the launcher binds it below its own state folder, in its
//! own mount namespace: from there a sandbox's first process, which is nobody on the host, can reach it.
//! Read next: `../root.rs`.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::mount::{UnmountFlags, mount_bind, unmount};

use crate::launcher::root::{self, RootPlan};
use crate::launcher::setup::ROOTS;

/// The folder images of a launcher.
#[derive(Default)]
pub(super) struct Images {
    known: HashMap<PathBuf, Known>,
    made: u64,
    /// Skeletons of images that are gone, each with the first sandbox that was born too late to have it.
    gone: Vec<(RootPlan, u64)>,
}

/// Where the launcher is in its count of sandboxes.
#[derive(Clone, Copy)]
pub(super) struct Births {
    pub(super) next: u64,
    /// The oldest one alive.
    pub(super) oldest: Option<u64>,
}

struct Known {
    /// Device and inode: the same path may come to mean another image.
    is: (u64, u64),
    plan: RootPlan,
    /// Where it is bound.
    bound: Option<PathBuf>,
}

impl Images {
    /// The root of an image's folder, which [`open`] opened at this path.
    pub(super) fn root(
        &mut self,
        real: &Path,
        folder: &OwnedFd,
        privileged: bool,
        births: Births,
    ) -> io::Result<RootPlan> {
        let stat = fstat(folder)?;
        let is = (stat.st_dev, stat.st_ino);
        if let Some(known) = self.known.get(real)
            && known.is == is
        {
            return Ok(known.plan.clone());
        }
        self.forget_gone(births);
        self.made += 1;
        let name = format!("image-{}", self.made);
        let bound = if privileged { Some(bind(folder, &name)?) } else { None };
        let plan = root::directory(Path::new(ROOTS), &name, bound.as_deref().unwrap_or(real))?;
        self.known.insert(real.to_owned(), Known { is, plan: plan.clone(), bound });
        Ok(plan)
    }

    /// Lets go of what is not there any more. A sandbox's root is the skeleton itself: that one stays until the last sandbox that
    /// may have it is dead, for taking a folder away takes away what is mounted on it, everywhere.
    fn forget_gone(&mut self, births: Births) {
        let gone = &mut self.gone;
        self.known.retain(|path, known| {
            use std::os::unix::fs::MetadataExt as _;
            let stays = fs::symlink_metadata(path).is_ok_and(|now| (now.dev(), now.ino()) == known.is);
            if !stays {
                // What resists costs a little memory until the launcher ends.
                let _ = known.bound.as_ref().map(|bound| unmount(bound, UnmountFlags::DETACH));
                gone.push((known.plan.clone(), births.next));
            }
            stays
        });
        gone.retain(|(plan, too_late)| {
            let is_needed = births.oldest.is_some_and(|oldest| oldest < *too_late);
            is_needed || root::remove(plan).is_err()
        });
    }
}

/// Opens an image in the operator's folder. The platform's user owns that folder and may put anything into its place: as root
/// (`owner`: that user) the launcher goes over no link and takes nothing that is somebody else's.
pub(super) fn open(folder: &Path, name: &str, owner: Option<u32>) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty())?;
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let image = openat2(&folder, name, flags, Mode::empty(), within)?;
    let uid = fstat(&image)?.st_uid;
    if owner.is_some_and(|owner| uid != owner && uid != 0) {
        return Err(io::Error::other("it belongs to somebody else"));
    }
    Ok(image)
}

fn bind(folder: &OwnedFd, name: &str) -> io::Result<PathBuf> {
    let place = Path::new(ROOTS).join(format!("{name}-is"));
    fs::create_dir(&place)?;
    // By its descriptor: nobody can put another folder into its place in between.
    mount_bind(format!("/proc/self/fd/{}", folder.as_raw_fd()), &place)?;
    Ok(place)
}
