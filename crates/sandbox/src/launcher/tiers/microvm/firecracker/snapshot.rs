//! Machines that start from a snapshot of one that waits: no kernel boots, and memory that none of them writes is shared by all.
//!
//! Taken once, when a launcher starts and before any sandbox lives, of a machine that has booted, called its host, and not looked at a disk:
//! there is nothing of a run in it. Then it is restored once, as a trial. Only the configured memory size has one; others boot.
//!
//! **Firecracker restores through its API alone**, so such a carrier has an API socket, in its own memory, and a process beside Firecracker that
//! asks it one thing and is gone before the run's first command: it loads the snapshot, takes the guest's call, greets the guest and
//! hands the stream to the launcher. It has the carrier's rights, which are none, three descriptors, and cannot be looked into.
//!
//! **What must not be the same twice**: the guest is greeted with random bytes and the hour before anything else (`guest/src/machine/waiting.rs`);
//! the kernel's boot id is made when first read, which is later; disks are the run's own, at the same paths of its own root.
//! Read next: `api.rs`, `../../../start.rs`.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use livery_guest::seccomp;
use livery_guest::vm::{Given, Greeting, RANDOM_BYTES, WAITING};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;

use super::api;
use crate::config::{SandboxConfig, Spec};
use crate::launcher::INSIDE_ID;
use crate::launcher::child::{self, Birth, CHANNEL_FD, PROGRAM_FD, REPORT_FD, Said};
use crate::launcher::start::{self, Ground, Start, Started, Wait};
use crate::launcher::tiers::microvm::install::ROOT;
use crate::launcher::tiers::microvm::{Image, Installed, Origin, Plan};
use crate::launcher::tiers::{Carrier, Tiers};
use crate::socket::{self, HANDS_STREAM};

/// Its files, which every such machine reads.
pub(in super::super) const SNAPSHOT: &str = "tools/snapshot";
/// What stands for disks while it is made.
const NOTHING: &str = "tools/nothing";
/// Bytes of an image that nobody looks at.
const NOTHING_BYTES: usize = 4096;
const API: &str = "/tmp/api";
/// From a boot to the files. Writing the memory takes most of it. With the trial, and KVM's before them, it is over before whoever
/// started the launcher stops waiting for its first answer.
const TAKE_MAX: Duration = Duration::from_secs(5);
/// From a start to the guest's call, on a machine that does nothing else yet.
const TRIAL_MAX: Duration = Duration::from_secs(4);
/// The same on one that is busy.
const RESTORE_MAX: Duration = Duration::from_secs(10);
/// What such a process says at most of why it failed.
const WHY_BYTES_MAX: usize = 2048;

/// Takes the snapshot that is configured, if one is. Without it machines boot, and the tier's report says why.
pub(crate) fn take_snapshot(tiers: &mut Tiers, ground: &Ground, config: &SandboxConfig) {
    let wanted = config.microvm.as_ref().and_then(|microvm| microvm.snapshot_mb);
    if let (Some(memory_mb), Ok(installed)) = (wanted, &mut tiers.microvm)
        && installed.is_firecracker()
    {
        let taken = take(installed, ground, config, memory_mb).map_err(|error| error.to_string());
        let _ = fs::remove_dir_all(NOTHING);
        if taken.is_err() {
            let _ = fs::remove_dir_all(SNAPSHOT);
        }
        installed.note_snapshot(taken.map(|()| memory_mb));
    }
}

fn take(installed: &Installed, ground: &Ground, config: &SandboxConfig, memory_mb: u64) -> io::Result<()> {
    let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let host_id = if ground.privileged { (config.uid_first, config.uid_first) } else { own };
    let (image, workspace) = (Path::new(NOTHING).join("image"), Path::new(NOTHING).join("workspace"));
    fs::create_dir(Path::new(ROOT).join("snapshot"))?;
    for folder in [Path::new(SNAPSHOT), Path::new(NOTHING), &workspace] {
        fs::create_dir(folder)?;
        chown(folder, Some(host_id.0), Some(host_id.1))?;
    }
    fs::write(&image, [0; NOTHING_BYTES])?;
    let spec = Spec { memory_mb, disk_mb: 8, ..Spec::new("snapshot") };
    let run = |origin, most| {
        let image = Image::Nothing(image.clone());
        let plan = Plan { installed, origin, image, workspace: &workspace, spec: &spec, tmp_mb: 1, owner: INSIDE_ID };
        let start = Start { carrier: Carrier::Microvm(plan), host_id, group: None };
        let started = start::start(ground, &start)?;
        let heard = heard(&started, Instant::now() + most);
        start::kill(started.pidfd.as_fd());
        start::reap(started.pidfd.as_fd(), Wait::UntilGone);
        heard
    };
    run(Origin::Template, TAKE_MAX)?;
    for name in ["state", "memory"] {
        let file = Path::new(SNAPSHOT).join(name);
        chown(&file, Some(own.0), Some(own.1))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o444))?;
    }
    chown(SNAPSHOT, Some(own.0), Some(own.1))?;
    // Each carrier mounts it read-only; the next launcher removes it.
    fs::set_permissions(SNAPSHOT, fs::Permissions::from_mode(0o755))?;
    run(Origin::Snapshot, TRIAL_MAX)
}

