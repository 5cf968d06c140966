//! Cheap moves between version 1 cgroups.
//!
//! Moving a process waits for an RCU grace period (about 10 ms) unless some hierarchy was mounted with `favordynmods`
//! (Linux 6.0). A named hierarchy without controllers, mounted in the launcher's own mount namespace, asks for exactly
//! that and vanishes with it. Read next: `cgroup.rs`.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Asks the kernel. The mount needs a folder that exists. All launchers of a host share the hierarchy.
pub(super) fn moves(folder: &Path) -> io::Result<()> {
    let target = CString::new(folder.as_os_str().as_bytes())?;
    let options = c"none,name=livery,favordynmods";
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    // SAFETY: all pointers are C strings that outlive the call.
    let result =
        unsafe { libc::mount(c"cgroup".as_ptr(), target.as_ptr(), c"cgroup".as_ptr(), flags, options.as_ptr().cast()) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
