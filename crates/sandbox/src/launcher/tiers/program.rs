//! Programs of the operator's: a path and the digest it must have. What was hashed is what runs.
//!
//! The launcher copies the file into its own closed folder while it hashes it, and runs the copy, so nobody can exchange it
//! in between. Read next: `gvisor/install.rs` and `isolate/install.rs`, which use them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::config::Tool;
use crate::launcher::setup;

/// Below the state folder: the verified copies.
const FOLDER: &str = "tools";
/// The largest program that is taken.
const PROGRAM_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// How long it may take to say its version.
const VERSION_MAX: Duration = Duration::from_secs(5);
/// The longest version that is believed.
const VERSION_CHARS_MAX: usize = 64;

/// Makes the folder of the copies anew. Where there is no program, there is no folder.
pub(crate) fn clear(is_wanted: bool) -> io::Result<()> {
    match fs::remove_dir_all(FOLDER) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if is_wanted { fs::create_dir(FOLDER) } else { Ok(()) }
}

/// Copies the program to `target` if it is the one that was meant; its digest. The error is a sentence, and the fix.
pub(super) fn copy(tool: &Tool, target: &Path) -> Result<String, (String, &'static str)> {
    let name = tool.path.display();
    let digest = copy_and_hash(tool, target).map_err(|error| (format!("{name}: {error}"), ""))?;
    if !digest.eq_ignore_ascii_case(&tool.sha256) {
        let _ = fs::remove_file(target);
        let why = format!("{name} has the SHA-256 {digest}, not {} as configured", tool.sha256);
        return Err((why, "put the right file back, or configure its digest if the change was yours"));
    }
    Ok(digest)
}

fn copy_and_hash(tool: &Tool, target: &Path) -> io::Result<String> {
    let source = File::open(&tool.path)?;
    if !source.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(target)?;
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

/// What the program says after `prefix` when asked for its version: one word. With `user` it is asked as a user that owns nothing
/// and is in no group.
pub(super) fn version(program: &File, prefix: &str, user: Option<u32>) -> Result<String, String> {
    let said = said(program, user).map_err(|error| error.to_string())?;
    let version = said.lines().find_map(|line| line.strip_prefix(prefix)).unwrap_or_default();
    let version = version.split_whitespace().next().unwrap_or_default();
    let good = |c: char| c.is_ascii_alphanumeric() || ".~+-_".contains(c);
    if version.is_empty() || version.len() > VERSION_CHARS_MAX || !version.chars().all(good) {
        return Err("it does not say its version".to_owned());
    }
    Ok(version.to_owned())
}

fn said(program: &File, user: Option<u32>) -> io::Result<String> {
    // The new process finds the descriptor under its own number; it closes when the program is there.
    let path = format!("/proc/self/fd/{}", program.as_raw_fd());
    let mut command = Command::new(path);
    command.arg("--version").env_clear().current_dir("/");
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
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
    Ok(text)
}
