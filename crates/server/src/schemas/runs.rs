//! Runs, their events and what they leave behind.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    AppId, ConnectionId, EndUserId, FileId, InlineAgent, OrgId, RunId, ScheduleId, Tier, Time, TriggerId, WebhookId,
    page,
};

/// What to run, on what, and within which limits.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"agent": "invoice-reconcile@3", "input": {"month": "2026-10"}, "metadata": {"ticket": "42"}}))]
pub(crate) struct NewRun {
    #[schema(inline)]
    agent: AgentSource,
    /// What the agent works on; an empty object when absent. At most 1 MiB.
    #[serde(default)]
    #[schema(value_type = Value)]
    input: Option<Value>,
    /// Instead of the agent's own model: `PROVIDER/MODEL`.
    model: Option<String>,
    /// Instead of the agent's own sandbox settings, field by field.
    #[serde(default)]
    #[schema(inline, value_type = SandboxOverride)]
    sandbox: Option<SandboxOverride>,
    /// Instead of what the agent says of its workspace.
    #[serde(default)]
    #[schema(inline, value_type = WorkspaceOverride)]
    workspace: Option<WorkspaceOverride>,
    /// Tighter limits than the agent's own.
    #[serde(default)]
    #[schema(inline, value_type = Limits)]
    limits: Option<Limits>,
    /// Which connection fills which slot.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, ConnectionId>)]
    connections: Option<BTreeMap<String, String>>,
    /// Files laid into `/workspace` under their names.
    #[serde(default)]
    #[schema(value_type = Vec<FileId>, max_items = 100)]
    files: Option<Vec<String>>,
    /// Your own labels: at most 50 keys and 16 KiB.
    #[serde(default)]
    #[schema(value_type = Object)]
    metadata: Option<Map<String, Value>>,
    /// Who is told how it ended.
    #[schema(inline)]
    webhook: Option<RunWebhook>,
    /// Not to be started before this moment, at most 366 days ahead.
    #[schema(value_type = Option<Time>)]
    start_at: Option<String>,
    /// The same as seconds from now; only one of the two.
    #[schema(maximum = 31622400)]
    delay_s: Option<u64>,
}

/// `"name"`, `"name@version-or-tag"`, or the agent itself.
#[derive(ToSchema, Deserialize)]
#[serde(untagged)]
pub(super) enum AgentSource {
    Named(String),
    Inline(InlineAgent),
}

/// Overrides of the agent's `sandbox`.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SandboxOverride {
    /// `container`, `gvisor`, `microvm` or `isolate`: at least as strong as the agent's.
    tier: Option<String>,
    /// Whether a stronger tier may be given.
    or_stronger: Option<bool>,
    /// The image: `host`, or the name of one that the node has, `NAME:TAG` or `NAME@sha256:DIGEST`.
    image: Option<String>,
    /// Cores.
    cpu: Option<f64>,
    /// Memory in MiB.
    memory_mb: Option<u32>,
    /// Workspace size in MiB.
    disk_mb: Option<u32>,
}

/// Overrides of the agent's `workspace`.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WorkspaceOverride {
    /// `end_user`: the run begins with what the last one of its agent and end user left; `none`: with nothing.
    #[schema(inline)]
    persist: Option<Persist>,
}

#[derive(ToSchema, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Persist {
    None,
    EndUser,
}

/// What a run may use up.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    /// Seconds in state `running`.
    #[schema(minimum = 1, maximum = 86400)]
    timeout_s: Option<u64>,
    /// Model calls.
    #[schema(minimum = 1, maximum = 200)]
    max_turns: Option<u32>,
    /// Input and output tokens together.
    max_tokens: Option<u64>,
    /// Dollars, as a number or a decimal string; needs a priced model.
    #[schema(inline)]
    max_cost_usd: Option<Dollars>,
}

#[derive(ToSchema, Deserialize)]
#[serde(untagged)]
enum Dollars {
    Number(f64),
    Text(String),
}

/// A stored endpoint, or an address for this run alone.
#[derive(ToSchema, Deserialize)]
#[serde(untagged)]
enum RunWebhook {
    #[schema(value_type = WebhookId)]
    Endpoint(String),
    Inline(InlineWebhook),
}

#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
struct InlineWebhook {
    /// Where to.
    url: String,
    /// `whsec_…`: what the deliveries are signed with.
    secret: String,
}

/// Where a run stands: `queued → running ⇄ waiting → succeeded | failed | cancelled | timed_out`.
#[derive(ToSchema, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RunStatus {
    Queued,
    Running,
    Waiting,
    Succeeded,
    Failed,
    Cancelled,
    TimedOut,
}

