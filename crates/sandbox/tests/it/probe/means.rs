//! What the attempts are made of.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::Facts;

/// A program of the image, or where there is none this one, which shows its status.
pub(super) fn program(facts: &Facts, ordinary: &'static str) -> &'static str {
    if facts.in_host { livery_guest::isolate::HOST } else { ordinary }
}

pub(super) fn held(refused: bool, got: impl FnOnce() -> String) -> Result<(), String> {
    if refused { Ok(()) } else { Err(got()) }
}

/// The error number of a raw system call, 0 when it worked.
pub(super) fn errno_of(number: libc::c_long, arguments: [libc::c_long; 5]) -> i32 {
    let [a, b, c, d, e] = arguments;
    // SAFETY: the callers pass integers, or null where the kernel wants memory: it answers an error then.
    let result = unsafe { libc::syscall(number, a, b, c, d, e) };
    if result == -1 { io::Error::last_os_error().raw_os_error().unwrap_or(0) } else { 0 }
}

/// Every call must answer that it is forbidden (not that its arguments are wrong, which would mean it was allowed).
pub(super) fn all_forbidden(calls: &[(&str, libc::c_long, [libc::c_long; 5])]) -> Result<(), String> {
    let open: Vec<String> = calls
        .iter()
        .map(|(name, number, arguments)| (name, errno_of(*number, *arguments)))
        .filter(|(_, errno)| !matches!(*errno, libc::EPERM | libc::ENOSYS))
        .map(|(name, errno)| format!("{name} answered {errno}"))
        .collect();
    held(open.is_empty(), || open.join(", "))
}

pub(super) fn readable(path: &Path) -> bool {
    if path.is_dir() {
        return fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
    }
    let mut byte = [0];
    File::open(path).and_then(|mut file| file.read(&mut byte)).is_ok_and(|count| count > 0)
}

pub(super) fn none_readable(paths: &[&str]) -> Result<(), String> {
    let open: Vec<&str> = paths.iter().copied().filter(|path| readable(Path::new(path))).collect();
    held(open.is_empty(), || open.join(", "))
}

pub(super) fn status(field: &str) -> String {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    text.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default().trim().to_owned()
}
