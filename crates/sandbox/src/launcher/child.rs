//! The new process, from its birth in new namespaces to the guest: each right is given up as soon as it is not needed.
//!
//! Order (see `sandbox.md`): die with the launcher → cgroups → id maps → mounts, `pivot_root` → loopback → namespace
//! limits → rlimits → ids → capabilities → `no_new_privs` → descriptors → Landlock → seccomp, last → exec.
//! Read next: `start.rs` for the launcher's half.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::mounts::{self, Tree};
use super::{INSIDE_ID, landlock, seccomp, step};

/// Everything the new process needs, prepared before it is born.
pub(crate) struct Birth<'a> {
    pub(crate) tree: Tree<'a>,
    /// Groups to join by writing `0`.
    pub(crate) doors: Vec<File>,
    /// Readable once the launcher is dead.
    pub(crate) launcher: BorrowedFd<'a>,
    /// One byte arrives when the id maps are written.
    pub(crate) go: OwnedFd,
    /// Where a failed step is reported; closes by itself at exec.
    pub(crate) report: OwnedFd,
    /// The guest's end of the channel.
    pub(crate) channel: OwnedFd,
    pub(crate) guest: BorrowedFd<'a>,
    pub(crate) filter: &'a [libc::sock_filter],
    pub(crate) landlock_abi: u32,
    pub(crate) limits: Limits,
    /// Whether supplementary groups can be (and so must be) dropped.
    pub(crate) drop_groups: bool,
}

/// Limits of each process inside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) processes: u64,
    pub(crate) file_bytes: u64,
    /// Private writable memory, where no cgroup limits it.
    pub(crate) data_bytes: Option<u64>,
}

/// Open files of one process inside.
const OPEN_FILES: u64 = 4096;
/// Memory one process may lock.
const LOCKED_BYTES: u64 = 8 * 1024 * 1024;
/// Where the guest expects its channel, and the two descriptors that close at exec.
const CHANNEL_FD: RawFd = 3;
const REPORT_FD: RawFd = 4;
const GUEST_FD: RawFd = 5;
/// The last capability any kernel could have.
const CAPABILITY_MAX: libc::c_ulong = 63;

/// Becomes the guest. Comes back only to leave: the launcher must never run twice.
pub(crate) fn run(birth: &Birth<'_>) -> ! {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| become_guest(birth)));
    let (step, detail) = match outcome {
        Ok(Err(step::Error { step, detail })) => (step, detail),
        Ok(Ok(never)) => match never {},
        Err(_) => ("setting up", "a bug: the new process panicked".to_owned()),
    };
    // The report's number changes when descriptors are arranged; the duplicate has the same pipe behind it.
    let report = if descriptors_arranged() { REPORT_FD } else { birth.report.as_raw_fd() };
    let text = format!("{step}\0{detail}");
    // SAFETY: the text outlives the write; `_exit` skips the launcher's own clean-up, which is not this process's to do.
    unsafe {
        libc::write(report, text.as_ptr().cast(), text.len());
        libc::_exit(71)
    }
}

/// No value: a successful exec does not return.
enum Never {}

static ARRANGED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

fn descriptors_arranged() -> bool {
    ARRANGED.load(std::sync::atomic::Ordering::Relaxed)
}

fn become_guest(birth: &Birth<'_>) -> Result<Never, step::Error> {
    step::of("tie to the launcher", die_with_launcher(birth.launcher))?;
    for mut door in &birth.doors {
        step::of("cgroup", door.write_all(b"0"))?;
    }
    // Now that the groups are joined: this makes them the top of what the sandbox can see.
    step::of("cgroup namespace", check(unsafe_unshare(libc::CLONE_NEWCGROUP)))?;
    step::of("id maps", wait_for_go(&birth.go))?;
    mounts::enter(&birth.tree)?;
    step::of("host name", rustix::system::sethostname(b"sandbox").map_err(Into::into))?;
    step::of("loopback", raise_loopback())?;
    step::of("limits", set_limits(birth.limits))?;
    step::of("session", rustix::process::setsid().map(drop).map_err(Into::into))?;
    step::of("user and groups", become_user(birth.drop_groups))?;
    step::of("capabilities", drop_capabilities())?;
    // SAFETY: plain system call on integers.
    step::of("no_new_privs", check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }))?;
    // Changing ids cleared it.
    step::of("tie to the launcher", die_with_launcher(birth.launcher))?;
    step::of("descriptors", arrange_descriptors(birth))?;
    step::of("Landlock", landlock::restrict(birth.landlock_abi, &["/workspace", "/tmp", "/dev/shm"]))?;
    step::of("seccomp", seccomp::install(birth.filter))?;
    step::of("guest", exec_guest())
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn unsafe_unshare(flags: libc::c_int) -> libc::c_int {
    // SAFETY: this process has one thread and shares nothing with the launcher but open descriptions.
    unsafe { libc::unshare(flags) }
}

