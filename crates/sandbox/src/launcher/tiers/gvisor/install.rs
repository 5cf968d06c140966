//! runsc comes from the operator: a path and the digest it must have. What was hashed is what runs.
//!
//! The launcher copies the file into its own closed folder while it hashes it, and runs the copy, so nobody can exchange it
//! in between. Read next: `../gvisor.rs`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use livery_core::agent::Tier;
use livery_guest::seccomp;
use sha2::{Digest, Sha256};

use crate::config::{SandboxConfig, Tool};
use crate::launcher::setup::{self, GUEST, ROOTS};
use crate::report::{Status, TierReport};

/// Below the state folder: the verified copies.
const FOLDER: &str = "tools";
/// The guest program as a file, which gVisor's file server shows to the guest.
pub(super) const GUEST_FOLDER: &str = "tools/guest";
/// The skeleton of a carrier's root.
pub(super) const ROOT: &str = "roots/carrier";
/// The largest program that is taken.
const PROGRAM_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// How long it may take to say its version.
const VERSION_MAX: Duration = Duration::from_secs(5);
/// The longest version that is believed.
const VERSION_CHARS_MAX: usize = 64;
const FETCH: &str = "get runsc from gvisor.dev, then start livery with --runsc FILE --runsc-sha256 SHA256";

/// A verified runsc.
pub(crate) struct Installed {
    program: File,
    sha256: String,
    version: String,
    filter: Vec<seccomp::sock_filter>,
    pub(super) uid_count: u32,
}

/// Why there is none.
pub(crate) struct Absent {
    why: String,
    fix: Option<String>,
}

impl Installed {
    pub(super) fn program(&self) -> BorrowedFd<'_> {
        self.program.as_fd()
    }

    /// What the carrier may not ask of the host's kernel.
    pub(super) fn filter(&self) -> &[seccomp::sock_filter] {
        &self.filter
    }
}

/// Takes what the configuration names, or says why not.
pub(crate) fn install(config: &SandboxConfig, privileged: bool) -> Result<Installed, Absent> {
    let absent = |why: String, fix: &str| Absent { why, fix: (!fix.is_empty()).then(|| fix.to_owned()) };
    let Some(tool) = &config.runsc else { return Err(absent("no runsc is configured".to_owned(), FETCH)) };
    if !privileged {
        let why = "runsc needs three ids of its own for each run, and this launcher has one".to_owned();
        return Err(absent(why, "start livery as root: only its launcher stays root"));
    }
    let name = tool.path.display();
    let digest = copy(tool).map_err(|error| absent(format!("{name}: {error}"), ""))?;
    if !digest.eq_ignore_ascii_case(&tool.sha256) {
        let _ = fs::remove_file(copy_path());
        let why = format!("{name} has the SHA-256 {digest}, not {} as configured", tool.sha256);
        return Err(absent(why, "put the right file back, or configure its digest if the change was yours"));
    }
    let installed = settle(config, digest);
    installed.map_err(|error| absent(format!("{name}: {error}"), "configure the runsc of this machine's architecture"))
}

fn copy_path() -> std::path::PathBuf {
    Path::new(FOLDER).join("runsc")
}

/// Copies the program while hashing it; the digest of the copy.
fn copy(tool: &Tool) -> io::Result<String> {
    let source = File::open(&tool.path)?;
    if !source.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    match fs::remove_dir_all(FOLDER) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => fs::create_dir(FOLDER)?,
    }
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(copy_path())?;
    let (mut source, mut hasher, mut total) = (source.take(PROGRAM_BYTES_MAX + 1), Sha256::new(), 0);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let count = source.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        total += u64::try_from(count).unwrap_or(u64::MAX);
        if total > PROGRAM_BYTES_MAX {
            return Err(io::Error::other(format!("it has more than {} MiB", PROGRAM_BYTES_MAX >> 20)));
        }
        hasher.update(&buffer[..count]);
        target.write_all(&buffer[..count])?;
    }
    target.set_permissions(fs::Permissions::from_mode(0o555))?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Everything a carrier needs beside the program.
fn settle(config: &SandboxConfig, sha256: String) -> io::Result<Installed> {
    let ids = config.uid_count.checked_mul(3).and_then(|ids| config.uid_first.checked_add(ids));
    ids.ok_or_else(|| io::Error::other("there are not three ranges of uids from uid_first"))?;
    fs::create_dir(GUEST_FOLDER)?;
    let guest = Path::new(GUEST_FOLDER).join("livery-guest");
    fs::write(&guest, GUEST)?;
    fs::set_permissions(&guest, fs::Permissions::from_mode(0o555))?;
    let root = Path::new(ROOT);
    for folder in ["image", "workspace", "guest", "bundle", "state", "proc", "dev", "tmp"] {
        fs::create_dir_all(root.join(folder))?;
    }
    for device in ["null", "zero", "urandom"] {
        fs::write(root.join("dev").join(device), "")?;
    }
    debug_assert!(root.starts_with(ROOTS), "roots are made anew at each start");
    let program = File::open(copy_path())?;
    let version = version(&program, config.uid_first)?;
    Ok(Installed { program, sha256, version, filter: seccomp::carrier_program(), uid_count: config.uid_count })
}

/// What the program says it is, asked as a user that owns nothing and is in no group.
fn version(program: &File, uid: u32) -> io::Result<String> {
    // The new process finds the descriptor under its own number; it closes when the program is there.
    let path = format!("/proc/self/fd/{}", program.as_raw_fd());
    let mut command = Command::new(path);
    command.arg("--version").uid(uid).gid(uid).env_clear().current_dir("/");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let until = Instant::now() + VERSION_MAX;
    while child.try_wait()?.is_none() {
        if Instant::now() > until {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::other("it does not say its version"));
        }
        setup::nap();
    }
    let mut text = String::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(4096).read_to_string(&mut text)?;
    }
    let version = text.lines().find_map(|line| line.strip_prefix("runsc version ")).unwrap_or_default().trim();
    let good = |c: char| c.is_ascii_alphanumeric() || ".~+-_".contains(c);
    if version.is_empty() || version.len() > VERSION_CHARS_MAX || !version.chars().all(good) {
        return Err(io::Error::other("it is no runsc: it does not say its version"));
    }
    Ok(version.to_owned())
}

/// What is known of the tier before it is tried.
pub(crate) fn report(found: &Result<Installed, Absent>) -> TierReport {
    match found {
        Ok(Installed { sha256, version, .. }) => TierReport {
            version: Some(version.clone()),
            sha256: Some(sha256.clone()),
            ..TierReport::new(Tier::Gvisor, Status::Ok, "runsc with systrap and no network")
        },
        Err(Absent { why, fix }) => {
            TierReport { fix: fix.clone(), ..TierReport::new(Tier::Gvisor, Status::Unusable, why) }
        }
    }
}
