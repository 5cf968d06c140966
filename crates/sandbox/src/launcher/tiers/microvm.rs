//! The microvm tier: the guest in a virtual machine, with a kernel, disks and one stream of its own.
//!
//! Two walls. Inside, the machine: a Linux kernel that the run may break without being anywhere. Around it the monitor, in
//! namespaces of its own with no network, a root that holds nothing but what it opens, a cgroup, one host id that is the run's,
//! no capability, and a filter of system calls. The image comes as a read-only disk, the workspace as one that outlives the
//! machine; the host reads neither. Its end is that of process 1, like a container's.
//!
//! With KVM the processor holds the machine in. Without it QEMU plays a processor (TCG), which nobody made to hold an attacker:
//! that is for development, must be switched on, and satisfies no minimum. The monitor is QEMU or Firecracker; all else is the same for
//! both. Read next: `microvm/install.rs`, `microvm/qemu.rs`, `microvm/firecracker.rs`.

mod clock;
mod firecracker;
mod initramfs;
mod install;
mod kvm;
mod monitor;
mod qemu;
mod workspace;

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use livery_guest::seccomp;
use livery_guest::vm::{Given, Stream};

pub(crate) use self::firecracker::take_snapshot;
use self::install::Kind;
pub(crate) use self::install::{Installed, install, report};
use super::{Allowance, Sign};
use crate::config::Spec;
use crate::launcher::child::{self, Birth, Never, Said};
use crate::launcher::disks::cache::Disk;
use crate::launcher::disks::ext4;
use crate::launcher::mounts::{self, Kept, Mounted};
use crate::launcher::{INSIDE_ID, step};

/// Memory of the guest's kernel, MiB: the run has its own limit beside it.
const KERNEL_MB: u64 = 96;
/// Memory of the monitor, which keeps a copy of the kernel, and of the code it translates where it plays the processor; MiB.
const MONITOR_MB: u64 = 160;
const TRANSLATED_MB: u64 = 128;
/// Threads of the monitor.
const MONITOR_PIDS: u64 = 96;
/// Small files of the carrier's own.
const STATE_MB: u64 = 1;

/// What one machine is made of.
pub(crate) struct Plan<'a> {
    installed: &'a Installed,
    origin: Origin,
    image: Image,
    workspace: &'a Path,
    spec: &'a Spec,
    tmp_mb: u64,
    owner: u32,
}

/// How a machine comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Boot,
    /// It boots to become the snapshot, and is never a run's.
    Template,
    Snapshot,
}

/// The read-only disk.
enum Image {
    Disk(Disk),
    /// A file where nobody looks at it.
    Nothing(PathBuf),
}

impl Image {
    fn wait(&self) -> Result<PathBuf, step::Error> {
        match self {
            Self::Disk(disk) => disk.wait(),
            Self::Nothing(path) => Ok(path.clone()),
        }
    }
}

pub(crate) fn allowance(spec: &Spec) -> Allowance {
    let disk_bytes = ext4::bytes(spec.disk_mb).saturating_sub(spec.disk_mb << 20);
    Allowance { memory_mb: KERNEL_MB + MONITOR_MB + TRANSLATED_MB, pids: MONITOR_PIDS, disk_bytes }
}

impl<'a> Plan<'a> {
    pub(crate) fn new(installed: &'a Installed, spec: &'a Spec, image: Disk, workspace: &'a Path, tmp_mb: u64) -> Self {
        let origin = if installed.has_snapshot(spec.memory_mb) { Origin::Snapshot } else { Origin::Boot };
        Self { installed, origin, image: Image::Disk(image), workspace, spec, tmp_mb, owner: INSIDE_ID }
    }

    fn given(&self) -> Given {
        let Spec { pids, disk_mb, .. } = self.spec;
        let stream = if self.installed.is_firecracker() { Stream::Vsock } else { Stream::Port };
        Given { processes: u64::from(*pids) + 1, file_bytes: disk_mb << 20, tmp_mb: self.tmp_mb, stream }
    }