/// Asks for SIGKILL at the launcher's death, then makes sure it was not dead already.
fn die_with_launcher(launcher: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: plain system call on integers.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) })?;
    let mut fd = libc::pollfd { fd: launcher.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid structure, and a count of one.
    check(unsafe { libc::poll(&raw mut fd, 1, 0) })?;
    if fd.revents == 0 { Ok(()) } else { Err(io::Error::other("the launcher is gone")) }
}

fn wait_for_go(go: &OwnedFd) -> io::Result<()> {
    let mut byte = [0];
    let mut go = File::from(go.try_clone()?);
    go.read_exact(&mut byte)
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
    let set = |resource, value: u64| {
        let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
        // SAFETY: the structure outlives the call.
        check(unsafe { libc::setrlimit(resource, &raw const limit) })
    };
    set(libc::RLIMIT_CORE, 0)?;
    set(libc::RLIMIT_FSIZE, limits.file_bytes)?;
    set(libc::RLIMIT_NPROC, limits.processes)?;
    set(libc::RLIMIT_RTPRIO, 0)?;
    set(libc::RLIMIT_NICE, 0)?;
    if let Some(bytes) = limits.data_bytes {
        set(libc::RLIMIT_DATA, bytes)?;
    }
    // These may be lower already, and then cannot be raised by an ordinary user.
    lower(libc::RLIMIT_NOFILE, OPEN_FILES)?;
    lower(libc::RLIMIT_MEMLOCK, LOCKED_BYTES)
}

fn lower(resource: libc::__rlimit_resource_t, most: u64) -> io::Result<()> {
    // SAFETY: the structure outlives the calls; all zero is valid for it.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        check(libc::getrlimit(resource, &raw mut limit))?;
        limit.rlim_max = limit.rlim_max.min(most);
        limit.rlim_cur = limit.rlim_max;
        check(libc::setrlimit(resource, &raw const limit))
    }
}

fn become_user(drop_groups: bool) -> io::Result<()> {
    // SAFETY: plain system calls on integers; an empty list needs no memory. This process has one thread, so the
    // raw calls change all of it.
    unsafe {
        if drop_groups {
            check(libc::setgroups(0, std::ptr::null()))?;
        }
        check(libc::setresgid(INSIDE_ID, INSIDE_ID, INSIDE_ID))?;
        check(libc::setresuid(INSIDE_ID, INSIDE_ID, INSIDE_ID))
    }
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
    // SAFETY: plain system calls; the structures outlive the call and have the layout of version 3.
    unsafe {
        for capability in 0..=CAPABILITY_MAX {
            if libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) == -1 {
                match io::Error::last_os_error() {
                    error if error.raw_os_error() == Some(libc::EINVAL) => break,
                    error => return Err(error),
                }
            }
        }
        check(libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))?;
        let header = CapabilityHeader { version: VERSION_3, pid: 0 };
        let nothing = [CapabilityData { effective: 0, permitted: 0, inheritable: 0 }; 2];
        let result = libc::syscall(libc::SYS_capset, &raw const header, &raw const nothing);
        if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// Standard streams to `/dev/null`, the channel at 3, and nothing else beyond exec.
fn arrange_descriptors(birth: &Birth<'_>) -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    // Above every target first, so that no target overwrites a source.
    let high = |fd: RawFd| -> io::Result<RawFd> {
        // SAFETY: plain system call on a descriptor that is open.
        let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 64) };
        check(copy).map(|()| copy)
    };
    let null_fd = high(null.as_raw_fd())?;
    let channel = high(birth.channel.as_raw_fd())?;
    let report = high(birth.report.as_raw_fd())?;
    let guest = high(birth.guest.as_raw_fd())?;
    let closes = libc::O_CLOEXEC;
    let plan = [
        (null_fd, 0, 0),
        (null_fd, 1, 0),
        (null_fd, 2, 0),
        (channel, CHANNEL_FD, 0),
        (report, REPORT_FD, closes),
        (guest, GUEST_FD, closes),
    ];
    for (source, target, flags) in plan {
        // SAFETY: plain system call on descriptors of this process, which owns all of them after `clone`. Owners in
        // `birth` never run their destructors: this function's caller execs or exits.
        check(unsafe { libc::dup3(source, target, flags) })?;
    }
    ARRANGED.store(true, std::sync::atomic::Ordering::Relaxed);
    std::mem::forget(null);
    // SAFETY: as above; nothing above the guest's descriptor is used again.
    let result = unsafe { libc::syscall(libc::SYS_close_range, GUEST_FD + 1, u32::MAX, 0) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn exec_guest() -> io::Result<Never> {
    let name: &CStr = c"livery-guest";
    let argv = [name.as_ptr(), std::ptr::null()];
    let env = [std::ptr::null::<libc::c_char>()];
    // SAFETY: both arrays end with null and their strings are static.
    unsafe {
        libc::syscall(libc::SYS_execveat, GUEST_FD, c"".as_ptr(), argv.as_ptr(), env.as_ptr(), libc::AT_EMPTY_PATH);
    }
    Err(io::Error::last_os_error())
}
