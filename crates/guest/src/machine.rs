//! Process 1 of a virtual machine, from the kernel's hand to the guest's own: modules, disks, the tree, and then no rights.
//!
//! It runs as root of its own kernel, in memory, before anything of the run exists. At the end it is the run's user with the
//! same filter as in a container, and nothing of the first file system can be reached. An error ends it, and so the machine.
//! Read next: `machine/tree.rs`, `machine/calls.rs`.

mod calls;
mod tree;
mod waiting;

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use livery_guest::seccomp::{self, Kernel};
use livery_guest::vm::{DEVICES_MAX, Given, HOST_PORT, MODULES, Stream, VSOCK_MODULES};

use crate::sys;

/// Every device the kernel has, for this process alone.
const DEVICES: &str = "/devices";
/// How long a device may take to appear.
const DEVICE_MAX: Duration = Duration::from_secs(10);
/// Open files of one process.
const OPEN_FILES: u64 = 4096;
/// Memory one process may lock.
const LOCKED_BYTES: u64 = 8 * 1024 * 1024;
/// The run's user and group.
const USER: u32 = 1000;

/// Settings of this kernel: data reach the disk within about a second, none is loaded into it any more, none is started from it, and
/// a run that needs more memory than there is ends whole, as in every tier: what is left of it would not be what it started.
const KNOBS: [(&str, &str); 9] = [
    ("vm/panic_on_oom", "2"),
    ("vm/dirty_background_bytes", "4194304"),
    ("vm/dirty_bytes", "33554432"),
    ("vm/dirty_expire_centisecs", "50"),
    ("vm/dirty_writeback_centisecs", "50"),
    ("kernel/modules_disabled", "1"),
    ("kernel/kexec_load_disabled", "1"),
    ("kernel/kptr_restrict", "2"),
    ("kernel/dmesg_restrict", "1"),
];

/// Does all of it; the channel is left at `channel`.
pub(crate) fn settle(arguments: &[String], channel: i32) -> io::Result<()> {
    let given = Given::parse(arguments).ok_or(io::ErrorKind::InvalidInput)?;
    look_around()?;
    step("modules", load_modules(given.stream))?;
    become_guest(&given, None, channel)
}

/// The same in a machine that becomes a snapshot first: it does not look at its disks before it is told what it is for.
pub(crate) fn wait(channel: i32) -> io::Result<()> {
    look_around()?;
    step("modules", load_vsock())?;
    let (given, stream) = step("greeting", waiting::greeted())?;
    step("modules", load_folder(Path::new(MODULES)))?;
    become_guest(&given, Some(stream), channel)
}

fn look_around() -> io::Result<()> {
    step("devices", calls::mount("devtmpfs", DEVICES, "devtmpfs", libc::MS_NOSUID, ""))?;
    step("/proc", calls::mount("proc", "/proc", "proc", 0, ""))
}

fn become_guest(given: &Given, stream: Option<OwnedFd>, channel: i32) -> io::Result<()> {
    let disks = step("disks", disks())?;
    tree::grow(given, &disks)?;
    step("channel", stream.map_or_else(|| open_stream(given.stream), Ok).and_then(|stream| leave_at(channel, stream)))?;
    for (knob, value) in KNOBS {
        // Not every kernel has each of them.
        let _ = fs::write(Path::new("/proc/sys").join(knob), value);
    }
    step("root", tree::enter())?;
    step("host name", calls::name_host(b"sandbox"))?;
    step("loopback", calls::raise_loopback())?;
    step("limits", limits(given))?;
    step("user", calls::become_user(USER))?;
    step("/workspace", std::env::set_current_dir("/workspace").and_then(|()| sys::keeps_disk()))?;
    step("seccomp", sys::confine(&seccomp::program(Kernel::Linux)))
}

/// Names the step that failed: it is all that anybody will hear.
fn step<T>(name: &str, outcome: io::Result<T>) -> io::Result<T> {
    outcome.map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))
}

fn open_stream(stream: Stream) -> io::Result<OwnedFd> {
    match stream {
        Stream::Port => {
            let port = wait_for(|| first(DEVICES, "vport"))?;
            Ok(fs::File::options().read(true).write(true).open(port)?.into())
        }
        // Until the device is there the host cannot be called.
        Stream::Vsock => wait_for(|| calls::call_host(HOST_PORT).ok()),
    }
}

fn leave_at(channel: i32, stream: OwnedFd) -> io::Result<()> {
    calls::place_descriptor(stream.as_raw_fd(), channel)?;
    std::mem::forget(stream);
    Ok(())
}

/// Loads what every machine needs, and what this one's stream does.
fn load_modules(stream: Stream) -> io::Result<()> {
    load_folder(Path::new(MODULES))?;
    if stream == Stream::Vsock { load_vsock() } else { Ok(()) }
}

/// A kernel that has them built in comes without the folder.
fn load_vsock() -> io::Result<()> {
    let own = Path::new(MODULES).join(VSOCK_MODULES);
    if own.is_dir() { load_folder(&own) } else { Ok(()) }
}

fn load_folder(folder: &Path) -> io::Result<()> {
    let mut files: Vec<_> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.is_file());
    files.sort();
    for file in files {
        calls::load_module(&fs::File::open(&file)?)?;
        // Memory that the run can have.
        fs::remove_file(file)?;
    }
    Ok(())
}

/// The image, which is read-only for this machine, and the workspace.
struct Disks {
    image: String,
    workspace: String,
}

fn disks() -> io::Result<Disks> {
    wait_for(|| {
        let names: Vec<String> = all(DEVICES, "vd");
        let is_fixed =
            |name: &String| fs::File::open(name).and_then(|disk| calls::is_read_only(&disk)).unwrap_or(false);
        let (fixed, open): (Vec<String>, Vec<String>) = names.into_iter().partition(is_fixed);
        Some(Disks { image: fixed.into_iter().next()?, workspace: open.into_iter().next()? })
    })
}

fn all(folder: &str, prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().take(DEVICES_MAX);
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(prefix)).map(|name| format!("{folder}/{name}")).collect()
}

fn first(folder: &str, prefix: &str) -> Option<String> {
    all(folder, prefix).into_iter().next()
}

fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> io::Result<T> {
    let until = Instant::now() + DEVICE_MAX;
    loop {
        match look() {
            Some(found) => return Ok(found),
            None if Instant::now() > until => return Err(io::ErrorKind::NotFound.into()),
            // The kernel tells nobody: this is a rest between two looks.
            None => sys::poll(&mut [], 1)?,
        }
    }
}

fn limits(given: &Given) -> io::Result<()> {
    let limits = [
        (libc::RLIMIT_CORE, 0),
        (libc::RLIMIT_FSIZE, given.file_bytes),
        (libc::RLIMIT_NPROC, given.processes),
        (libc::RLIMIT_RTPRIO, 0),
        (libc::RLIMIT_NICE, 0),
        (libc::RLIMIT_NOFILE, OPEN_FILES),
        (libc::RLIMIT_MEMLOCK, LOCKED_BYTES),
    ];
    limits.into_iter().try_for_each(|(resource, value)| calls::limit(resource, value))
}
