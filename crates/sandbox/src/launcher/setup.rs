//! The launcher's start: its folder, what an earlier life left, and what every sandbox shares.
//!
//! Read next: `server.rs`.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use super::cgroup::{Cgroups, Version};
use super::identity::Identities;
use super::janitor::{self, Janitor};
use super::journal::{self, Identity, Journal};
use super::root::{self, RootPlan};
use super::start::Ground;
use super::tiers::{Tiers, microvm};
use super::{favour, landlock, step};
use crate::SandboxConfig;
use crate::report::Grants;
use livery_guest::seccomp;

/// How long a launcher waits for the one before it to end.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// How long left-over processes may take to die.
const SWEEP_WAIT: Duration = Duration::from_secs(5);
/// Workspaces, their trash and the root skeletons, relative to the state folder.
pub(crate) const WORKSPACES: &str = "workspaces";
pub(crate) const TRASH: &str = "trash";
pub(crate) const ROOTS: &str = "roots";
const FAVOUR: &str = "cgroup";

/// The guest program, built by `build.rs`.
pub(super) static GUEST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/livery-guest.bin"));

/// Everything a server needs.
pub(crate) struct Prepared {
    pub(crate) config: SandboxConfig,
    pub(crate) ground: Ground,
    pub(crate) tiers: Tiers,
    pub(crate) cgroups: Cgroups,
    pub(crate) journal: Journal,
    pub(crate) host_root: RootPlan,
    pub(crate) identities: Identities,
    pub(crate) janitor: Janitor,
    pub(crate) grants: Grants,
    /// Things the platform should log.
    pub(crate) notes: Vec<String>,
    /// Held for as long as the launcher lives.
    _lock: File,
}

/// Survives the signals a terminal or service manager sends to every process of a service: the platform drains first,
/// and its end is what ends the launcher. Handlers, unlike ignoring, do not pass to the sandboxes.
pub(crate) fn calm_signals() {
    extern "C" fn nothing(_: libc::c_int) {}
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: the handler does nothing, so it is safe at any moment.
        unsafe { libc::signal(signal, nothing as *const () as libc::sighandler_t) };
    }
}

/// Prepares everything; the error names the step.
pub(crate) fn prepare(config: SandboxConfig) -> Result<Prepared, step::Error> {
    // What is made for sandboxes must be readable to their users, whatever the umask this process was started with; what is
    // not for them is made with a mode of its own, in folders closed to others.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let privileged = rustix::process::geteuid().is_root();
    let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let lock = step::with("state folder", || config.state_dir.display().to_string(), enter(&config.state_dir))?;
    raise_open_files();
    let name = cgroup_name(&step::of("state folder", std::env::current_dir())?);
    let mut notes = Vec::new();
    if privileged {
        step::of("private mounts", private_mounts())?;
    }
    // Before the cgroups are found: none of an earlier life's processes may still move.
    kill_left_over();
    let cgroups = Cgroups::find(&name);
    let swept = cgroups.sweep();
    if swept > 0 {
        notes.push(format!("removed {swept} cgroups an earlier life left"));
    }
    let slow_moves = cgroups.version_of("memory") == Some(Version::One);
    if privileged
        && config.fast_cgroup_moves
        && slow_moves
        && let Err(error) = favour::moves(Path::new(FAVOUR))
    {
        notes.push(format!("cgroup moves stay slow (about 10 ms a start): {error}"));
    }
    let range = privileged.then_some((config.uid_first, config.uid_count));
    let (identities, janitor) = step::of("workspaces", find_workspaces(Identities::new(range, own)))?;
    step::of("root skeletons", clear(ROOTS))?;
    if privileged {
        step::of("root skeletons", in_memory(ROOTS))?;
    }
    let host_root = step::of("host image", root::host(Path::new(ROOTS)))?;
    let ground = Ground {
        guest: step::of("guest program", guest_file())?,
        launcher: step::of("own pidfd", own_pidfd())?,
        filter: seccomp::program(seccomp::Kernel::Linux),
        landlock_abi: landlock::usable_abi(),
        privileged,
    };
    let grants = grants(&ground, &cgroups);
    let mut tiers = step::of("tools", Tiers::prepare(&config, privileged))?;
    microvm::take_snapshot(&mut tiers, &ground, &config);
    let journal = step::of("journal", Journal::create(Path::new(".")))?;
    Ok(Prepared { config, ground, tiers, cgroups, journal, host_root, identities, janitor, grants, notes, _lock: lock })
}

/// A short rest between two looks at something the kernel tells nobody about. The callers loop with a deadline, before any
/// sandbox lives.
pub(super) fn nap() {
    std::thread::sleep(Duration::from_millis(2));
}

/// Makes the state folder the working directory and locks it.
fn enter(state_dir: &Path) -> io::Result<File> {
    DirBuilder::new().mode(0o700).recursive(true).create(state_dir)?;
    std::env::set_current_dir(state_dir)?;
    let metadata = fs::metadata(".")?;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("it belongs to another user than the launcher's"));
    }
    rustix::fs::chmod(".", rustix::fs::Mode::from_raw_mode(0o700))?;
    let lock = File::options().write(true).create(true).truncate(false).open("lock")?;
    let until = Instant::now() + LOCK_WAIT;
    while rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
        if Instant::now() >= until {
            return Err(io::Error::other("another launcher uses it"));
        }
        nap();
    }
    for folder in [WORKSPACES, TRASH, ROOTS, FAVOUR] {
        DirBuilder::new().mode(0o700).recursive(true).create(folder)?;
    }
    Ok(lock)
}