    /// Memory of the machine, MiB.
    const fn memory_mb(&self) -> u64 {
        self.spec.memory_mb + KERNEL_MB
    }

    pub(super) const fn sign(&self) -> Sign {
        if self.installed.is_firecracker() { Sign::Door } else { Sign::FirstWord }
    }
}

pub(super) fn become_monitor(plan: &Plan<'_>, birth: &Birth<'_>) -> Result<Never, step::Error> {
    let image = plan.image.wait()?;
    build_root(plan, &image, birth.drop_groups)?;
    step::of("host name", rustix::system::sethostname(b"sandbox").map_err(Into::into))?;
    step::of("limits", child::limit(libc::RLIMIT_CORE, 0))?;
    step::of("session", rustix::process::setsid().map(drop).map_err(Into::into))?;
    step::of("user and groups", child::become_user(INSIDE_ID, birth.drop_groups))?;
    step::of("workspace", workspace::open("/workspace".as_ref(), plan.spec.disk_mb, plan.owner))?;
    step::of("capabilities", child::bound_capabilities(&[]))?;
    step::of("no_new_privs", child::no_new_privs())?;
    step::of("tie to the launcher", child::die_with_launcher(birth.launcher))?;
    let arguments: Vec<CString> = step::of("monitor", arguments(plan, birth))?;
    let program: BorrowedFd<'_> = plan.installed.program();
    step::of("descriptors", child::arrange_descriptors(birth, program.as_raw_fd(), Said::Everything))?;
    if plan.installed.is_firecracker() {
        step::of("descriptors", child::keep_channel())?;
    }
    step::of("seccomp", seccomp::install(plan.installed.filter()))?;
    let arguments: Vec<_> = arguments.iter().map(CString::as_c_str).collect();
    step::of("monitor", child::exec(&arguments))
}

/// The monitor's command line; what it finds beside it is made here.
fn arguments(plan: &Plan<'_>, birth: &Birth<'_>) -> io::Result<Vec<CString>> {
    let Kind::Qemu { accelerator, .. } = plan.installed.kind() else { return firecracker::arrange(plan, birth) };
    qemu::arguments(plan, *accelerator)
}

/// The carrier's own root: the monitor with its libraries, the kernel, the disks, and next to no devices.
fn build_root(plan: &Plan<'_>, image: &Path, privileged: bool) -> Result<(), step::Error> {
    let root = Path::new(install::ROOT);
    step::of("carrier", mounts::private())?;
    step::of("carrier", mounts::place(root, root, Kept::ReadOnly))?;
    let below = |name: &str| root.join(name);
    let mut places: Vec<(PathBuf, &str, Kept)> = vec![
        (image.to_owned(), "image", Kept::ReadOnly),
        (plan.workspace.to_owned(), "workspace", Kept::Writable),
        ("/dev/null".into(), "dev/null", Kept::Device),
        ("/dev/urandom".into(), "dev/urandom", Kept::Device),
    ];
    if plan.installed.uses_kvm() {
        places.push((kvm::device(privileged).into(), "dev/kvm", Kept::Device));
    }
    match plan.origin {
        Origin::Boot => {}
        Origin::Template => places.push((firecracker::SNAPSHOT.into(), "snapshot", Kept::Writable)),
        Origin::Snapshot => places.push((firecracker::SNAPSHOT.into(), "snapshot", Kept::ReadOnly)),
    }
    for (source, name, kept) in places {
        step::with("carrier", || name.to_owned(), mounts::place(&source, &below(name), kept))?;
    }
    let mounted = Mounted { size_mb: STATE_MB, owner: INSIDE_ID, mode: 0o700 };
    step::of("carrier", mounts::tmpfs(&below("tmp"), mounted))?;
    mounts::pivot(root)
}
