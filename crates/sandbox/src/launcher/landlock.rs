//! Landlock: a second, independent lock on files, abstract sockets and signals, where the kernel has it.
//!
//! The mount tree already holds nothing but the sandbox's own; this makes the read-only part read-only twice, and from
//! version 6 keeps abstract unix sockets and signals inside. Version 1 is not used: it would forbid every rename between
//! folders. Read next: `tiers/container.rs`.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

const ACCESS_EXECUTE: u64 = 1;
const ACCESS_READ_FILE: u64 = 1 << 2;
const ACCESS_READ_DIR: u64 = 1 << 3;
const ACCESS_WRITE_FILE: u64 = 1 << 1;
const ACCESS_TRUNCATE: u64 = 1 << 14;
/// Everything of version 2: bits 0 to 13, with `REFER`.
const ACCESS_ALL_V2: u64 = (1 << 14) - 1;
const SCOPE_ABSTRACT_UNIX_SOCKET: u64 = 1;
const SCOPE_SIGNAL: u64 = 2;
const RULE_PATH_BENEATH: u32 = 1;
const CREATE_RULESET_VERSION: u32 = 1;

/// Below this version renames between folders cannot be allowed.
const ABI_MIN: u32 = 2;

#[repr(C)]
struct RulesetAttr {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

#[repr(C, packed)]
struct PathBeneathAttr {
    allowed_access: u64,
    parent_fd: i32,
}

/// The version that will be used: 0 when the kernel has none or too old a one.
pub(crate) fn usable_abi() -> u32 {
    // SAFETY: asks for the version; no memory is passed.
    let abi = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<RulesetAttr>(), 0, CREATE_RULESET_VERSION)
    };
    u32::try_from(abi).ok().filter(|abi| *abi >= ABI_MIN).unwrap_or(0)
}

/// What may be done where; everything can be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    pub(crate) writable: &'static [&'static str],
    /// Programs start from here alone. With `/`, they start from the writable places too.
    pub(crate) executable: &'static [&'static str],
}

/// Confines this process.
pub(crate) fn restrict(abi: u32, places: Places) -> io::Result<()> {
    if abi < ABI_MIN {
        return Ok(());
    }
    let all = ACCESS_ALL_V2 | if abi >= 3 { ACCESS_TRUNCATE } else { 0 };
    let scoped = if abi >= 6 { SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL } else { 0 };
    let attr = RulesetAttr { handled_access_fs: all, handled_access_net: 0, scoped };
    let size = match abi {
        2 | 3 => 8,
        4 | 5 => 16,
        _ => size_of::<RulesetAttr>(),
    };
    // SAFETY: `attr` outlives the call and `size` is at most its size; a descriptor that comes back is ours alone.
    let ruleset = unsafe {
        let fd = libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attr, size, 0);
        OwnedFd::from_raw_fd(check(fd)?)
    };
    // What is allowed below a folder comes on top of what is allowed above it.
    allow(&ruleset, "/", ACCESS_READ_FILE | ACCESS_READ_DIR)?;
    for path in places.executable {
        allow(&ruleset, path, ACCESS_EXECUTE | ACCESS_READ_FILE | ACCESS_READ_DIR)?;
    }
    for path in places.writable {
        allow(&ruleset, path, all & !ACCESS_EXECUTE)?;
    }
    // A process may write its own /proc files and the harmless devices.
    for path in ["/proc", "/dev"] {
        allow(&ruleset, path, ACCESS_READ_FILE | ACCESS_READ_DIR | ACCESS_WRITE_FILE | (all & ACCESS_TRUNCATE))?;
    }
    // SAFETY: plain system call on a descriptor that is open.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) }).map(drop)
}

fn allow(ruleset: &OwnedFd, path: &str, allowed_access: u64) -> io::Result<()> {
    let folder = File::options().read(true).custom_flags(libc::O_PATH | libc::O_CLOEXEC).open(path)?;
    let attr = PathBeneathAttr { allowed_access, parent_fd: folder.as_raw_fd() };
    // SAFETY: `attr` is the structure this rule type takes and outlives the call.
    let result = unsafe {
        libc::syscall(libc::SYS_landlock_add_rule, ruleset.as_raw_fd(), RULE_PATH_BENEATH, &raw const attr, 0)
    };
    check(result).map(drop)
}

fn check(result: libc::c_long) -> io::Result<i32> {
    i32::try_from(result).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)
}
