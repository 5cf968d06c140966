//! Monitor, kernel and modules come from the operator; what is usable of them is found by trying, once per launcher.
//!
//! Read next: `../tool.rs`, `monitor.rs`, `firecracker.rs`, `kvm.rs`.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use livery_core::agent::Tier;
use livery_guest::seccomp;

use super::qemu::{self, Accelerator};
use super::{clock, firecracker, initramfs, kvm, monitor};
use crate::config::{Microvm, Monitor, SandboxConfig};
use crate::launcher::setup::GUEST;
use crate::launcher::tiers::program;
use crate::launcher::tiers::tool::{self, Absent};
use crate::report::{Status, TierReport};

/// The carrier's root.
pub(super) const ROOT: &str = "tools/microvm";
const FETCH: &str = "apt-get install qemu-system-x86 (or get Firecracker), then start livery with --qemu FILE --qemu-sha256 SHA256 \
    (or --firecracker and --firecracker-sha256) and --guest-kernel FILE --guest-kernel-sha256 SHA256";
const PLAY: &str = "run livery where /dev/kvm works; to try things out, QEMU can play the processor: --microvm-tcg";

/// A verified monitor with everything a machine starts from.
pub(crate) struct Installed {
    program: File,
    sha256: String,
    version: String,
    filter: Vec<seccomp::sock_filter>,
    kind: Kind,
}

/// Which monitor it is, and how it runs machines.
pub(super) enum Kind {
    Qemu {
        accelerator: Accelerator,
        /// Why there is no KVM, if there is none.
        without_kvm: Option<String>,
    },
    /// With KVM.
    Firecracker {
        /// The memory of machines that start from a snapshot, or why none do, where some should.
        snapshot: Option<Result<u64, String>>,
    },
}

impl Installed {
    pub(super) fn program(&self) -> BorrowedFd<'_> {
        self.program.as_fd()
    }

    /// What the carrier may not ask of the host's kernel.
    pub(super) fn filter(&self) -> &[seccomp::sock_filter] {
        &self.filter
    }

    pub(super) const fn kind(&self) -> &Kind {
        &self.kind
    }

    pub(super) const fn is_firecracker(&self) -> bool {
        matches!(self.kind, Kind::Firecracker { .. })
    }

    /// Whether machines with this memory start from a snapshot.
    pub(super) fn has_snapshot(&self, memory_mb: u64) -> bool {
        matches!(&self.kind, Kind::Firecracker { snapshot: Some(Ok(of)) } if *of == memory_mb)
    }

    pub(super) fn note_snapshot(&mut self, taken: Result<u64, String>) {
        if let Kind::Firecracker { snapshot } = &mut self.kind {
            *snapshot = Some(taken);
        }
    }

    pub(super) const fn uses_kvm(&self) -> bool {
        !matches!(self.kind, Kind::Qemu { accelerator: Accelerator::Tcg { .. }, .. })
    }
}

/// Takes what the configuration names, or says why not.
pub(crate) fn install(config: &SandboxConfig, privileged: bool) -> Result<Installed, Absent> {
    let Some(microvm) = &config.microvm else { return Err(Absent::new("no monitor of machines is configured", FETCH)) };
    let root = Path::new(ROOT);
    let prepared = prepare(root);
    prepared.map_err(|error| Absent::new(format!("the monitor's folder: {error}"), ""))?;
    let tool = microvm.monitor.tool();
    let sha256 = tool::take(tool, &program_path(), 0o555)?;
    take_system(microvm, root)?;
    let named = |error: io::Error| {
        Absent::new(format!("{}: {error}", tool.path.display()), "configure the monitor of this machine")
    };
    let program = File::open(program_path()).map_err(named)?;
    // The new process finds the descriptor under its own number; it closes when the program is there.
    let path = format!("/proc/self/fd/{}", program.as_raw_fd());
    let user = privileged.then_some(config.uid_first);
    let (kind, version) = match &microvm.monitor {
        Monitor::Qemu(_) => {
            monitor::furnish(root, &program_path()).map_err(named)?;
            settle(microvm, &program, &path, user).map_err(named)??
        }
        Monitor::Firecracker(_) => {
            let version = firecracker::find(&program, &path, user);
            (Kind::Firecracker { snapshot: None }, version.map_err(|absent| absent.of(&tool.path))?)
        }
    };
    Ok(Installed { program, sha256, version, filter: seccomp::carrier_program(), kind })
}