/// Waits until the process beside Firecracker has done its part, or says why not.
fn heard(started: &Started, until: Instant) -> io::Result<()> {
    let mut why = Vec::new();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout =
            Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(0), tv_nsec: i64::from(left.subsec_nanos()) };
        let mut fds = [PollFd::new(&started.channel, PollFlags::IN), PollFd::new(&started.report, PollFlags::IN)];
        poll(&mut fds, Some(&timeout))?;
        let [channel, report] = fds.map(|fd| fd.revents());
        if channel.contains(PollFlags::IN) && socket::receive(started.channel.as_fd())?.is_some() {
            return Ok(());
        }
        let mut buffer = [0; 512];
        let count = if report.is_empty() { 0 } else { rustix::io::read(&started.report, &mut buffer).unwrap_or(0) };
        why.extend_from_slice(&buffer[..count]);
        why.truncate(WHY_BYTES_MAX);
        let is_over = why.contains(&0) || channel.contains(PollFlags::HUP) || report.contains(PollFlags::HUP);
        if left.is_zero() || (is_over && count < buffer.len()) {
            let text = String::from_utf8_lossy(&why).replace('\0', ": ");
            let last = text.lines().rev().find(|line| !line.trim().is_empty());
            return Err(io::Error::other(last.map_or_else(|| "it took too long".to_owned(), str::to_owned)));
        }
    }
}

/// Starts the process beside Firecracker, in a carrier that is about to become it.
pub(super) fn assist(plan: &Plan<'_>, birth: &Birth<'_>, door: UnixListener) -> io::Result<()> {
    // SAFETY: this process has one thread, so the new one is a whole copy of it; it never comes back from this function.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let work = std::panic::AssertUnwindSafe(|| confined(plan, birth, door));
            let outcome =
                std::panic::catch_unwind(work).unwrap_or_else(|_| Err(io::Error::other("a bug: it panicked")));
            if let Err(error) = outcome {
                let text = format!("snapshot\0{error}");
                // SAFETY: pointer and length describe the text.
                unsafe { libc::write(REPORT_FD, text.as_ptr().cast(), text.len()) };
            }
            // SAFETY: skips the launcher's own clean-up, which is not this process's to do.
            unsafe { libc::_exit(0) }
        }
        _ => Ok(()),
    }
}

/// With the descriptors and the filter that Firecracker will have, and closed to it.
fn confined(plan: &Plan<'_>, birth: &Birth<'_>, door: UnixListener) -> io::Result<()> {
    // SAFETY: plain system call on integers.
    child::check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) })?;
    child::arrange_descriptors(birth, door.as_raw_fd(), Said::Nowhere)?;
    std::mem::forget(door);
    seccomp::install(plan.installed.filter())?;
    // SAFETY: both were left there by `arrange_descriptors`, and nothing else owns them.
    let (door, channel) = unsafe { (UnixListener::from_raw_fd(PROGRAM_FD), OwnedFd::from_raw_fd(CHANNEL_FD)) };
    // It closes with this process: its end is how the launcher sees that nothing more will be said.
    let channel = std::mem::ManuallyDrop::new(channel);
    match plan.origin {
        Origin::Template => write_down(&door, &channel, Instant::now() + TAKE_MAX),
        _ => restore(&door, &channel, plan.given(), Instant::now() + RESTORE_MAX),
    }
}

fn write_down(door: &UnixListener, channel: &OwnedFd, until: Instant) -> io::Result<()> {
    let _stays_until_then = called(door, until)?;
    api::ask(Path::new(API), "PATCH", "/vm", &json!({ "state": "Paused" }), until)?;
    let files =
        json!({ "snapshot_type": "Full", "snapshot_path": "/snapshot/state", "mem_file_path": "/snapshot/memory" });
    api::ask(Path::new(API), "PUT", "/snapshot/create", &files, until)?;
    socket::send(channel.as_fd(), &[HANDS_STREAM], None)
}

fn restore(door: &UnixListener, channel: &OwnedFd, given: Given, until: Instant) -> io::Result<()> {
    let files = json!({
        "snapshot_path": "/snapshot/state",
        // Mapped by each machine for itself: what one writes no other sees.
        "mem_backend": { "backend_type": "File", "backend_path": "/snapshot/memory" },
        "resume_vm": true,
    });
    api::ask(Path::new(API), "PUT", "/snapshot/load", &files, until)?;
    let mut guest = called(door, until)?;
    let mut random = [0; RANDOM_BYTES];
    let mut got = 0;
    while got < RANDOM_BYTES {
        got += rustix::rand::getrandom(&mut random[got..], rustix::rand::GetRandomFlags::empty())?;
    }
    guest.write_all(&Greeting { given, clock_ns: clock_ns()?, random }.encode())?;
    socket::send(channel.as_fd(), &[HANDS_STREAM], Some(guest.as_fd()))
}

/// The guest's call, with its first word heard.
fn called(door: &UnixListener, until: Instant) -> io::Result<UnixStream> {
    let mut fds = [PollFd::new(door, PollFlags::IN)];
    let left = until.saturating_duration_since(Instant::now());
    let timeout =
        Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(0), tv_nsec: i64::from(left.subsec_nanos()) };
    if poll(&mut fds, Some(&timeout))? == 0 {
        return Err(io::Error::other("the guest did not call"));
    }
    let (mut guest, _) = door.accept()?;
    guest.set_read_timeout(Some(until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))))?;
    let mut word = [0];
    guest.read_exact(&mut word)?;
    guest.set_read_timeout(None)?;
    if word == [WAITING] { Ok(guest) } else { Err(io::Error::other("the guest does not wait")) }
}

fn clock_ns() -> io::Result<u64> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid place for the answer.
    child::check(unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut now) })?;
    let [seconds, rest] = [now.tv_sec, now.tv_nsec].map(|part| u64::try_from(part).unwrap_or(0));
    Ok(seconds * 1_000_000_000 + rest)
}
