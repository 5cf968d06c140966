//! What the platform's process and the launcher say to each other: one JSON message per packet.
//!
//! The launcher may be root and the platform is not, so every request is parsed strictly and checked again by the
//! launcher. An answer to `Create` carries the guest's channel as a descriptor. Read next: `launcher/mod.rs`.

use std::time::Duration;

use livery_core::agent::Tier;
use serde::{Deserialize, Serialize};

use crate::config::Spec;
use crate::error::LostReason;
use crate::report::{Grants, TierReport};

/// The largest packet.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Names in one page of [`Request::Workspaces`].
pub(crate) const WORKSPACES_PAGE: usize = 500;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Envelope {
    /// Chosen by the platform; the answer carries it.
    pub(crate) seq: u64,
    pub(crate) request: Request,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) enum Request {
    Create(Box<Spec>),
    /// The waiting sandbox `id` becomes the one of this spec.
    Adopt {
        id: String,
        spec: Box<Spec>,
    },
    Kill {
        id: String,
    },
    Usage {
        id: String,
    },
    RemoveWorkspace {
        id: String,
    },
    Workspaces {
        after: Option<String>,
    },
    Grants,
    Tiers,
    Shutdown,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) enum Message {
    Answer {
        seq: u64,
        answer: Answer,
    },
    Refused {
        seq: u64,
        refusal: Refusal,
    },
    Lost {
        id: String,
        reason: LostReason,
        detail: String,
    },
    Log {
        warning: bool,
        text: String,
    },
    /// From the keeper: the launcher died, and another one is started. No request that came before is answered, and every
    /// sandbox is gone.
    Died {
        how: String,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) enum Answer {
    Created { grants: Grants },
    Adopted,
    Killed(Teardown),
    Usage(Usage),
    Removed,
    Workspaces { ids: Vec<String> },
    Grants(Grants),
    Tiers(Vec<TierReport>),
    ShutDown,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) enum Refusal {
    /// The request itself is wrong.
    Invalid { detail: String },
    /// No sandbox of that id.
    Unknown,
    /// A sandbox of that id is alive.
    Alive,
    /// This host cannot, at this step.
    Failed { step: String, detail: String },
    /// The tier cannot be used here; what to do about it.
    Tier { tier: Tier, detail: String },
    /// Too many already.
    Full { detail: String },
}

/// What was seen after a sandbox was taken down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Teardown {
    /// It was alive when asked; `false` is a second call.
    pub was_alive: bool,
    /// Its process 1 has been waited for, which the kernel allows only once every other process of the sandbox is gone.
    pub processes_gone: bool,
    /// Its cgroups are removed, which the kernel allows only when they are empty. `true` where there were none.
    pub cgroups_removed: bool,
    /// From the request to here.
    pub took: Duration,
    /// What it used.
    pub usage: Usage,
}

/// What a sandbox has used; `None` where this host does not count it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Since creation.
    pub wall: Duration,
    /// Processor time of all its processes.
    pub cpu: Option<Duration>,
    /// Most memory at any time, bytes.
    pub memory_peak_bytes: Option<u64>,
    /// Memory now, bytes.
    pub memory_bytes: Option<u64>,
    /// Most processes at any time.
    pub pids_peak: Option<u64>,
    /// `/workspace` when last measured, bytes.
    pub disk_bytes: Option<u64>,
    /// Commands the kernel killed for memory.
    pub oom_kills: Option<u64>,
}
