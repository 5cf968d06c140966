//! The launcher: a small single-threaded process that makes, watches and takes down sandboxes.
//!
//! It is the one part that may be root. It serves exactly one platform process over an inherited socket; when that process
//! dies it kills every sandbox, sweeps and ends. When it is killed itself, the kernel kills every sandbox
//! (`PR_SET_PDEATHSIG`) and the next launcher, which its keeper starts, sweeps what lies on disk. It refuses threads (it forks), blocking (it serves
//! many) and any request that a compromised platform could use beyond making and ending sandboxes.
//!
//! Read next: `server.rs` (the loop), `tiers.rs` (what can be around a guest).

mod cgroup;
mod child;
mod console;
mod disk;
mod disks;
mod favour;
mod helper;
mod identity;
mod janitor;
mod journal;
mod keeper;
mod landlock;
mod live;
mod memory;
mod mounts;
mod root;
mod server;
mod setup;
mod start;
mod step;
mod tiers;
mod tree;
mod validate;

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::process::ExitCode;

pub use setup::cgroup_name;
pub(crate) use validate::spec as check_spec;

/// The hidden subcommand that becomes the launcher.
pub const SUBCOMMAND: &str = "__launcher";
/// Says to [`run_if_asked`] that this process is to be a launcher: its configuration as JSON.
pub(crate) const CONFIG_VARIABLE: &str = "LIVERY_LAUNCHER_CONFIG";
/// Where the launcher finds its end of the control socket.
pub(crate) const CONTROL_FD: RawFd = 3;

/// The one user and group id inside a sandbox, its name and its place.
pub(crate) const INSIDE_ID: u32 = 1000;
pub(crate) const INSIDE_USER: &str = "agent";

/// Becomes the launcher if this process was started as one: call it first thing in `main`, before any thread exists.
///
/// `None`: go on with the program. `Some`: the launcher has ended; exit with that code.
#[must_use]
pub fn run_if_asked() -> Option<ExitCode> {
    let config = std::env::var(CONFIG_VARIABLE).ok()?;
    let Ok(config) = serde_json::from_str(&config) else {
        return Some(ExitCode::from(64));
    };
    // SAFETY: whoever set the variable left this descriptor here and nothing else in this process owns it.
    let control = unsafe { OwnedFd::from_raw_fd(CONTROL_FD) };
    Some(run(control, config))
}

fn run(control: OwnedFd, config: crate::SandboxConfig) -> ExitCode {
    setup::calm_signals();
    if config.restarts {
        // What `ps` shows.
        let _ = rustix::thread::set_name(c"livery-keeper");
        if let Some(code) = keeper::keep(&control) {
            return code;
        }
    }
    let _ = rustix::thread::set_name(c"livery-launcher");
    let ephemeral = config.ephemeral.then(|| config.state_dir.clone());
    match setup::prepare(config) {
        Ok(prepared) => {
            let end = server::Server::new(control, prepared).and_then(server::Server::run);
            if let Some(state_dir) = ephemeral {
                setup::remove_state(&state_dir);
            }
            if end.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(71) }
        }
        Err(error) => {
            // The platform hears the reason with each request, rather than an unexplained end.
            server::refuse_all(&control, &error);
            ExitCode::from(78)
        }
    }
}
