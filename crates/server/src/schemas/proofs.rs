//! What shows that a run happened as its log says.

use std::collections::BTreeSet;

use serde::Deserialize;
use utoipa::ToSchema;

use super::RunId;

/// How a run is replayed.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"mode": "recorded"}))]
pub(crate) struct ReplayRun {
    #[schema(inline)]
    mode: ReplayMode,
}

#[derive(ToSchema, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ReplayMode {
    Recorded,
}

/// What a recorded replay found.
#[derive(ToSchema)]
pub(crate) struct ReplayReport {
    run: RunId,
    #[schema(inline)]
    result: Verdict,
    /// Model turns that were asked for again.
    steps: u32,
    /// Inputs that were decided again.
    decisions: u32,
    /// Events of the log.
    events: u64,
    /// Events whose data was compared with what was decided.
    compared_events: u64,
    /// With `incomplete`: the first event whose payload was deleted.
    missing_seq: Option<u64>,
    /// What the log of an older version does not hold, and so was not compared.
    unchecked: BTreeSet<String>,
    #[schema(inline)]
    divergence: Option<Divergence>,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum Verdict {
    Identical,
    Diverged,
    Incomplete,
}

/// The first difference.
#[derive(ToSchema)]
struct Divergence {
    #[schema(inline)]
    kind: DivergenceKind,
    /// The model turn; 0 before the first.
    step: u32,
    /// The event.
    seq: u64,
    event_type: String,
    /// JSON pointer to the value that differs.
    pointer: Option<String>,
    /// The first byte that differs, in the canonical JSON of the event's data.
    byte: Option<u64>,
    /// What the replay has there, at most 200 bytes.
    expected: String,
    /// What the log has there, at most 200 bytes.
    found: String,
    /// In words.
    detail: String,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum DivergenceKind {
    PayloadAltered,
    PayloadUnreadable,
    PromptDiffers,
    DecisionDiffers,
}
