//! What an operator can set for the engine. `livery` fills it from flags and environment; nothing below reads either.

use std::path::PathBuf;
use std::time::Duration;

use crate::Roles;
use crate::objects::Place;
use crate::retention::Retain;
use crate::traces::Traces;

/// Limits and places of one node. Every queue and wait of the engine has its number here.
#[derive(Debug, Clone)]
pub struct Config {
    /// The data directory: database, files, workspaces.
    pub data_dir: PathBuf,
    /// This node's name, for people; what leases say is the id in its data directory.
    pub node: String,
    /// What this node does.
    pub roles: Roles,
    /// Where files are kept: the data directory, a folder that all nodes share, or a bucket.
    pub objects: Place,
    /// Whether copies of workspaces are kept there after each step that may have changed one, so that another node, or this
    /// one without its data directory, can go on with them.
    pub snapshots: bool,
    /// What the snapshots of one application's workspaces may have together, in bytes.
    pub workspace_bytes_max: u64,
    /// Where its API listens, for the list of nodes.
    pub address: Option<String>,
    /// Where browsers reach the API, `https://HOST[:PORT]` without a path: where authorization servers send people back.
    pub public_url: Option<String>,
    /// Runs a node works on at a time; the rest stay queued.
    pub concurrent_runs_max: usize,
    /// Model calls and tools performed at a time within one run.
    pub parallel_tools_max: usize,
    /// How long a lease lasts without a heartbeat.
    pub lease: Duration,
    /// How often leases are renewed.
    pub heartbeat: Duration,
    /// How often a poisoned run may be recovered before it fails as `internal`.
    pub recoveries_max: u32,
    /// The longest silence of a model stream.
    pub model_idle: Duration,
    /// The longest wait for a model's first byte.
    pub model_first_byte: Duration,
    /// One attempt of a webhook delivery.
    pub webhook_timeout: Duration,
    /// How long things are kept.
    pub retain: Retain,
    /// Where traces go.
    pub traces: Traces,
    /// How long running work may take to stop at shutdown.
    pub drain: Duration,
    /// Where this process dies on demand; tests of recovery set it.
    #[cfg(debug_assertions)]
    pub crash: crate::crash::CrashPlan,
}

impl Config {
    /// The defaults for a data directory.
    pub fn new(data_dir: PathBuf, node: String) -> Self {
        Self {
            node,
            roles: Roles::ALL,
            objects: Place::Folder(data_dir.clone()),
            snapshots: false,
            workspace_bytes_max: crate::workspaces::APPLICATION_BYTES_MAX,
            address: None,
            public_url: None,
            data_dir,
            concurrent_runs_max: 1000,
            parallel_tools_max: 8,
            lease: Duration::from_secs(8),
            heartbeat: Duration::from_secs(2),
            recoveries_max: 5,
            model_idle: Duration::from_secs(300),
            model_first_byte: Duration::from_secs(120),
            webhook_timeout: Duration::from_secs(15),
            retain: Retain::default(),
            traces: Traces::default(),
            drain: Duration::from_secs(20),
            #[cfg(debug_assertions)]
            crash: crate::crash::CrashPlan::default(),
        }
    }
}
