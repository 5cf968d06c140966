//! The container tier: the guest itself behind namespaces, seccomp, Landlock and a cgroup of the host's kernel.
//!
//! Each right is given up as soon as it is not needed. Order: mounts, `pivot_root` → loopback → rlimits → ids → capabilities
//! → `no_new_privs` → descriptors → Landlock → seccomp, last → exec. Read next: `../mounts.rs`.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::launcher::child::{self, Birth, Never, Said, check};
use crate::launcher::landlock::Places;
use crate::launcher::mounts::{self, Tree};
use crate::launcher::{INSIDE_ID, landlock, step};
use livery_guest::seccomp;

/// What one container is made of.
pub(crate) struct Plan<'a> {
    pub(crate) tree: Tree<'a>,
    /// A sealed memory file with the guest program.
    pub(crate) guest: BorrowedFd<'a>,
    pub(crate) filter: &'a [seccomp::sock_filter],
    pub(crate) landlock_abi: u32,
    pub(crate) limits: Limits,
    pub(crate) places: Places,
    /// What the guest is told.
    pub(crate) arguments: Vec<CString>,
}

/// Where commands may write, and that they may start any program they find or make.
pub(crate) const PLACES: Places = Places { writable: &["/workspace", "/tmp", "/dev/shm"], executable: &["/"] };

/// Limits of each process inside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) processes: u64,
    pub(crate) file_bytes: u64,
    /// Private writable memory, where no cgroup limits it.
    pub(crate) data_bytes: Option<u64>,
}

/// Open files of one process inside.
pub(super) const OPEN_FILES: u64 = 4096;
/// Memory one process may lock.
const LOCKED_BYTES: u64 = 8 * 1024 * 1024;

pub(super) fn become_guest(plan: &Plan<'_>, birth: &Birth<'_>) -> Result<Never, step::Error> {
    mounts::enter(&plan.tree)?;
    step::of("host name", rustix::system::sethostname(b"sandbox").map_err(Into::into))?;
    step::of("loopback", raise_loopback())?;
    step::of("limits", set_limits(plan.limits))?;
    step::of("session", rustix::process::setsid().map(drop).map_err(Into::into))?;
    step::of("user and groups", child::become_user(INSIDE_ID, birth.drop_groups))?;
    step::of("capabilities", drop_capabilities())?;
    step::of("no_new_privs", child::no_new_privs())?;
    step::of("tie to the launcher", child::die_with_launcher(birth.launcher))?;
    step::of("descriptors", child::arrange_descriptors(birth, plan.guest.as_raw_fd(), Said::Nowhere))?;
    step::of("Landlock", landlock::restrict(plan.landlock_abi, plan.places))?;
    step::of("seccomp", seccomp::install(plan.filter))?;
    let arguments: Vec<&CStr> =
        std::iter::once(c"livery-guest").chain(plan.arguments.iter().map(AsRef::as_ref)).collect();
    step::of("guest", child::exec(&arguments))
}

/// The loopback interface is the only one there is; it starts down.
fn raise_loopback() -> io::Result<()> {
    use rustix::net::{AddressFamily, SocketType, socket};
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    // SAFETY: all zero is a valid `ifreq`; the name is shorter than its field; the structure outlives the calls.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
            *place = byte.cast_signed();
        }
        check(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request))?;
        request.ifr_ifru.ifru_flags |= i16::try_from(libc::IFF_UP).unwrap_or(1);
        check(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request))
    }
}

fn set_limits(limits: Limits) -> io::Result<()> {
    child::limit(libc::RLIMIT_CORE, 0)?;
    child::limit(libc::RLIMIT_FSIZE, limits.file_bytes)?;
    child::limit(libc::RLIMIT_NPROC, limits.processes)?;
    child::limit(libc::RLIMIT_RTPRIO, 0)?;
    child::limit(libc::RLIMIT_NICE, 0)?;
    if let Some(bytes) = limits.data_bytes {
        child::limit(libc::RLIMIT_DATA, bytes)?;
    }
    child::lower(libc::RLIMIT_NOFILE, OPEN_FILES)?;
    child::lower(libc::RLIMIT_MEMLOCK, LOCKED_BYTES)
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Empties every capability set, the bounding set first (which needs a capability itself).
fn drop_capabilities() -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    child::bound_capabilities(&[])?;
    let header = CapabilityHeader { version: VERSION_3, pid: 0 };
    let nothing = [CapabilityData { effective: 0, permitted: 0, inheritable: 0 }; 2];
    // SAFETY: the structures outlive the call and have the layout of version 3.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, &raw const nothing) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
