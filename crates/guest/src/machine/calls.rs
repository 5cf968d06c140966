//! The system calls that setting up a machine needs and the standard library does not have.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use livery_guest::vm::RANDOM_BYTES;

use crate::sys::check;

/// The last capability any kernel could have.
const CAPABILITY_MAX: libc::c_ulong = 63;
/// Asks a block device whether it can be written.
const BLKROGET: libc::c_ulong = 0x125E;

/// Mounts; the place is made where it is missing.
pub(super) fn mount(source: &str, target: &str, kind: &str, flags: u64, options: &str) -> io::Result<()> {
    if !std::path::Path::new(target).exists() {
        std::fs::create_dir(target)?;
    }
    let [source, target, kind, options] = [source, target, kind, options].map(CString::new);
    let (source, target, kind, options) = (source?, target?, kind?, options?);
    // SAFETY: all four are C strings that outlive the call.
    let result =
        unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, options.as_ptr().cast()) };
    check(result).map(drop)
}

pub(super) fn unmount(target: &str) -> io::Result<()> {
    let target = CString::new(target)?;
    // SAFETY: a C string that outlives the call.
    check(unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) }).map(drop)
}

/// Loads a module; one that the kernel has built in already is as good.
pub(super) fn load_module(file: &File) -> io::Result<()> {
    // SAFETY: plain system call on an open descriptor and a C string.
    let result = unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0) };
    match io::Error::last_os_error() {
        error if result == -1 && error.raw_os_error() != Some(libc::EEXIST) => Err(error),
        _ => Ok(()),
    }
}

pub(super) fn make_device(path: &str, major: u32, minor: u32) -> io::Result<()> {
    let path = CString::new(path)?;
    // SAFETY: a C string that outlives both calls; the mode is set again because of the umask.
    unsafe {
        check(libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o666, libc::makedev(major, minor)))?;
        check(libc::chmod(path.as_ptr(), 0o666)).map(drop)
    }
}

pub(super) fn is_read_only(disk: &File) -> io::Result<bool> {
    let mut answer: libc::c_int = 0;
    // SAFETY: the question is answered with one integer, which outlives the call.
    check(unsafe { libc::ioctl(disk.as_raw_fd(), BLKROGET, &raw mut answer) })?;
    Ok(answer != 0)
}

/// Gives an open descriptor the number `target`; it stays open in this process alone.
pub(super) fn place_descriptor(descriptor: RawFd, target: RawFd) -> io::Result<()> {
    if descriptor == target {
        return Ok(());
    }
    // SAFETY: plain system calls on a descriptor that is open; its first number is not used again.
    unsafe {
        check(libc::dup3(descriptor, target, libc::O_CLOEXEC))?;
        check(libc::close(descriptor)).map(drop)
    }
}

/// Calls the host of this machine, whose number is the same for all; the stream that leads to it.
pub(super) fn call_host(port: u32) -> io::Result<OwnedFd> {
    // SAFETY: the socket is owned from here; all zero is a valid `sockaddr_vm`, which outlives the call with its size.
    unsafe {
        let socket = check(libc::socket(libc::AF_VSOCK, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0))?;
        let socket = OwnedFd::from_raw_fd(socket);
        let mut host: libc::sockaddr_vm = std::mem::zeroed();
        host.svm_family = u16::try_from(libc::AF_VSOCK).unwrap_or(0);
        (host.svm_cid, host.svm_port) = (libc::VMADDR_CID_HOST, port);
        let length = u32::try_from(size_of_val(&host)).unwrap_or(0);
        check(libc::connect(socket.as_raw_fd(), (&raw const host).cast(), length))?;
        Ok(socket)
    }
}

/// Mixes bytes into the kernel's random numbers and has every later one come of them too.
pub(super) fn reseed(generator: &File, random: &[u8; RANDOM_BYTES]) -> io::Result<()> {
    /// `struct rand_pool_info` with room for them.
    #[repr(C)]
    struct Pool {
        bits: libc::c_int,
        bytes: libc::c_int,
        random: [u8; RANDOM_BYTES],
    }
    const RNDADDENTROPY: libc::c_ulong = 0x4008_5203;
    const RNDRESEEDCRNG: libc::c_ulong = 0x5207;
    let bytes = libc::c_int::try_from(RANDOM_BYTES).unwrap_or(0);
    let pool = Pool { bits: bytes * 8, bytes, random: *random };
    // SAFETY: the structure is as the kernel reads it and outlives the call; the second call has no argument.
    unsafe {
        check(libc::ioctl(generator.as_raw_fd(), RNDADDENTROPY, &raw const pool))?;
        check(libc::ioctl(generator.as_raw_fd(), RNDRESEEDCRNG)).map(drop)
    }
}

pub(super) fn set_clock(nanoseconds: u64) -> io::Result<()> {
    const SECOND: u64 = 1_000_000_000;
    let part = |value: u64| i64::try_from(value).unwrap_or(0);
    let time = libc::timespec { tv_sec: part(nanoseconds / SECOND), tv_nsec: part(nanoseconds % SECOND) };
    // SAFETY: the structure outlives the call.
    check(unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &raw const time) }).map(drop)
}

pub(super) fn name_host(name: &[u8]) -> io::Result<()> {
    // SAFETY: pointer and length describe the slice.
    check(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) }).map(drop)
}

/// The loopback interface is the only one there is; it starts down.
pub(super) fn raise_loopback() -> io::Result<()> {
    // SAFETY: the socket is owned from here; all zero is a valid `ifreq`, whose name is shorter than its field.
    unsafe {
        let socket =
            OwnedFd::from_raw_fd(check(libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0))?);
        let mut request: libc::ifreq = std::mem::zeroed();
        for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
            *place = byte.cast_signed();
        }
        check(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request))?;
        request.ifr_ifru.ifru_flags |= i16::try_from(libc::IFF_UP).unwrap_or(1);
        check(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request)).map(drop)
    }
}

/// Sets a limit for good.
pub(super) fn limit(resource: libc::__rlimit_resource_t, value: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: the structure outlives the call.
    check(unsafe { libc::setrlimit(resource, &raw const limit) }).map(drop)
}

/// Becomes a user in a session of its own, with no capability now or later.
pub(super) fn become_user(id: u32) -> io::Result<()> {
    // SAFETY: plain system calls on integers; an empty list needs no memory; this process has one thread.
    unsafe {
        libc::setsid();
        for capability in 0..=CAPABILITY_MAX {
            if libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) == -1 {
                break;
            }
        }
        check(libc::setgroups(0, std::ptr::null()))?;
        check(libc::setresgid(id, id, id))?;
        check(libc::setresuid(id, id, id)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On the kernel of this test, as its requests are the same: it takes bytes from root, and makes them its own.
    #[test]
    #[expect(clippy::print_stderr, reason = "a skip is said aloud")]
    fn a_generator_is_reseeded_as_its_kernel_wants_it() {
        let generator = File::options().write(true).open("/dev/urandom").unwrap();
        match reseed(&generator, &[0x5a; RANDOM_BYTES]) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                eprintln!("SKIPPED: reseeding, because this test is not root");
            }
            outcome => outcome.unwrap(),
        }
    }
}
