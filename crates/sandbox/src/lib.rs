//! One contract for the places runs live in, and the tiers that keep it: containers (namespaces, seccomp, Landlock, cgroups, a
//! uid per run), gVisor (a kernel of its own for each run) and isolates (JavaScript alone, behind a container's walls).
//!
//! Three processes take part. The **launcher** ([`launcher`]) is a small single-threaded child of the same binary, the one
//! part that may be root; it makes, watches and takes down sandboxes. The **guest** (`livery-guest`) is process 1 of each
//! sandbox. The **platform** holds a [`Sandboxes`] and speaks to the launcher over one socket and to each guest over one
//! stream; it needs no rights, and believes nothing a guest says.
//!
//! ```no_run
//! # use livery_sandbox::{Error, Exec, SandboxConfig, Sandboxes, Spec, launcher, spawn_launcher};
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // First thing in `main`: this same binary is the launcher when it was started as one.
//!     if let Some(code) = launcher::run_if_asked() {
//!         std::process::exit(if code == std::process::ExitCode::SUCCESS { 0 } else { 70 });
//!     }
//!     // Then, before threads and before privileges are dropped:
//!     let process = spawn_launcher(&SandboxConfig::new("/var/lib/livery/sandboxes"))?;
//!     tokio::runtime::Runtime::new()?.block_on(async {
//!         let sandboxes = Sandboxes::connect(process)?;
//!         let sandbox = sandboxes.create(Spec::new("run_1")).await?;
//!         let result = sandbox.exec(Exec::shell("echo hello"), |_, bytes| drop(bytes.to_vec())).await?;
//!         assert_eq!((result.exit_code, result.stdout.as_slice()), (Some(0), &b"hello\n"[..]));
//!         sandbox.put("notes/a.txt", b"kept in the workspace", 0o644).await?;
//!         sandbox.kill("done").await?;
//!         sandboxes.remove_workspace("run_1").await?;
//!         sandboxes.shutdown().await
//!     })?;
//!     Ok(())
//! }
//! ```
//!
//! Refused here: tenants, HTTP, any tier without isolation. Read next: `client/mod.rs`, then `launcher/mod.rs`.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

pub mod config;
pub mod error;
pub mod launcher;
pub mod monitor;
pub mod report;
pub mod thin;

mod client;
mod protocol;
mod socket;

pub use client::{
    Artifact, ArtifactLimits, Artifacts, Code, CodeOutcome, CodeResult, Ended, Entry, Exec, ExecResult, FileKind,
    FilePart, Flow, Language, LauncherProcess, Listing, READ_BYTES_MAX, RING_BYTES, Relay, SIDE_MAX, SIGKILL,
    SOURCE_BYTES_MAX, Sandbox, Sandboxes, Shown, Size, Stream, TERMINALS_MAX, Terminal, TerminalSpec, probe,
    spawn_launcher,
};
pub use config::{LauncherCommand, Microvm, Monitor, RootFs, SandboxConfig, Spec, Tool};
pub use error::{Error, Lost, LostReason};
pub use livery_core::agent::Tier;
pub use protocol::{Teardown, Usage};
pub use report::{Check, Grants, HostReport, Status, TierReport};