/// The folder of a launcher's cgroups, named after its state folder (an absolute path without links), so that two platforms
/// on a host never sweep each other.
#[must_use]
pub fn cgroup_name(state_dir: &Path) -> String {
    // FNV-1a: must stay the same over versions, or a crash before an update is not swept after it.
    let hash = state_dir.as_os_str().as_encoded_bytes().iter();
    let hash =
        hash.fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3));
    format!("livery-{hash:016x}")
}

/// Removes an ephemeral launcher's folder. The mounts in it go first: removing through them would reach the host's groups.
/// What cannot be removed stays closed to others, and the platform says so.
pub(super) fn remove_state(state_dir: &Path) {
    let uncovered = [FAVOUR, ROOTS].into_iter().all(|name| {
        let folder = state_dir.join(name);
        // Not a mount (an ordinary user's launcher makes none) is as good as unmounted; what counts is what is left below.
        let _ = rustix::mount::unmount(&folder, rustix::mount::UnmountFlags::DETACH);
        name == ROOTS || fs::remove_dir(&folder).is_ok() || !folder.exists()
    });
    if uncovered {
        let _ = fs::remove_dir_all(state_dir);
    }
}

/// Mounts made by the launcher are seen by it alone; the host's still arrive.
fn private_mounts() -> io::Result<()> {
    use rustix::mount::{MountPropagationFlags, mount_change};
    // SAFETY: this process has one thread, and no other shares its file system state.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?)
}

/// Each sandbox holds a few descriptors of the launcher.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    // Refused only where it is as high as it can be.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum });
}

/// Kills process 1 of every sandbox the journal knows, and with it the sandbox.
fn kill_left_over() {
    let left: Vec<Identity> = journal::left_over(Path::new(".")).into_iter().filter(|i| i.is_alive()).collect();
    for identity in &left {
        // SAFETY: plain system call; the start time says that this is the process the journal means.
        unsafe { libc::kill(identity.pid, libc::SIGKILL) };
    }
    let until = Instant::now() + SWEEP_WAIT;
    while left.iter().any(|i| i.is_alive()) && Instant::now() < until {
        nap();
    }
}

/// Learns whose the workspaces on disk are, and hands left-over trash to the janitor.
fn find_workspaces(mut identities: Identities) -> io::Result<(Identities, Janitor)> {
    for entry in fs::read_dir(WORKSPACES)? {
        let entry = entry?;
        let metadata = fs::symlink_metadata(entry.path())?;
        let name = entry.file_name();
        // Nobody ever wanted what an earlier life had waiting.
        if name.to_string_lossy().starts_with(crate::config::WAITING_PREFIX) && identities.owns(metadata.uid()) {
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o700))?;
            fs::rename(entry.path(), Path::new(TRASH).join(&name))?;
            continue;
        }
        identities.found(&name.to_string_lossy(), metadata.uid());
    }
    let mut janitor = Janitor::default();
    for job in janitor::left_over(Path::new(TRASH)) {
        if identities.owns(job.owner.0) {
            identities.busy(job.owner.0);
            janitor.add(job);
        }
    }
    Ok((identities, janitor))
}

/// Some hundred small files are made much faster in memory, and leave nothing.
fn in_memory(folder: &str) -> io::Result<()> {
    use rustix::mount::{MountFlags, mount};
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    Ok(mount("livery-roots", folder, "tmpfs", flags, c"mode=0755,size=64m,nr_inodes=32768")?)
}

fn clear(folder: &str) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
    }
    Ok(())
}

/// The guest as a memory file that nobody can change: one copy for all sandboxes, in no file tree.
fn guest_file() -> io::Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    const MFD_EXEC: u32 = 0x10;
    let base = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let executable = base | MemfdFlags::from_bits_retain(MFD_EXEC);
    // Before Linux 6.3 the flag is unknown and every memory file is executable.
    let fd = memfd_create("livery-guest", executable).or_else(|_| memfd_create("livery-guest", base))?;
    let mut file = File::from(fd);
    io::Write::write_all(&mut file, GUEST)?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    // An executable that is open for writing cannot be executed: hand out a read-only description of it.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(OwnedFd::from(File::open(path)?))
}

fn own_pidfd() -> io::Result<OwnedFd> {
    // SAFETY: plain system call on integers; a descriptor that comes back is owned by no one else.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0);
        let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

fn grants(ground: &Ground, cgroups: &Cgroups) -> Grants {
    let by = |controller: &str, otherwise: &'static str| {
        cgroups.version_of(controller).map_or(otherwise, Version::name).to_owned()
    };
    Grants {
        privileged: ground.privileged,
        own_uid: ground.privileged,
        memory: by("memory", "rlimit and watchdog"),
        pids: by("pids", "rlimit"),
        cpu: by("cpu", "none"),
        disk: "file size limit and watchdog".to_owned(),
        landlock_abi: ground.landlock_abi,
    }
}
