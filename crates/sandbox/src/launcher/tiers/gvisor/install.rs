//! runsc comes from the operator, and with it what a carrier needs beside it.
//!
//! Read next: `../program.rs` for how it is checked, `../gvisor.rs`.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use livery_core::agent::Tier;
use livery_guest::seccomp;

use crate::config::SandboxConfig;
use crate::launcher::setup::{GUEST, ROOTS};
use crate::launcher::tiers::program;
use crate::launcher::tiers::tool::{self, Absent};
use crate::report::{Status, TierReport};

/// The verified copy.
const PROGRAM: &str = "tools/runsc";
/// The guest program as a file, which gVisor's file server shows to the guest.
pub(super) const GUEST_FOLDER: &str = "tools/guest";
/// The skeleton of a carrier's root.
pub(super) const ROOT: &str = "roots/carrier";
const FETCH: &str = "get runsc from gvisor.dev, then start livery with --runsc FILE --runsc-sha256 SHA256";

/// A verified runsc.
pub(crate) struct Installed {
    program: File,
    sha256: String,
    version: String,
    filter: Vec<seccomp::sock_filter>,
    pub(super) uid_count: u32,
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
    let Some(runsc) = &config.runsc else { return Err(Absent::new("no runsc is configured", FETCH)) };
    if !privileged {
        let why = "runsc needs three ids of its own for each run, and this launcher has one";
        return Err(Absent::new(why, "start livery as root: only its launcher stays root"));
    }
    let name = runsc.path.display();
    let copied = tool::take(runsc, Path::new(PROGRAM), 0o555)?;
    let installed = settle(config, copied);
    installed
        .map_err(|error| Absent::new(format!("{name}: {error}"), "configure the runsc of this machine's architecture"))
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
    let program = File::open(PROGRAM)?;
    let version = program::version(&program, "runsc version ", Some(config.uid_first))
        .map_err(|why| io::Error::other(format!("it is no runsc: {why}")))?;
    Ok(Installed { program, sha256, version, filter: seccomp::carrier_program(), uid_count: config.uid_count })
}

/// What is known of the tier before it is tried.
pub(crate) fn report(found: &Result<Installed, Absent>) -> TierReport {
    match found {
        Ok(Installed { sha256, version, .. }) => TierReport {
            version: Some(version.clone()),
            sha256: Some(sha256.clone()),
            ..TierReport::new(Tier::Gvisor, Status::Ok, "runsc with systrap and no network")
        },
        Err(absent) => absent.report(Tier::Gvisor),
    }
}
