//! Starting the launcher: before threads, before privileges are dropped, with nothing inherited but one socket.
//!
//! Read next: `../launcher/mod.rs` for what it becomes, `control.rs` for talking to it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use crate::SandboxConfig;
use crate::launcher::{CONFIG_VARIABLE, CONTROL_FD};
use crate::socket;

/// A launcher that was started; hand it to [`Sandboxes::connect`](crate::Sandboxes::connect). Dropping it ends the
/// launcher and every sandbox.
#[derive(Debug)]
pub struct LauncherProcess {
    pub(crate) control: OwnedFd,
    pub(crate) child: Child,
    pub(crate) waiting: Option<usize>,
}

impl LauncherProcess {
    /// Its process number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

/// Starts the launcher with the rights this process has now.
///
/// # Errors
/// The program cannot be started. What the host cannot do is said later, by each `create`.
pub fn spawn_launcher(config: &SandboxConfig) -> io::Result<LauncherProcess> {
    let (control, theirs) = socket::packet_pair()?;
    let mut absolute = config.clone();
    absolute.state_dir = std::path::absolute(&config.state_dir)?;
    let mut command = Command::new(&config.launcher.program);
    command.args(&config.launcher.args).stdin(Stdio::null()).stdout(Stdio::null());
    // The launcher needs nothing of this process's environment, which may hold secrets.
    command.env_clear().env(CONFIG_VARIABLE, serde_json::to_string(&absolute)?);
    if let Some((uid, gid)) = config.launcher.user {
        command.uid(uid).gid(gid);
    }
    let raw = theirs.as_raw_fd();
    // SAFETY: between fork and exec only system calls on integers are made.
    unsafe {
        command.pre_exec(move || {
            // A terminal's Ctrl-C is for the platform, which ends the launcher in its own time.
            libc::setsid();
            if raw == CONTROL_FD {
                libc::fcntl(raw, libc::F_SETFD, 0);
            } else if libc::dup2(raw, CONTROL_FD) == -1 {
                return Err(io::Error::last_os_error());
            }
            // Descriptors this process itself inherited must not reach the launcher.
            libc::syscall(libc::SYS_close_range, CONTROL_FD + 1, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
            Ok(())
        });
    }
    let child = command.spawn()?;
    Ok(LauncherProcess { control, child, waiting: config.waiting })
}
