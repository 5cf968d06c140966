//! What an operator decides about sandboxes on this host, and what one sandbox may use.
//!
//! Read next: `client/process.rs`, which hands a [`SandboxConfig`] to the launcher.

use std::path::PathBuf;
use std::time::Duration;

use livery_core::agent::Tier;
use serde::{Deserialize, Serialize};

/// Decided once per process, before the launcher starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxConfig {
    /// Journal, workspaces and root skeletons. Made if missing, mode 0700, owned by the launcher's user. Nothing else
    /// may write in it, and two launchers never share one.
    pub state_dir: PathBuf,
    /// First host uid (and gid) for runs; used only when the launcher is root.
    pub uid_first: u32,
    /// How many uids there are: as many workspaces can exist at once. With `runsc`, two more ranges of this length follow.
    pub uid_count: u32,
    /// Folders in which [`RootFs::Directory`] images lie, each under the SHA-256 it has: 64 hexadecimal digits. The launcher
    /// refuses any other path.
    pub image_dirs: Vec<PathBuf>,
    /// The user who unpacks images, where the launcher is root: it takes only what is this user's or root's.
    pub image_owner: Option<u32>,
    /// Sandboxes alive at once; more are refused.
    pub sandboxes_max: usize,
    /// How many sandboxes of a tier that is slow to start wait for the next run, after a first one came; by default as many as are
    /// worth their memory (two, one machine), with 0 none.
    pub waiting: Option<usize>,
    /// Free space every file system with workspaces keeps; below it the largest sandbox is stopped.
    pub disk_reserve_mb: u64,
    /// Of a file system's files, how many in a hundred are kept free; below it the sandbox with the most is stopped.
    pub inode_reserve_percent: u64,
    /// On cgroup v1 hosts: ask the kernel for cheap moves between cgroups (`favordynmods`), which otherwise cost each
    /// start about 10 ms. It is a setting of the whole host and makes forks a little dearer.
    pub fast_cgroup_moves: bool,
    /// Remove `state_dir` with the launcher's end: for engines that live for one command.
    pub ephemeral: bool,
    /// Whether a launcher that dies is started again, by a keeper beside it that does nothing else.
    pub restarts: bool,
    /// The gVisor tier's program; without it there is no such tier.
    pub runsc: Option<Tool>,
    /// The isolate tier's program, a deno; without it there is no such tier.
    pub isolate_host: Option<Tool>,
    /// The microvm tier's monitor and kernel; without them there is no such tier.
    pub microvm: Option<Microvm>,
    /// Where images lie as disks for machines, shared by launchers of one user; by default below `state_dir`.
    pub disks_dir: Option<PathBuf>,
    /// How the launcher process is started.
    #[serde(skip)]
    pub launcher: LauncherCommand,
}

impl SandboxConfig {
    /// The defaults, with everything below `state_dir`.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            uid_first: 2_000_000,
            uid_count: 65_536,
            image_dirs: Vec::new(),
            image_owner: None,
            sandboxes_max: 4096,
            waiting: None,
            disk_reserve_mb: 512,
            inode_reserve_percent: 2,
            fast_cgroup_moves: true,
            ephemeral: false,
            restarts: false,
            runsc: None,
            isolate_host: None,
            microvm: None,
            disks_dir: None,
            launcher: LauncherCommand::default(),
        }
    }
}

/// A program of the operator's that carries sandboxes: used only if it is the one that was meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Where it is.
    pub path: PathBuf,
    /// Its SHA-256, as 64 hexadecimal digits.
    pub sha256: String,
}

