//! The gVisor tier: the guest on a kernel of its own, `runsc`'s, which runs in user space behind a carrier of ours.
//!
//! Two walls. Inside, gVisor's kernel answers every system call, and the guest gives up the same calls as in a container.
//! Around it, `runsc` runs in namespaces of its own with no network, a root that holds the image, the workspace and itself, a
//! cgroup, without the system calls of the host's that no such kernel needs, and with three host ids that are no one else's; it
//! never is the host's root. All state it makes is in memory that goes
//! with its mount namespace, so its end is that of process 1, like a container's.
//! Read next: `gvisor/bundle.rs` for what it is told, `gvisor/install.rs` for where it comes from.

mod bundle;
mod install;

use std::ffi::CStr;
use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use livery_guest::seccomp;

pub(crate) use self::install::{Installed, install, report};
use super::Allowance;
use crate::config::Spec;
use crate::launcher::child::{self, Birth, Never, Said};
use crate::launcher::mounts::{self, Kept, Mounted, Tree};
use crate::launcher::{INSIDE_ID, step};

/// Memory of gVisor's kernel, its file server and what they know of the guest's processes, MiB.
const OWN_MEMORY_MB: u64 = 96;
/// Threads of gVisor's own.
const OWN_PIDS: u64 = 128;
/// Host threads behind one thread of the guest, at most.
const PIDS_EACH: u64 = 3;
/// Small files of the carrier's own: the bundle and runsc's state.
const STATE_MB: u64 = 16;
/// Who the file server is, in the carrier's namespace: without an id of its own outside, and not the run's.
const CARRIER_ID: u32 = 0;
/// Who gVisor's kernel is: runsc gives itself this id, and no capability of the carrier's namespace.
const KERNEL_ID: u32 = 65_534;
/// What runsc does with them: it makes the kernel's and the file server's own roots, and files in the run's name.
const CAPABILITIES: [u32; 11] = [
    0,  // CAP_CHOWN
    1,  // CAP_DAC_OVERRIDE
    2,  // CAP_DAC_READ_SEARCH
    3,  // CAP_FOWNER
    4,  // CAP_FSETID
    5,  // CAP_KILL
    6,  // CAP_SETGID
    7,  // CAP_SETUID
    18, // CAP_SYS_CHROOT
    19, // CAP_SYS_PTRACE
    21, // CAP_SYS_ADMIN
];

/// What one gVisor sandbox is made of.
pub(crate) struct Plan<'a> {
    tree: Tree<'a>,
    installed: &'a Installed,
    program: BorrowedFd<'a>,
    filter: &'a [seccomp::sock_filter],
    config: String,
}

pub(crate) fn allowance(spec: &Spec) -> Allowance {
    Allowance { memory_mb: OWN_MEMORY_MB, pids: OWN_PIDS + u64::from(spec.pids) * (PIDS_EACH - 1), disk_bytes: 0 }
}

impl<'a> Plan<'a> {
    pub(crate) fn new(installed: &'a Installed, spec: &Spec, tree: Tree<'a>) -> Self {
        let (program, config) = (installed.program(), bundle::config(spec, tree.tmp_mb));
        Self { tree, installed, program, filter: installed.filter(), config }
    }

    /// The run's id, as in a container, and two more: one for the file server and one for the kernel. Those of one run are as
    /// far apart as the range is long, so that no two runs share any.
    pub(super) fn ids(&self, run: u32) -> Vec<(u32, u32)> {
        let apart = self.installed.uid_count;
        vec![(CARRIER_ID, run + apart), (INSIDE_ID, run), (KERNEL_ID, run + 2 * apart)]
    }
}

pub(super) fn become_runsc(plan: &Plan<'_>, birth: &Birth<'_>) -> Result<Never, step::Error> {
    build_root(plan)?;
    step::of("host name", rustix::system::sethostname(b"sandbox").map_err(Into::into))?;
    step::of("limits", child::limit(libc::RLIMIT_CORE, 0))?;
    step::of("session", rustix::process::setsid().map(drop).map_err(Into::into))?;
    step::of("user and groups", child::become_user(CARRIER_ID, birth.drop_groups))?;
    step::of("bundle", write_bundle(&plan.config))?;
    step::of("capabilities", child::bound_capabilities(&CAPABILITIES))?;
    step::of("no_new_privs", child::no_new_privs())?;
    step::of("tie to the launcher", child::die_with_launcher(birth.launcher))?;
    step::of("descriptors", child::arrange_descriptors(birth, plan.program.as_raw_fd(), Said::Errors))?;
    step::of("seccomp", seccomp::install(plan.filter))?;
    step::of("runsc", child::exec(ARGUMENTS))
}

/// Everything is said, so that no default of another version decides.
const ARGUMENTS: &[&CStr] = &[
    c"runsc",
    c"--root=/state",
    c"--log=/dev/null",
    c"--platform=systrap",
    c"--network=none",
    c"--directfs=false",
    c"--overlay2=none",
    c"--host-uds=none",
    c"--host-fifo=none",
    c"--file-access=exclusive",
    c"--file-access-mounts=shared",
    c"--ignore-cgroups",
    c"run",
    c"--pass-fd=3:3",
    c"--bundle=/bundle",
    c"sandbox",
];

/// The carrier's own root: the image, the workspace, the guest and runsc, each read-only but for the workspace.
fn build_root(plan: &Plan<'_>) -> Result<(), step::Error> {
    mounts::image(&plan.tree)?;
    let root = Path::new(install::ROOT);
    step::of("carrier", mounts::bind(root, root))?;
    let below = |name: &str| root.join(name);
    let places: [(PathBuf, &str, Kept); 6] = [
        (plan.tree.root.skeleton.clone(), "image", Kept::ReadOnly),
        (plan.tree.workspace.to_owned(), "workspace", Kept::Writable),
        (install::GUEST_FOLDER.into(), "guest", Kept::ReadOnly),
        ("/dev/null".into(), "dev/null", Kept::Device),
        ("/dev/zero".into(), "dev/zero", Kept::Device),
        ("/dev/urandom".into(), "dev/urandom", Kept::Device),
    ];
    for (source, name, kept) in places {
        step::with("carrier", || name.to_owned(), mounts::place(&source, &below(name), kept))?;
    }
    for name in ["bundle", "state", "tmp"] {
        let mounted = Mounted { size_mb: STATE_MB, owner: CARRIER_ID, mode: 0o700 };
        step::with("carrier", || name.to_owned(), mounts::tmpfs(&below(name), mounted))?;
    }
    step::of("/proc", mounts::fresh_proc(&below("proc")))?;
    mounts::pivot(root)
}

fn write_bundle(config: &str) -> std::io::Result<()> {
    fs::write("/bundle/config.json", config)
}
