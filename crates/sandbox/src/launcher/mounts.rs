//! The sandbox's file tree, made by the new process itself inside its own mount namespace.
//!
//! Paths are relative to the state folder, which is the working directory: the kernel moved that along into the new
//! namespace, so no permission on the folders above it is needed. At the end the old tree is detached: nothing of the
//! host is reachable any more but what was bound. Read next: `tiers/container.rs` for the order of everything.

use std::ffi::{CStr, CString};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use livery_guest::masks;

use super::root::RootPlan;
use super::{INSIDE_ID, step};

/// What differs between sandboxes.
pub(crate) struct Tree<'a> {
    pub(crate) root: &'a RootPlan,
    /// Relative to the state folder.
    pub(crate) workspace: &'a Path,
    pub(crate) tmp_mb: u64,
}

const ATTR_RDONLY: u64 = 1;
const ATTR_NOSUID: u64 = 2;
const ATTR_NODEV: u64 = 4;
const ATTR_NOEXEC: u64 = 8;
/// `/dev/shm` is never larger than this.
pub(super) const SHM_MB_MAX: u64 = 64;
/// Pseudo-terminals of one sandbox: the host has some thousand in all.
const TERMINALS: u32 = 24;
/// Names in one private temporary file system: each costs kernel memory.
const TMPFS_INODES: u64 = 65_536;

/// How a place may be used once it is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    ReadOnly,
    Writable,
    /// Written through, never replaced.
    Device,
}

/// A file system in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mounted {
    pub(super) size_mb: u64,
    /// User and group, as the new namespace counts them.
    pub(super) owner: u32,
    pub(super) mode: u32,
}

/// Builds the tree and makes it `/`.
pub(crate) fn enter(tree: &Tree<'_>) -> Result<(), step::Error> {
    image(tree)?;
    let skeleton = &tree.root.skeleton;
    for (name, ..) in masks::DEVICES {
        let (source, target) = (Path::new("/dev").join(name), skeleton.join("dev").join(name));
        step::with("device", || source.display().to_string(), place(&source, &target, Kept::Device))?;
    }
    let open = Mounted { size_mb: tree.tmp_mb, owner: INSIDE_ID, mode: 0o1777 };
    step::of("/tmp", tmpfs(&skeleton.join("tmp"), open))?;
    let shm = Mounted { size_mb: tree.tmp_mb.min(SHM_MB_MAX), ..open };
    step::of("/dev/shm", tmpfs(&skeleton.join("dev/shm"), shm))?;
    step::of("/dev/pts", terminals(&skeleton.join("dev/pts")))?;
    step::of("/workspace", place(tree.workspace, &skeleton.join("workspace"), Kept::Writable))?;
    proc(skeleton)?;
    pivot(skeleton)
}

/// Binds the image onto its skeleton, read-only.
pub(super) fn image(tree: &Tree<'_>) -> Result<(), step::Error> {
    let skeleton = &tree.root.skeleton;
    step::of("private mounts", private())?;
    step::of("root", bind(skeleton, skeleton))?;
    for (source, name) in &tree.root.binds {
        step::with("root", || source.display().to_string(), bind(source, &skeleton.join(name)))?;
    }
    step::of("read-only root", restrict(skeleton, ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV))
}

/// What is mounted from here on is seen by this process alone.
pub(super) fn private() -> io::Result<()> {
    mount(None, Path::new("/"), None, libc::MS_REC | libc::MS_PRIVATE, None)
}

/// Binds one thing, to be used as `kept` says.
pub(super) fn place(source: &Path, target: &Path, kept: Kept) -> io::Result<()> {
    bind(source, target)?;
    restrict(
        target,
        match kept {
            Kept::ReadOnly => ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV,
            Kept::Writable => ATTR_NOSUID | ATTR_NODEV,
            Kept::Device => ATTR_RDONLY | ATTR_NOSUID | ATTR_NOEXEC,
        },
    )
}

/// A fresh `/proc` that shows this sandbox's processes, with the host's knobs hidden.
fn proc(skeleton: &Path) -> Result<(), step::Error> {
    // Masks are copies of mounts restricted above, and so are restricted themselves.
    let (proc, empty, null) = (&skeleton.join("proc"), &skeleton.join("run"), &skeleton.join("dev/null"));
    step::of("/proc", fresh_proc(proc))?;
    // Before /proc/sys turns read-only, and while this process still may: no namespaces inside, ever.
    step::of("namespace limits", no_namespaces(&proc.join("sys/user")))?;
    for name in masks::FILES {
        let target = proc.join(name);
        if target.exists() {
            step::with("/proc mask", || name.to_owned(), bind(null, &target))?;
        }
    }
    for name in masks::FOLDERS {
        let target = proc.join(name);
        if target.exists() {
            step::with("/proc mask", || name.to_owned(), bind(empty, &target))?;
        }
    }
    for name in masks::READ_ONLY {
        let target = proc.join(name);
        if target.exists() {
            step::with("/proc mask", || name.to_owned(), bind(&target, &target))?;
            step::of("/proc mask", restrict(&target, ATTR_RDONLY))?;
        }
    }
    Ok(())
}

