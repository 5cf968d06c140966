//! What is asked of the operator's programs beyond their version, and why a tier is not there.
//!
//! Read next: `program.rs`, `microvm/install.rs`.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use livery_core::agent::Tier;

use super::program;
use crate::config::Tool;
use crate::launcher::setup;
use crate::report::{Status, TierReport};

/// Below the state folder: the verified copies.
pub(super) const FOLDER: &str = "tools";
/// How long a program may take to say something about itself.
const SAY_MAX: Duration = Duration::from_secs(5);
/// How much of it is heard.
const SAID_BYTES_MAX: u64 = 64 * 1024;

/// Why a tier is not there.
pub(crate) struct Absent {
    pub(super) why: String,
    pub(super) fix: Option<String>,
}

impl Absent {
    pub(super) fn new(why: impl Into<String>, fix: &str) -> Self {
        Self { why: why.into(), fix: (!fix.is_empty()).then(|| fix.to_owned()) }
    }

    /// The same, with the file it is about in front.
    pub(super) fn of(self, path: &Path) -> Self {
        Self { why: format!("{}: {}", path.display(), self.why), ..self }
    }

    pub(super) fn report(&self, tier: Tier) -> TierReport {
        TierReport { fix: self.fix.clone(), ..TierReport::new(tier, Status::Unusable, &self.why) }
    }
}

/// Copies a file to `target` if it is the one that was meant; its digest.
pub(super) fn take(tool: &Tool, target: &Path, mode: u32) -> Result<String, Absent> {
    let digest = program::copy(tool, target).map_err(|(why, fix)| Absent::new(why, fix))?;
    let opened = fs::set_permissions(target, fs::Permissions::from_mode(mode));
    opened.map_err(|error| Absent::new(format!("{}: {error}", tool.path.display()), ""))?;
    Ok(digest)
}

/// What a program says on its standard output, asked as a user that owns nothing and is in no group (where there is one).
pub(super) fn say(command: &mut Command, user: Option<u32>) -> io::Result<String> {
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    command.env_clear().current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    if !ended(&mut child, SAY_MAX)? {
        return Err(io::Error::other("it says nothing about itself"));
    }
    let mut text = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(SAID_BYTES_MAX).read_to_end(&mut text)?;
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Waits for a program's end, and makes it after `most`. `false`: it had to be made.
pub(super) fn ended(child: &mut Child, most: Duration) -> io::Result<bool> {
    let until = Instant::now() + most;
    while child.try_wait()?.is_none() {
        if Instant::now() > until {
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        setup::nap();
    }
    Ok(true)
}