/// What virtual machines are made with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Microvm {
    /// What runs them.
    pub monitor: Monitor,
    /// The guest's kernel: an ELF file (`vmlinux`) or what QEMU takes for one.
    pub kernel: Tool,
    /// Its modules for virtio's bus and disks and for EROFS, where they are not built in: a cpio archive (`newc`, not compressed)
    /// with a folder `modules`, whose files are loaded in the order of their names; those of its folder `vsock` only for Firecracker.
    pub modules: Option<Tool>,
    /// Without KVM, let QEMU play the processor. No wall against an attacker: for development only. Firecracker plays none.
    pub tcg: bool,
    /// Machines of Firecracker's with this `memory_mb` start from a snapshot, which is taken when the launcher starts.
    #[serde(default)]
    pub snapshot_mb: Option<u64>,
}

/// The monitor of virtual machines: the same for all of a launcher's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Monitor {
    /// `qemu-system-x86_64`, with KVM or TCG.
    Qemu(Tool),
    /// `firecracker` 1.10 or later, with KVM.
    Firecracker(Tool),
}

impl Monitor {
    /// The operator's program.
    #[must_use]
    pub const fn tool(&self) -> &Tool {
        match self {
            Self::Qemu(tool) | Self::Firecracker(tool) => tool,
        }
    }
}

/// The program that ends up in [`launcher::run_if_asked`](crate::launcher::run_if_asked).
#[derive(Clone, Debug)]
pub struct LauncherCommand {
    /// Its path; by default this very executable.
    pub program: PathBuf,
    /// Its arguments; by default the hidden subcommand.
    pub args: Vec<String>,
    /// Become this uid and gid first (tests run the launcher as an ordinary user this way).
    pub user: Option<(u32, u32)>,
}

impl Default for LauncherCommand {
    fn default() -> Self {
        let args = vec![crate::launcher::SUBCOMMAND.to_owned()];
        Self { program: "/proc/self/exe".into(), args, user: None }
    }
}

impl LauncherCommand {
    /// For test binaries: runs one of the binary's own `#[test]` functions, whose body must be
    /// `livery_sandbox::launcher::run_if_asked()`.
    #[must_use]
    pub fn test_function(path: &str) -> Self {
        let args = ["--exact", path, "--nocapture", "--test-threads=1"].map(str::to_owned).to_vec();
        Self { args, ..Self::default() }
    }
}

/// Where a sandbox's root comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RootFs {
    /// The machine's own `/usr` and a few chosen files of `/etc`, read-only.
    #[default]
    Host,
    /// An unpacked image (a root file system as plain folders), read-only.
    Directory(PathBuf),
}

/// One sandbox: its name, its root and its limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// `[A-Za-z0-9_-]{1,64}`, the run's id. Also the name of its workspace, which is kept until
    /// [`Sandboxes::remove_workspace`](crate::Sandboxes::remove_workspace).
    pub id: String,
    /// What is around it: exactly this, or an error.
    pub tier: Tier,
    /// Processors, 0.01 to 1024.
    pub cpu: f64,
    /// Memory with page cache and `/tmp`, MiB, at least 16.
    pub memory_mb: u64,
    /// `/workspace`, MiB.
    pub disk_mb: u64,
    /// Processes and threads.
    pub pids: u32,
    /// From creation; then the sandbox is killed.
    pub wall_clock: Duration,
    /// Where the root comes from.
    pub image: RootFs,
    /// Added to the environment of each command.
    pub env: Vec<(String, String)>,
}

/// How the ids of sandboxes begin that wait for a run to want them.
pub(crate) const WAITING_PREFIX: &str = "waiting-";

impl Spec {
    /// What it is without its name, its clock and what it tells programs: what is decided when it is started.
    pub(crate) fn shape(&self) -> Self {
        Self { id: String::new(), wall_clock: Duration::ZERO, env: Vec::new(), ..self.clone() }
    }

    /// A container with one processor, 512 MiB memory, 1 GiB disk, 256 processes, 10 minutes, image `host`.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            tier: Tier::Container,
            cpu: 1.0,
            memory_mb: 512,
            disk_mb: 1024,
            pids: 256,
            wall_clock: Duration::from_secs(600),
            image: RootFs::Host,
            env: Vec::new(),
        }
    }
}