/// A `/proc` of this PID namespace.
pub(super) fn fresh_proc(target: &Path) -> io::Result<()> {
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    mount(Some(c"proc"), target, Some(c"proc"), flags, Some(c"hidepid=2"))
}

fn no_namespaces(folder: &Path) -> io::Result<()> {
    for kind in masks::NAMESPACES {
        let file = folder.join(format!("max_{kind}_namespaces"));
        match OpenOptions::new().write(true).open(&file) {
            Ok(mut file) => file.write_all(b"0")?,
            // A kernel without that kind of namespace has no such file.
            Err(error) if error.kind() == io::ErrorKind::NotFound && kind != "user" => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Makes `skeleton` the root and lets go of the old one.
pub(super) fn pivot(skeleton: &Path) -> Result<(), step::Error> {
    step::of("entering the root", std::env::set_current_dir(skeleton))?;
    // The old root ends up mounted on top of the new one and is detached from there.
    step::of("pivot_root", rustix::process::pivot_root(".", ".").map_err(Into::into))?;
    step::of(
        "detaching the old root",
        rustix::mount::unmount(".", rustix::mount::UnmountFlags::DETACH).map_err(Into::into),
    )?;
    step::of("entering the root", std::env::set_current_dir("/"))
}

pub(super) fn tmpfs(target: &Path, Mounted { size_mb, owner, mode }: Mounted) -> io::Result<()> {
    let options = format!("size={size_mb}m,nr_inodes={TMPFS_INODES},mode={mode:o},uid={owner},gid={owner}");
    let options = CString::new(options)?;
    mount(Some(c"tmpfs"), target, Some(c"tmpfs"), libc::MS_NOSUID | libc::MS_NODEV, Some(&options))
}

/// Pseudo-terminals of this sandbox alone: no other's, and none of the host's.
fn terminals(target: &Path) -> io::Result<()> {
    let options = CString::new(format!("newinstance,ptmxmode=0666,mode=0600,max={TERMINALS}"))?;
    mount(Some(c"devpts"), target, Some(c"devpts"), libc::MS_NOSUID | libc::MS_NOEXEC, Some(&options))
}

pub(super) fn bind(source: &Path, target: &Path) -> io::Result<()> {
    let source = path(source)?;
    mount(Some(&source), target, None, libc::MS_BIND | libc::MS_REC, None)
}

fn mount(source: Option<&CStr>, target: &Path, kind: Option<&CStr>, flags: u64, data: Option<&CStr>) -> io::Result<()> {
    let target = path(target)?;
    let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: every pointer is null or a C string that outlives the call.
    let result = unsafe { libc::mount(pointer(source), target.as_ptr(), pointer(kind), flags, pointer(data).cast()) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Adds flags to a mount and everything mounted below it.
fn restrict(target: &Path, attributes: u64) -> io::Result<()> {
    let target_c = path(target)?;
    let attr = libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the path and `attr` outlive the call and the size is that of `attr`.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            target_c.as_ptr(),
            libc::AT_RECURSIVE,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ENOSYS) => restrict_one_by_one(target, attributes),
        error => Err(error),
    }
}

/// Before Linux 5.12: remount each mount below `target`, keeping the flags it has.
fn restrict_one_by_one(target: &Path, attributes: u64) -> io::Result<()> {
    let target = target.canonicalize()?;
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo")?;
    for line in mountinfo.lines() {
        let Some(place) = line.split(' ').nth(4).map(Path::new) else { continue };
        if place.starts_with(&target) {
            let kept = rustix::fs::statvfs(place)?.f_flag.bits();
            let flags = [ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV, ATTR_NOEXEC]
                .into_iter()
                .filter(|a| attributes & a != 0)
                .sum::<u64>();
            // The first four mount flags have the same values in both interfaces and in statvfs.
            mount(None, place, None, libc::MS_REMOUNT | libc::MS_BIND | flags | (kept & 0x1C0F), None)?;
        }
    }
    Ok(())
}

fn path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}
