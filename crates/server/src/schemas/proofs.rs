//! What shows that a run happened as its log says.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::runs::{Cost, MinimumTier, Usage};
use super::{AppId, EndUserId, OrgId, RunId, RunStatus, Time};

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
    Live,
}

/// Where to go on from, and what to change.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"from_seq": 12, "model": "openai/gpt-5-mini"}))]
pub(crate) struct ForkRun {
    /// After which event.
    #[schema(minimum = 1)]
    from_seq: u64,
    /// Another input; only before the first model call.
    #[serde(default)]
    #[schema(value_type = Value)]
    input: Option<Value>,
    /// Another model from there on: `PROVIDER/MODEL`.
    model: Option<String>,
    /// Another agent from there on.
    #[schema(inline)]
    agent: Option<super::runs::AgentSource>,
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

/// A signed receipt, in canonical JSON: members sorted, no white space.
#[derive(ToSchema)]
pub(crate) struct Receipt {
    #[schema(inline)]
    receipt: Statement,
    #[schema(inline)]
    signature: Signature,
}

/// What is signed: `livery-receipt-1`, a line feed, and this object as canonical JSON. Digests are SHA-256 over canonical
/// JSON, hex.
#[derive(ToSchema)]
struct Statement {
    /// Of this shape: 1.
    version: u32,
    /// The version of Livery that made it.
    livery: String,
    run: RunId,
    organization: OrgId,
    #[schema(required)]
    application: Option<AppId>,
    #[schema(required)]
    end_user: Option<EndUserId>,
    status: RunStatus,
    #[schema(inline)]
    agent: AgentStatement,
    model: String,
    #[schema(inline)]
    sandbox: SandboxStatement,
    #[schema(inline)]
    policy: PolicyStatement,
    input_sha256: String,
    #[schema(required)]
    output_sha256: Option<String>,
    #[schema(required, inline)]
    error: Option<ErrorStatement>,
    #[schema(inline)]
    log: LogStatement,
    #[schema(inline)]
    usage: Usage,
    #[schema(inline)]
    cost: Cost,
    created_at: Time,
    #[schema(required)]
    started_at: Option<Time>,
    finished_at: Time,
}

#[derive(ToSchema)]
struct AgentStatement {
    name: String,
    #[schema(required)]
    version: Option<u32>,
    /// The digest of the agent's folder.
    sha256: String,
}

#[derive(ToSchema)]
struct SandboxStatement {
    tier: String,
    /// What was demanded of it when the run was accepted; absent: nothing.
    minimum_tier: Option<MinimumTier>,
}

/// The digest of nothing while there are no policies.
#[derive(ToSchema)]
struct PolicyStatement {
    sha256: String,
    note: String,
}

#[derive(ToSchema)]
struct ErrorStatement {
    code: String,
    sha256: String,
}

/// The head of the run's log.
#[derive(ToSchema)]
struct LogStatement {
    /// `livery-log-1`.
    scheme: String,
    /// How many events.
    events: u64,
    /// The chained digest over the headers of all of them.
    head: String,
    /// Beginnings of the heads between, by which a difference is located.
    marks: Vec<String>,
    /// Events from one mark to the next.
    mark_every: u64,
}

#[derive(ToSchema)]
struct Signature {
    /// `ed25519`.
    algorithm: String,
    key_id: String,
    /// Standard base64.
    value: String,
}

/// A public key of receipts.
#[derive(ToSchema)]
pub(crate) struct ReceiptKey {
    /// `rk_` and the first 16 hex digits of the SHA-256 of the key's bytes.
    id: String,
    /// `ed25519`.
    algorithm: String,
    /// 32 bytes, standard base64.
    public_key: String,
    /// Whether new receipts are signed with it.
    current: bool,
    created_at: Time,
}

/// Every public key of receipts.
#[derive(ToSchema)]
pub(crate) struct ReceiptKeys {
    /// Newest first.
    #[schema(inline)]
    data: Vec<ReceiptKey>,
}
