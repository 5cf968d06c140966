//! Making this process an ordinary one before it listens: open files, core dumps, and, when started as root, the user.
//!
//! Runs before the async runtime, while there is a single thread: the kernel changes the user of one thread at a time.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use livery_sandbox::{Microvm, Monitor, SandboxConfig, Tool};
use rustix::process::{Gid, Resource, Rlimit, Uid};

use crate::{cli, exit};

/// Users tried in order when root names none.
const USERS_DEFAULT: [&str; 2] = ["livery", "nobody"];
/// Open files asked for: one run holds a handful.
const OPEN_FILES: u64 = 65_536;
/// Largest `/etc/passwd` read.
const PASSWD_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// An ordinary user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Whom to become: `None` when this process is no root and stays what it is.
pub(crate) fn ordinary_user(wanted: Option<&str>) -> anyhow::Result<Option<User>> {
    if !rustix::process::geteuid().is_root() {
        if wanted.is_some() {
            bail!("--user works only when Livery is started as root");
        }
        return Ok(None);
    }
    let mut passwd = String::new();
    File::open("/etc/passwd")
        .and_then(|file| file.take(PASSWD_BYTES_MAX).read_to_string(&mut passwd))
        .context("cannot read /etc/passwd")?;
    let user = match wanted {
        Some(name) => find_user(&passwd, name)
            .with_context(|| format!("there is no user {name}; create it with `useradd --system {name}`"))?,
        None => USERS_DEFAULT
            .iter()
            .find_map(|name| find_user(&passwd, name))
            .context("there is no user `livery`; create it with `useradd --system livery`, or give --user")?,
    };
    if user.uid == 0 {
        bail!("--user {} is root; Livery serves as an ordinary user", user.name);
    }
    Ok(Some(user))
}

/// The sandboxes of this host, with the carriers the operator names.
pub(crate) fn sandboxes(state_dir: &Path, carriers: &cli::Carriers) -> anyhow::Result<SandboxConfig> {
    let mut config = SandboxConfig::new(state_dir);
    let cli::Carriers { runsc, runsc_sha256, isolate_host, isolate_host_sha256, waiting_sandboxes, machines } =
        carriers;
    config.waiting = waiting_sandboxes.map(usize::from);
    config.runsc = tool("--runsc", runsc.as_deref(), runsc_sha256.as_deref())?;
    config.isolate_host = tool("--isolate-host", isolate_host.as_deref(), isolate_host_sha256.as_deref())?;
    let cli::Machines { guest_kernel, guest_kernel_sha256, .. } = machines;
    let kernel = tool("--guest-kernel", guest_kernel.as_deref(), guest_kernel_sha256.as_deref())?;
    if let (Some(monitor), Some(kernel)) = (monitor(machines)?, kernel) {
        let (modules, digest) = (machines.guest_modules.as_deref(), machines.guest_modules_sha256.as_deref());
        let modules = tool("--guest-modules", modules, digest)?;
        config.microvm = Some(Microvm {
            monitor,
            kernel,
            modules,
            tcg: machines.microvm_tcg,
            snapshot_mb: machines.microvm_snapshot,
        });
        config.disks_dir = machines.disks.as_deref().map(std::path::absolute).transpose()?.or_else(disks_dir);
    }
    Ok(config)
}

/// The one monitor there can be: which of two would run a machine is not to be guessed.
fn monitor(machines: &cli::Machines) -> anyhow::Result<Option<Monitor>> {
    let cli::Machines { qemu, qemu_sha256, firecracker, firecracker_sha256, .. } = machines;
    let qemu = tool("--qemu", qemu.as_deref(), qemu_sha256.as_deref())?;
    match (qemu, tool("--firecracker", firecracker.as_deref(), firecracker_sha256.as_deref())?) {
        (Some(_), Some(_)) => {
            Err(exit::Usage("--qemu and --firecracker: machines have one monitor, so name one".to_owned()).into())
        }
        (qemu, firecracker) => Ok(qemu.map(Monitor::Qemu).or_else(|| firecracker.map(Monitor::Firecracker))),
    }
}