/// One run of an agent.
#[derive(ToSchema)]
pub(crate) struct Run {
    id: RunId,
    status: RunStatus,
    #[schema(inline)]
    agent: RunAgent,
    organization: OrgId,
    application: AppId,
    /// The end user it acts for.
    #[schema(required)]
    end_user: Option<EndUserId>,
    /// What it was started with.
    input: Value,
    /// What it answered, once it succeeded.
    #[schema(value_type = Value)]
    output: Option<Value>,
    /// Why it did not.
    #[schema(required, inline)]
    error: Option<RunError>,
    #[schema(inline)]
    sandbox: RunSandbox,
    /// `PROVIDER/MODEL`. A `scripted/…` model plays a script.
    model: String,
    #[schema(inline)]
    usage: Usage,
    #[schema(inline)]
    cost: Cost,
    /// Files it left behind.
    #[schema(inline)]
    artifacts: Vec<Artifact>,
    /// Your own labels.
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
    /// The last sequence number of its events.
    last_seq: u64,
    created_at: Time,
    /// When a worker first took it.
    #[schema(required)]
    started_at: Option<Time>,
    /// When it ended.
    #[schema(required)]
    finished_at: Option<Time>,
    /// The schedule that started it.
    #[schema(required)]
    schedule: Option<ScheduleId>,
    /// The trigger that started it.
    #[schema(required)]
    trigger: Option<TriggerId>,
    /// Not to be started before.
    #[schema(required)]
    start_at: Option<Time>,
    /// The run it goes on from, and the event after which it does.
    #[schema(required, inline)]
    forked_from: Option<ForkedFrom>,
    /// The run it repeats.
    #[schema(required)]
    replay_of: Option<RunId>,
}

page!(RunPage of Run);

/// Where a fork begins.
#[derive(ToSchema)]
struct ForkedFrom {
    run: RunId,
    seq: u64,
}

/// The agent of a run.
#[derive(ToSchema)]
struct RunAgent {
    name: String,
    /// Null for an inline agent.
    #[schema(required)]
    version: Option<u32>,
}

#[derive(ToSchema)]
struct RunSandbox {
    tier: Tier,
    /// What was demanded of it when the run was accepted; null: nothing.
    #[schema(required)]
    minimum_tier: Option<MinimumTier>,
}

/// A tier that runs have at least, and who says so.
#[derive(ToSchema)]
pub(super) struct MinimumTier {
    tier: Tier,
    demanded_by: Demander,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum Demander {
    Organization,
    Application,
}

/// Why a run failed. Each code has a page at `/docs/errors/{code}`.
#[derive(ToSchema)]
struct RunError {
    /// Stable.
    code: String,
    /// What happened and what to do.
    message: String,
    /// Whether the same request may succeed later.
    retryable: bool,
}

/// What a run used so far.
#[derive(ToSchema)]
pub(super) struct Usage {
    /// All prompt tokens, cached ones included.
    input_tokens: u64,
    /// Of them, read from the provider's cache.
    cached_input_tokens: u64,
    /// Generated tokens, reasoning included.
    output_tokens: u64,
    /// Model calls answered.
    turns: u32,
    /// Tool calls executed.
    tool_calls: u32,
    /// Milliseconds a sandbox stood.
    sandbox_ms: u64,
}

/// What a run cost so far.
#[derive(ToSchema)]
pub(super) struct Cost {
    /// Dollars as a decimal.
    #[schema(pattern = r"^-?\d+\.\d{2,6}$")]
    usd: String,
    #[schema(inline)]
    pricing: Pricing,
}

/// `unpriced`: at least one call had no price, so the figure is a lower bound. `free`: no model was called for money.
#[derive(ToSchema, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Pricing {
    Priced,
    Unpriced,
    Free,
}

/// A file a run left in `/workspace/outputs/`.
#[derive(ToSchema)]
pub(crate) struct Artifact {
    id: FileId,
    /// Below `outputs/`.
    path: String,
    bytes: u64,
}

page!(Artifacts of Artifact);

/// Something that happened in a run.
#[derive(ToSchema)]
pub(crate) struct Event {
    /// From 1, without gaps; also the `id` of the event stream.
    #[schema(minimum = 1)]
    seq: u64,
    run_id: RunId,
    /// `run.queued`, `tool.finished`, …
    #[schema(rename = "type")]
    event_type: String,
    at: Time,
    /// Who did it: `key_…`, `usr_…`, `worker`, `system`.
    actor: String,
    /// SHA-256 of the canonical JSON of `data`, hex. A receipt covers it.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    digest: String,
    /// What is particular to the type; null once it was deleted.
    data: Value,
    /// Present and true when the content was deleted, as the operator's retention says.
    deleted: Option<bool>,
}

/// Events after a sequence number, oldest first.
#[derive(ToSchema)]
pub(crate) struct EventPage {
    data: Vec<Event>,
    /// Ask with `after` this for what follows; null when nothing can follow.
    #[schema(required)]
    next_after: Option<u64>,
    /// The last sequence number of the run now.
    last_seq: u64,
}