/// What a machine starts from, whichever monitor runs it.
fn take_system(microvm: &Microvm, root: &Path) -> Result<(), Absent> {
    tool::take(&microvm.kernel, &root.join("kernel"), 0o444)?;
    let modules = match &microvm.modules {
        Some(modules) => {
            let copy = Path::new(tool::FOLDER).join("modules");
            tool::take(modules, &copy, 0o400)?;
            fs::read(&copy).map_err(|error| Absent::new(format!("the kernel's modules: {error}"), ""))?
        }
        None => Vec::new(),
    };
    let written = fs::write(root.join("initramfs"), initramfs::archive(GUEST, modules));
    written.map_err(|error| Absent::new(format!("the machine's first file system: {error}"), ""))
}

fn program_path() -> PathBuf {
    Path::new(tool::FOLDER).join("monitor")
}

/// The places in the carrier's root on which something is mounted.
fn prepare(root: &Path) -> io::Result<()> {
    for folder in ["workspace", "dev", "tmp"] {
        fs::create_dir_all(root.join(folder))?;
    }
    for file in ["image", "dev/null", "dev/urandom", "dev/kvm"] {
        fs::write(root.join(file), "")?;
    }
    Ok(())
}

/// Whether this is a QEMU, and how it runs machines here.
fn settle(
    microvm: &Microvm,
    program: &File,
    path: &str,
    user: Option<u32>,
) -> io::Result<Result<(Kind, String), Absent>> {
    let version = program::version(program, "QEMU emulator version ", user);
    let version = version.map_err(|why| io::Error::other(format!("it is no QEMU: {why}")))?;
    let accelerators = tool::say(Command::new(path).args(["-accel", "help"]), user)?;
    let has = |name: &str| accelerators.lines().any(|line| line.trim() == name);
    let tried =
        if has("kvm") { kvm::boots(path, user, qemu::probe) } else { Err("this QEMU is built without KVM".to_owned()) };
    let (accelerator, without_kvm) = match tried {
        Ok(()) => (Accelerator::Kvm, None),
        Err(why) if microvm.tcg && has("tcg") => (Accelerator::Tcg { clock_khz: clock::khz() }, Some(why)),
        Err(why) if microvm.tcg => return Ok(Err(Absent::new(format!("{why}, and without TCG too"), PLAY))),
        Err(why) => return Ok(Err(Absent::new(why, PLAY))),
    };
    Ok(Ok((Kind::Qemu { accelerator, without_kvm }, version)))
}

/// What is known of the tier before it is tried.
pub(crate) fn report(found: &Result<Installed, Absent>) -> TierReport {
    let Installed { sha256, version, kind, .. } = match found {
        Ok(installed) => installed,
        Err(absent) => return absent.report(Tier::Microvm),
    };
    let known = match kind {
        Kind::Firecracker { snapshot } => {
            let starts = match snapshot {
                None => String::new(),
                Some(Ok(memory_mb)) => format!("; with {memory_mb} MB of memory, from a snapshot"),
                Some(Err(why)) => format!("; no snapshot ({why})"),
            };
            TierReport::new(Tier::Microvm, Status::Ok, format!("Firecracker, and no network{starts}"))
        }
        Kind::Qemu { without_kvm: None, .. } => {
            TierReport::new(Tier::Microvm, Status::Ok, "QEMU with KVM, and no network")
        }
        Kind::Qemu { without_kvm: Some(why), .. } => {
            let detail = format!("QEMU plays the processor, for development only: no minimum is met by it ({why})");
            let report = TierReport::new(Tier::Microvm, Status::Degraded, detail);
            TierReport { dev_only: true, fix: Some("run livery where /dev/kvm works".to_owned()), ..report }
        }
    };
    TierReport { version: Some(version.clone()), sha256: Some(sha256.clone()), ..known }
}
