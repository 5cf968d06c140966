//! Replay: a finished run once more, from its log alone (`recorded`), or anew with today's agent (`live`).
//!
//! [`recorded`] reads the log and hands it to `harness::replay`, which has neither broker nor sandboxes: whatever a run did to
//! the world, its replay cannot do again.

mod recorded;

pub use livery_harness::replay::bundle::{BUNDLE_BYTES_MAX, Bundle};
pub use livery_harness::replay::{Divergence, DivergenceKind, Verdict};
pub use recorded::{REPLAY_BYTES_MAX, REPLAY_EVENTS_MAX, ReplayReport};

use serde::Deserialize;

/// `POST /v1/runs/{id}/replay`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayRun {
    /// How.
    pub mode: ReplayMode,
}

/// How a run is replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayMode {
    /// From its log, without any effect; answers with a report.
    Recorded,
    /// Anew, with today's version of the agent; answers with the new run.
    Live,
}
