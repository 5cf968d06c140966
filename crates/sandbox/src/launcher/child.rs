//! What the new process does in every tier, from its birth in new namespaces until its tier takes over.
//!
//! It dies with the launcher, is in its cgroups before anything else of it exists, and never comes back: the launcher must
//! not run twice. Read next: `tiers.rs` for what it becomes, `start.rs` for the launcher's half.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use super::step;
use super::tiers::Carrier;

/// Everything the new process needs, prepared before it is born.
pub(crate) struct Birth<'a> {
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
    /// Whether supplementary groups can be (and so must be) dropped.
    pub(crate) drop_groups: bool,
    /// What it becomes.
    pub(crate) carrier: &'a Carrier<'a>,
}

/// Where the guest, or what carries it, expects the channel.
pub(super) const CHANNEL_FD: RawFd = 3;
/// Where a failed step is written from when descriptors are arranged; closes at exec.
pub(super) const REPORT_FD: RawFd = 4;
/// The program that is executed; closes at exec.
pub(super) const PROGRAM_FD: RawFd = 5;
/// The last capability any kernel could have.
const CAPABILITY_MAX: u32 = 63;

/// No value: a successful exec does not return.
pub(crate) enum Never {}

/// Becomes what the carrier says. Comes back only to leave.
pub(crate) fn run(birth: &Birth<'_>) -> ! {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        join(birth).and_then(|()| birth.carrier.take_over(birth))
    }));
    let (step, detail) = match outcome {
        Ok(Err(step::Error { step, detail })) => (step, detail),
        Ok(Ok(never)) => match never {},
        Err(_) => ("setting up", "a bug: the new process panicked".to_owned()),
    };
    // The report's number changes when descriptors are arranged; the duplicate has the same pipe behind it.
    let report = if ARRANGED.load(Ordering::Relaxed) { REPORT_FD } else { birth.report.as_raw_fd() };
    let text = format!("{step}\0{detail}");
    // SAFETY: the text outlives the write; `_exit` skips the launcher's own clean-up, which is not this process's to do.
    unsafe {
        libc::write(report, text.as_ptr().cast(), text.len());
        libc::_exit(71)
    }
}

static ARRANGED: AtomicBool = AtomicBool::new(false);

/// Ties the process to the launcher and to its groups, and waits for its ids.
fn join(birth: &Birth<'_>) -> Result<(), step::Error> {
    step::of("tie to the launcher", die_with_launcher(birth.launcher))?;
    for mut door in &birth.doors {
        step::of("cgroup", door.write_all(b"0"))?;
    }
    // Now that the groups are joined: this makes them the top of what the sandbox can see.
    step::of("cgroup namespace", check(unsafe_unshare(libc::CLONE_NEWCGROUP)))?;
    step::of("id maps", wait_for_go(&birth.go))
}

pub(super) fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn unsafe_unshare(flags: libc::c_int) -> libc::c_int {
    // SAFETY: this process has one thread and shares nothing with the launcher but open descriptions.
    unsafe { libc::unshare(flags) }
}

/// Asks for SIGKILL at the launcher's death, then makes sure it was not dead already. A change of ids undoes it.
pub(super) fn die_with_launcher(launcher: BorrowedFd<'_>) -> io::Result<()> {
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

/// Sets a limit for good.
pub(super) fn limit(resource: libc::__rlimit_resource_t, value: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: the structure outlives the call.
    check(unsafe { libc::setrlimit(resource, &raw const limit) })
}

/// Lowers a limit, where it is not lower already (an ordinary user could not raise it).
pub(super) fn lower(resource: libc::__rlimit_resource_t, most: u64) -> io::Result<()> {
    // SAFETY: the structure outlives the calls; all zero is valid for it.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        check(libc::getrlimit(resource, &raw mut limit))?;
        limit.rlim_max = limit.rlim_max.min(most);
        limit.rlim_cur = limit.rlim_max;
        check(libc::setrlimit(resource, &raw const limit))
    }
}

/// Becomes the user and group `id` of its namespace.
pub(super) fn become_user(id: u32, drop_groups: bool) -> io::Result<()> {
    // SAFETY: plain system calls on integers; an empty list needs no memory. This process has one thread, so the
    // raw calls change all of it.
    unsafe {
        if drop_groups {
            check(libc::setgroups(0, std::ptr::null()))?;
        }
        check(libc::setresgid(id, id, id))?;
        check(libc::setresuid(id, id, id))
    }
}

/// Empties the bounding set but for `kept`: no program executed from here on has another capability.
pub(super) fn bound_capabilities(kept: &[u32]) -> io::Result<()> {
    for capability in (0..=CAPABILITY_MAX).filter(|capability| !kept.contains(capability)) {
        // SAFETY: plain system call on integers.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) } == -1 {
            match io::Error::last_os_error() {
                // Beyond the last one this kernel has.
                error if error.raw_os_error() == Some(libc::EINVAL) => break,
                error => return Err(error),
            }
        }
    }
    // SAFETY: as above.
    check(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) })
}

pub(super) fn no_new_privs() -> io::Result<()> {
    // SAFETY: plain system call on integers.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })
}

/// Where standard output and error lead.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Nowhere,
    /// Errors to the launcher, as long as it listens.
    Errors,
    /// Both to the launcher: a machine's console and its monitor's errors.
    Everything,
}

/// Standard streams to `/dev/null`, the channel at [`CHANNEL_FD`], `program` ready for [`exec`], and nothing else beyond it.
pub(super) fn arrange_descriptors(birth: &Birth<'_>, program: RawFd, said: Said) -> io::Result<()> {
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
    let program = high(program)?;
    let closes = libc::O_CLOEXEC;
    let plan = [
        (null_fd, 0, 0),
        (if said == Said::Everything { report } else { null_fd }, 1, 0),
        (if said == Said::Nowhere { null_fd } else { report }, 2, 0),
        (channel, CHANNEL_FD, 0),
        (report, REPORT_FD, closes),
        (program, PROGRAM_FD, closes),
    ];
    for (source, target, flags) in plan {
        // SAFETY: plain system call on descriptors of this process, which owns all of them after `clone`. Owners in
        // `birth` never run their destructors: this function's caller execs or exits.
        check(unsafe { libc::dup3(source, target, flags) })?;
    }
    ARRANGED.store(true, Ordering::Relaxed);
    std::mem::forget(null);
    // SAFETY: as above; nothing above the program's descriptor is used again.
    let result = unsafe { libc::syscall(libc::SYS_close_range, PROGRAM_FD + 1, u32::MAX, 0) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The program that is executed does not get the channel.
pub(super) fn keep_channel() -> io::Result<()> {
    // SAFETY: plain system call on a descriptor that [`arrange_descriptors`] left.
    check(unsafe { libc::fcntl(CHANNEL_FD, libc::F_SETFD, libc::FD_CLOEXEC) })
}

/// Executes the program left by [`arrange_descriptors`], with an empty environment.
pub(super) fn exec(arguments: &[&std::ffi::CStr]) -> io::Result<Never> {
    let mut argv: Vec<*const libc::c_char> = arguments.iter().map(|argument| argument.as_ptr()).collect();
    argv.push(std::ptr::null());
    let env = [std::ptr::null::<libc::c_char>()];
    // SAFETY: both arrays end with null and their strings outlive the call.
    unsafe {
        libc::syscall(libc::SYS_execveat, PROGRAM_FD, c"".as_ptr(), argv.as_ptr(), env.as_ptr(), libc::AT_EMPTY_PATH);
    }
    Err(io::Error::last_os_error())
}
