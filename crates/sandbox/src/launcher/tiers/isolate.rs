//! The isolate tier: JavaScript and TypeScript in V8, each program a process of its own behind a container's walls.
//!
//! V8 is no wall here, it is what is behind the wall: namespaces, seccomp, Landlock and a cgroup as in a container, around a root
//! that holds the isolate host, its libraries and nothing else. There is no shell and no other program, and none can be started
//! from what a program writes. The guest starts the hosts; see its `isolate.rs`.
//! Read next: `isolate/install.rs` for what is laid out, `isolate/run.js` for what the host runs.

mod install;

use std::ffi::CString;
use std::os::fd::BorrowedFd;

use livery_guest::isolate::ISOLATE;
use livery_guest::seccomp;

pub(crate) use self::install::{Installed, install, report};
use super::Allowance;
use super::container::{Limits, Plan};
use crate::config::Spec;
use crate::launcher::landlock::Places;
use crate::launcher::mounts::Tree;

/// A host that runs nothing, twice (one at work, one waiting), and the guest, MiB.
const OWN_MEMORY_MB: u64 = 160;
/// Their threads, on a machine with many processors.
const OWN_PIDS: u64 = 64;
/// Answers and what the host keeps of modules, MiB. Programs cannot write there.
pub(crate) const TMP_MB: u64 = 16;
/// Where programs may write, and from where the guest starts hosts.
const PLACES: Places = Places { writable: &["/workspace", "/tmp"], executable: &["/host", "/lib64"] };

pub(crate) const fn allowance() -> Allowance {
    Allowance { memory_mb: OWN_MEMORY_MB, pids: OWN_PIDS, disk_bytes: 0 }
}

/// A container around hosts. What its programs may have of memory the guest sees to: V8 reserves much more than it uses, so there
/// is no limit on address space.
pub(crate) fn plan<'a>(
    tree: Tree<'a>,
    guest: BorrowedFd<'a>,
    filter: &'a [seccomp::sock_filter],
    landlock_abi: u32,
    spec: &Spec,
) -> Plan<'a> {
    // A quarter is left for what is not on the heap: buffers, modules' memory, compiled code.
    let words = [ISOLATE.to_owned(), (spec.memory_mb - spec.memory_mb / 4).to_string(), spec.memory_mb.to_string()];
    let arguments = words.into_iter().filter_map(|word| CString::new(word).ok()).collect();
    let limits =
        Limits { processes: u64::from(spec.pids) + OWN_PIDS, file_bytes: spec.disk_mb << 20, data_bytes: None };
    Plan { tree, guest, filter, landlock_abi, limits, places: PLACES, arguments }
}
