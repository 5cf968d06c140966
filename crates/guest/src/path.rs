//! How the guest opens a path the host names: as the kernel resolves it, never as text.
//!
//! Links count inside the sandbox's own tree (a command could read them as well); magic links never do. With
//! [`Reach::Workspace`] nothing, link or `..`, leads out of `/workspace`. Read next: `files.rs`, `upload.rs`.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use livery_guest::wire::message::Reach;

use crate::sys;

const WORKSPACE: &str = "/workspace";

/// Opens `path` with `flags` as far as `reach` allows.
pub(crate) fn open(path: &[u8], flags: i32, reach: Reach) -> io::Result<File> {
    if path.first() != Some(&b'/') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path is not absolute"));
    }
    match reach {
        Reach::Sandbox => sys::openat2(None, &CString::new(path)?, flags, libc::RESOLVE_NO_MAGICLINKS),
        Reach::Workspace => {
            let root = File::open(WORKSPACE)?;
            let below = CString::new(below_workspace(path)?)?;
            let resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_MAGICLINKS;
            sys::openat2(Some(root.as_fd()), &below, flags, resolve)
        }
    }
}

fn below_workspace(path: &[u8]) -> io::Result<&[u8]> {
    let outside = || io::Error::new(io::ErrorKind::InvalidInput, "the path is not below /workspace");
    match path.strip_prefix(WORKSPACE.as_bytes()).ok_or_else(outside)? {
        [] | [b'/'] => Ok(b"."),
        [b'/', rest @ ..] => Ok(rest),
        _ => Err(outside()),
    }
}

/// Splits a path into its folder and its last name.
pub(crate) fn split(path: &[u8]) -> io::Result<(&[u8], &[u8])> {
    let bad = || io::Error::new(io::ErrorKind::InvalidInput, "the path has no file name");
    let slash = path.iter().rposition(|byte| *byte == b'/').ok_or_else(bad)?;
    let (folder, name) = (&path[..slash], &path[slash + 1..]);
    if name.is_empty() || name == b"." || name == b".." {
        return Err(bad());
    }
    Ok((if folder.is_empty() { b"/" } else { folder }, name))
}

/// A descriptor as a path, to reach names inside a folder that was opened safely.
pub(crate) fn of_fd(file: &File) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", file.as_raw_fd())
}
