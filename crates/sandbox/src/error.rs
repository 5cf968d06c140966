//! What can go wrong with a sandbox, in words a user of a run can read.

use std::io;

use livery_core::agent::Tier;
use serde::{Deserialize, Serialize};

/// An operation on sandboxes failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request breaks a rule of [`Spec`](crate::Spec) or a limit.
    #[error("invalid request: {0}")]
    Invalid(String),
    /// No sandbox or workspace of that id.
    #[error("there is no such sandbox")]
    Unknown,
    /// A sandbox of that id is alive, and nobody here holds it.
    #[error("a sandbox of this id is still alive")]
    Alive,
    /// The host is at its limit of sandboxes or uids.
    #[error("no room for another sandbox: {0}")]
    Full(String),
    /// The tier that was asked for cannot be used on this host; no other is given instead.
    #[error("the tier {tier} cannot be used here: {detail}")]
    Tier {
        /// What was asked for.
        tier: Tier,
        /// Why, and the fix where one is known.
        detail: String,
    },
    /// The sandbox could not be set up; `step` names the launch step.
    #[error("the sandbox could not start (at {step}): {detail}")]
    Start {
        /// The launch step.
        step: String,
        /// What the kernel said, and the fix where one is known.
        detail: String,
    },
    /// The sandbox's tier has no such thing.
    #[error("this sandbox's tier has no {0}")]
    Unsupported(&'static str),
    /// The sandbox ended under the operation.
    #[error("{0}")]
    Lost(#[from] Lost),
    /// A command or file request failed inside the sandbox; `errno` is 0 when the guest refused by itself.
    #[error("{reason}")]
    Guest {
        /// The system's error number.
        errno: i32,
        /// A sentence.
        reason: String,
    },
    /// It took longer than its deadline.
    #[error("{0} took longer than its deadline")]
    Deadline(&'static str),
    /// The launcher process is gone. Another one is started where the configuration says so; see
    /// [`Sandboxes::is_over`](crate::Sandboxes::is_over).
    #[error("the launcher process is gone")]
    LauncherGone,
    /// The operating system refused something in this process.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The cause.
        source: io::Error,
    },
}

impl Error {
    /// Whether the file or folder asked for does not exist.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::Guest { errno: libc::ENOENT, .. })
    }
}

/// Why a sandbox is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LostReason {
    /// It used more than `memory_mb`.
    OutOfMemory,
    /// `/workspace` grew beyond `disk_mb`, or the host's disk reserve was reached.
    DiskFull,
    /// Its `wall_clock` ran out.
    WallClock,
    /// [`Sandbox::kill`](crate::Sandbox::kill) was called, or its last handle dropped.
    Killed,
    /// Its guest sent bytes that are not the protocol, or stopped answering.
    Protocol,
    /// Its process 1 ended by itself.
    GuestExited,
    /// The launcher ended, and with it every sandbox.
    LauncherGone,
}

/// A sandbox is no more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sandbox was lost: {detail}")]
pub struct Lost {
    /// Stable.
    pub reason: LostReason,
    /// A sentence.
    pub detail: String,
}

impl Lost {
    pub(crate) fn new(reason: LostReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}
