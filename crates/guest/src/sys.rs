//! The few system calls the standard library has no safe form of. Every `unsafe` of this program is here or in `spawn.rs`.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

use livery_guest::seccomp;

/// Turns `-1` into the last system error.
pub(crate) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Lets go of the streams this process was given.
pub(crate) fn let_go() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    for stream in 0..=2 {
        // SAFETY: plain system call on a descriptor that is open.
        check(unsafe { libc::dup2(null.as_raw_fd(), stream) })?;
    }
    Ok(())
}

/// Gives up every system call a run may not make.
pub(crate) fn confine(filter: &[seccomp::sock_filter]) -> io::Result<()> {
    // SAFETY: plain system call on integers.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    seccomp::install(filter)
}

/// The workspace, where it is a disk that has to be told to keep what was written.
static DISK: AtomicI32 = AtomicI32::new(-1);

/// From now on [`keep`] means something: this process's working directory is on the disk.
pub(crate) fn keeps_disk() -> io::Result<()> {
    let folder = File::open(".")?;
    DISK.store(folder.into_raw_fd(), Ordering::Relaxed);
    Ok(())
}

/// What was written so far outlives this machine from now on, however it ends.
pub(crate) fn keep() {
    let disk = DISK.load(Ordering::Relaxed);
    if disk >= 0 {
        // SAFETY: plain system call on a descriptor that is never closed. A disk that fails ends the machine by itself.
        unsafe { libc::syncfs(disk) };
    }
}

/// Says a last word on standard error, wherever that leads.
pub(crate) fn say(error: &io::Error) {
    let text = format!("{}{error}\n", livery_guest::GUESTS_WORD);
    // SAFETY: pointer and length describe the text. Without a standard error nothing happens.
    unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
}

/// Makes this process fit to be process 1: unreadable by the commands it runs, with child exits as a readable descriptor.
pub(crate) fn prepare(channel: RawFd) -> io::Result<(OwnedFd, OwnedFd)> {
    // SAFETY: plain system calls on integers; the signal set is a local that `sigemptyset` initialises.
    unsafe {
        // Commands have the same uid: without this they could read this process's memory through /proc/1.
        check(libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0))?;
        // What `ps` shows; the name of a memory file would be no help.
        libc::prctl(libc::PR_SET_NAME, c"livery-guest".as_ptr(), 0, 0, 0);
        check(libc::fcntl(channel, libc::F_SETFD, libc::FD_CLOEXEC))?;
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()))?;
        let signals = check(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?;
        let channel = OwnedFd::from_raw_fd(channel);
        set_nonblocking(&channel)?;
        Ok((channel, OwnedFd::from_raw_fd(signals)))
    }
}

/// Makes reads and writes on `fd` answer at once.
pub(crate) fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    // SAFETY: `fd` is open for the length of the call.
    unsafe {
        let flags = check(libc::fcntl(fd.as_raw_fd(), libc::F_GETFL))?;
        check(libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK))?;
    }
    Ok(())
}

/// Waits until a descriptor is ready or `timeout_ms` have passed (-1: for ever). An interrupted wait counts as ready.
pub(crate) fn poll(fds: &mut [libc::pollfd], timeout_ms: i32) -> io::Result<()> {
    let count = libc::nfds_t::try_from(fds.len()).unwrap_or(0);
    // SAFETY: the pointer and count describe the slice, which outlives the call.
    match check(unsafe { libc::poll(fds.as_mut_ptr(), count, timeout_ms) }) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
}

/// Reads into `buffer`: `Ok(0)` is the end, `WouldBlock` nothing yet.
pub(crate) fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the pointer and length describe the slice, which outlives the call.
    let count = unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Writes some of `bytes`.
pub(crate) fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the pointer and length describe the slice, which outlives the call.
    let count = unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// The next child that ended, with its raw wait status.
pub(crate) fn reap() -> Option<(i32, i32)> {
    let mut status = 0;
    // SAFETY: `status` is a valid place for the answer.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    (pid > 0).then_some((pid, status))
}

/// Signals the process group of a command. A group that is gone already is what the caller wanted.
pub(crate) fn signal_group(pid: i32, signal: i32) {
    if pid > 1 {
        // SAFETY: plain system call on integers.
        unsafe { libc::kill(-pid, signal) };
    }
}

/// Caps the private writable memory of a process of this user's.
pub(crate) fn limit_data(pid: i32, bytes: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: the new limit outlives the call, and the old one is not asked for.
    check(unsafe { libc::prlimit(pid, libc::RLIMIT_DATA, &raw const limit, std::ptr::null_mut()) }).map(drop)
}

/// Signals one process. One that is gone already does not mind.
pub(crate) fn signal(pid: i32, signal: i32) {
    if pid > 1 {
        // SAFETY: plain system call on integers.
        unsafe { libc::kill(pid, signal) };
    }
}