/// A file of the operator's, with the digest it must have.
fn tool(flag: &str, path: Option<&Path>, sha256: Option<&str>) -> anyhow::Result<Option<Tool>> {
    let (Some(path), Some(sha256)) = (path, sha256) else { return Ok(None) };
    if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(exit::Usage(format!("{flag}-sha256 {sha256}: not 64 hexadecimal digits")).into());
    }
    Ok(Some(Tool { path: std::path::absolute(path)?, sha256: sha256.to_owned() }))
}

/// One cache for every start, as a disk is as large as the image it is made of.
fn disks_dir() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from("/var/cache/livery/disks"));
    }
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(cache.join("livery/disks"))
}

fn find_user(passwd: &str, name: &str) -> Option<User> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (found, uid, gid) = (fields.next()?, fields.nth(1)?, fields.next()?);
        (found == name || uid == name).then_some(())?;
        Some(User { name: found.to_owned(), uid: uid.parse().ok()?, gid: gid.parse().ok()? })
    })
}

/// Creates `dir` for `user` alone, or checks that it is his.
pub(crate) fn private_dir(dir: &Path, user: Option<&User>) -> anyhow::Result<()> {
    let fresh = !dir.exists();
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("cannot create {}", dir.display()))?;
    let owner = user.map_or_else(|| rustix::process::geteuid().as_raw(), |user| user.uid);
    if fresh {
        if let Some(user) = user {
            chown(dir, Some(user.uid), Some(user.gid))
                .with_context(|| format!("cannot give {} to {}", dir.display(), user.name))?;
        }
        return Ok(());
    }
    let found = fs::metadata(dir)?;
    if !found.is_dir() {
        bail!("{} is no directory", dir.display());
    }
    if found.uid() != owner {
        let name = user.map_or("you", |user| user.name.as_str());
        bail!(
            "{dir} belongs to another user than {name}; `chown -R {name} {dir}`, or name its owner with --user",
            dir = dir.display()
        );
    }
    if found.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
            .with_context(|| format!("cannot close {} to other users", dir.display()))?;
    }
    Ok(())
}

/// Room for open files, no core dumps (they would hold secrets), and the ordinary user for good.
pub(crate) fn settle(user: Option<&User>) -> anyhow::Result<()> {
    raise_open_files();
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
        .context("cannot switch core dumps off")?;
    let Some(user) = user else { return Ok(()) };
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    rustix::thread::set_thread_groups(&[]).context("cannot leave root's groups")?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).context("cannot change the group")?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).context("cannot change the user")?;
    // Fail closed: if root could be had back, nothing above counts.
    if rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).is_ok() {
        bail!("could become root again after leaving it; refusing to serve");
    }
    Ok(())
}

/// Up to [`OPEN_FILES`], which only root may be able to have; fewer only mean fewer runs at a time.
fn raise_open_files() {
    let now = rustix::process::getrlimit(Resource::Nofile);
    let hard = now.maximum.unwrap_or(u64::MAX);
    for wanted in [OPEN_FILES, hard.min(OPEN_FILES)] {
        let limit = Rlimit { current: Some(wanted), maximum: Some(wanted.max(hard)) };
        if rustix::process::setrlimit(Resource::Nofile, limit).is_ok() {
            return;
        }
    }
    tracing::warn!("the limit of open files stays at {:?}", now.current);
}

#[cfg(test)]
mod tests {
    use super::{User, find_user};

    #[test]
    fn users_are_found_by_name_and_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nlivery:x:990:989::/:/usr/sbin/nologin\n";
        let livery = User { name: "livery".to_owned(), uid: 990, gid: 989 };
        assert_eq!(find_user(passwd, "livery"), Some(livery.clone()));
        assert_eq!(find_user(passwd, "990"), Some(livery));
        assert_eq!(find_user(passwd, "ghost"), None);
    }
}
