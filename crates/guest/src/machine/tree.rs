//! The run's file tree in a virtual machine: the image, read-only, with the workspace and private places on top.
//!
//! The same tree as a container's. Read next: `../machine.rs` for the order.

use std::fs;
use std::io;
use std::path::Path;

use livery_guest::masks;
use livery_guest::vm::Given;

use super::{DEVICES, Disks, calls, step};

/// Where the tree grows before it is `/`.
const ROOT: &str = "/root";
/// `/dev/shm` is never larger than this.
const SHM_MB_MAX: u64 = 64;
/// Names in one file system in memory.
const TMPFS_INODES: u64 = 65_536;
const CLOSED: u64 = libc::MS_NOSUID | libc::MS_NODEV;

/// Mounts everything below [`ROOT`].
pub(super) fn grow(given: &Given, disks: &Disks) -> io::Result<()> {
    step("image", calls::mount(&disks.image, ROOT, "erofs", libc::MS_RDONLY | CLOSED, ""))?;
    let (flags, options) = (CLOSED | libc::MS_NOATIME, "errors=panic,discard");
    step("/workspace", calls::mount(&disks.workspace, &below("workspace"), "ext4", flags, options))?;
    step("/tmp", tmpfs("tmp", given.tmp_mb, 0o1777))?;
    step("/dev", devices(given))?;
    step("/proc", proc())
}

/// Makes it `/`, and lets go of what was there.
pub(super) fn enter() -> io::Result<()> {
    calls::unmount(DEVICES)?;
    calls::unmount("/proc")?;
    // The program of this process is in use, its name is not needed.
    fs::remove_file("/init")?;
    std::env::set_current_dir(ROOT)?;
    calls::mount(".", "/", "", libc::MS_MOVE, "")?;
    std::os::unix::fs::chroot(".")?;
    std::env::set_current_dir("/")
}

fn below(name: &str) -> String {
    format!("{ROOT}/{name}")
}

fn tmpfs(name: &str, size_mb: u64, mode: u32) -> io::Result<()> {
    let options = format!("size={size_mb}m,nr_inodes={TMPFS_INODES},mode={mode:o}");
    calls::mount("tmpfs", &below(name), "tmpfs", CLOSED, &options)
}

/// A `/dev` with what every program expects, and nothing of this machine's own.
fn devices(given: &Given) -> io::Result<()> {
    let folder = below("dev");
    calls::mount("tmpfs", &folder, "tmpfs", libc::MS_NOSUID | libc::MS_NOEXEC, "size=64k,nr_inodes=64,mode=755")?;
    for (name, major, minor) in masks::DEVICES {
        calls::make_device(&format!("{folder}/{name}"), major, minor)?;
    }
    let links =
        [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2"), ("ptmx", "pts/ptmx")];
    for (name, target) in links {
        std::os::unix::fs::symlink(target, format!("{folder}/{name}"))?;
    }
    for name in ["shm", "pts"] {
        fs::create_dir(format!("{folder}/{name}"))?;
    }
    calls::mount("", &folder, "", libc::MS_REMOUNT | libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NOEXEC, "")?;
    let flags = libc::MS_NOSUID | libc::MS_NOEXEC;
    calls::mount("devpts", &below("dev/pts"), "devpts", flags, "newinstance,ptmxmode=0666,mode=0600,max=64")?;
    tmpfs("dev/shm", given.tmp_mb.min(SHM_MB_MAX), 0o1777)
}

/// A `/proc` that shows a user his own processes, with this kernel's knobs hidden.
fn proc() -> io::Result<()> {
    let folder = below("proc");
    let flags = CLOSED | libc::MS_NOEXEC;
    calls::mount("proc", &folder, "proc", flags, "hidepid=2")?;
    for kind in masks::NAMESPACES {
        // A kernel without that kind of namespace has no such file.
        let _ = fs::write(format!("{folder}/sys/user/max_{kind}_namespaces"), "0");
    }
    let there = |names: &[&str]| -> Vec<String> {
        let paths = names.iter().map(|name| format!("{folder}/{name}"));
        paths.filter(|path| Path::new(path).exists()).collect()
    };
    for path in there(&masks::FILES) {
        calls::mount(&below("dev/null"), &path, "", libc::MS_BIND, "")?;
    }
    for path in there(&masks::FOLDERS) {
        calls::mount(&below("run"), &path, "", libc::MS_BIND, "")?;
    }
    for path in there(&masks::READ_ONLY) {
        calls::mount(&path, &path, "", libc::MS_BIND, "")?;
        calls::mount("", &path, "", libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY | flags, "")?;
    }
    Ok(())
}