/// Opens `path` below `root` (or from `/` when `root` is `None`) as the kernel's `openat2` resolves it, or as a walk does where
/// the kernel has none. The walk knows the two ways this program asks: beneath a root, and without magic links.
pub(crate) fn openat2(
    root: Option<BorrowedFd<'_>>,
    path: &std::ffi::CStr,
    flags: i32,
    resolve: u64,
) -> io::Result<File> {
    match openat2_of_the_kernel(root, path, flags, resolve) {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => crate::walk::open(root, path, flags),
        opened => opened,
    }
}

pub(crate) fn openat2_of_the_kernel(
    root: Option<BorrowedFd<'_>>,
    path: &std::ffi::CStr,
    flags: i32,
    resolve: u64,
) -> io::Result<File> {
    // SAFETY: `open_how` is plain data for which all zero is valid; the path is NUL-terminated and outlives the call.
    unsafe {
        let mut how: libc::open_how = std::mem::zeroed();
        how.flags = u64::from((flags | libc::O_CLOEXEC).cast_unsigned());
        how.resolve = resolve;
        let root = root.map_or(libc::AT_FDCWD, |fd| fd.as_raw_fd());
        let fd = libc::syscall(libc::SYS_openat2, root, path.as_ptr(), &raw const how, size_of::<libc::open_how>());
        match RawFd::try_from(fd) {
            Ok(fd) if fd >= 0 => Ok(File::from_raw_fd(fd)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Opens one name in the folder `parent`.
pub(crate) fn open_at(parent: BorrowedFd<'_>, name: &std::ffi::CStr, flags: i32) -> io::Result<File> {
    // SAFETY: the descriptor is open and the name NUL-terminated; a descriptor that comes back is owned by no one else.
    unsafe {
        let fd = check(libc::openat(parent.as_raw_fd(), name.as_ptr(), flags | libc::O_CLOEXEC))?;
        Ok(File::from_raw_fd(fd))
    }
}

/// Where a link in the folder `parent` leads; `None`: it is no link.
pub(crate) fn read_link_at(parent: BorrowedFd<'_>, name: &std::ffi::CStr) -> io::Result<Option<Vec<u8>>> {
    let mut target = vec![0_u8; 4096];
    // SAFETY: the descriptor is open, the name NUL-terminated, and the buffer as long as is said.
    let length =
        unsafe { libc::readlinkat(parent.as_raw_fd(), name.as_ptr(), target.as_mut_ptr().cast(), target.len()) };
    match usize::try_from(length) {
        Ok(length) => {
            target.truncate(length);
            Ok(Some(target))
        }
        Err(_) => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::EINVAL) => Ok(None),
            error => Err(error),
        },
    }
}

/// Whether a folder is on a `/proc`.
pub(crate) fn is_proc(folder: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: the descriptor is open; all zero is valid for the structure, which outlives the call.
    unsafe {
        let mut found: libc::statfs = std::mem::zeroed();
        check(libc::fstatfs(folder.as_raw_fd(), &raw mut found))?;
        Ok(found.f_type == libc::PROC_SUPER_MAGIC)
    }
}

/// Makes a folder in the folder `parent`.
pub(crate) fn mkdirat(parent: BorrowedFd<'_>, name: &std::ffi::CStr) -> io::Result<()> {
    // SAFETY: the descriptor is open and the name NUL-terminated for the length of the call.
    check(unsafe { libc::mkdirat(parent.as_raw_fd(), name.as_ptr(), 0o755) }).map(drop)
}

/// Gives `from` the name `to`, both in the folder `parent`, replacing what had it.
pub(crate) fn renameat(parent: BorrowedFd<'_>, from: &std::ffi::CStr, to: &std::ffi::CStr) -> io::Result<()> {
    let fd = parent.as_raw_fd();
    // SAFETY: the descriptor is open and the names NUL-terminated for the length of the call.
    check(unsafe { libc::renameat(fd, from.as_ptr(), fd, to.as_ptr()) }).map(drop)
}

/// Removes a file's name from the folder `parent`.
pub(crate) fn unlinkat(parent: BorrowedFd<'_>, name: &std::ffi::CStr) -> io::Result<()> {
    // SAFETY: the descriptor is open and the name NUL-terminated for the length of the call.
    check(unsafe { libc::unlinkat(parent.as_raw_fd(), name.as_ptr(), 0) }).map(drop)
}

/// Creates a file, writable by this user alone until it is complete, in the folder `parent`.
pub(crate) fn create_at(parent: BorrowedFd<'_>, name: &std::ffi::CStr, flags: i32) -> io::Result<File> {
    // SAFETY: the descriptor is open and the name NUL-terminated; a descriptor that comes back is owned by no one else.
    unsafe {
        let fd = check(libc::openat(parent.as_raw_fd(), name.as_ptr(), flags | libc::O_CLOEXEC, 0o600))?;
        Ok(File::from_raw_fd(fd))
    }
}
