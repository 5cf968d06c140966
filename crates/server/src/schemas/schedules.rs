//! Schedules and their previews.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::runs::{Limits, SandboxOverride};
use super::{AppId, ConnectionId, EndUserId, FileId, KeyId, OrgId, RunId, ScheduleId, Time, WebhookId, page};

/// What to run, and when.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Month's end", "agent": "invoice-reconcile", "input": {"month": "2026-10"}, "cron": "30 8 1 * *", "time_zone": "Europe/Vienna"}))]
pub(crate) struct NewSchedule {
    /// A label for people.
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// `name` or `name@version-or-tag` of a stored agent; without a version, the latest at the time.
    agent: String,
    /// The input of every run; an empty object when absent.
    #[serde(default)]
    #[schema(value_type = Value)]
    input: Option<Value>,
    /// Minute, hour, day of month, month, day of week; or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.
    #[schema(max_length = 256)]
    cron: String,
    /// An IANA time zone.
    time_zone: String,
    #[serde(default)]
    #[schema(inline)]
    overlap: Option<Overlap>,
    /// Spreads fires over this many seconds after their time, never past the next.
    #[serde(default)]
    #[schema(value_type = u32, maximum = 86400)]
    jitter_s: Option<u32>,
    #[serde(default)]
    #[schema(inline)]
    catch_up: Option<CatchUp>,
    /// The end user the runs act for; needs the scope `end_users:act`.
    #[schema(value_type = Option<EndUserId>)]
    on_behalf_of: Option<String>,
    /// Created without firing.
    #[serde(default)]
    #[schema(value_type = bool)]
    paused: Option<bool>,
    /// As in a run.
    model: Option<String>,
    /// As in a run.
    #[serde(default)]
    #[schema(inline, value_type = SandboxOverride)]
    sandbox: Option<SandboxOverride>,
    /// As in a run.
    #[serde(default)]
    #[schema(inline, value_type = Limits)]
    limits: Option<Limits>,
    /// As in a run.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, ConnectionId>)]
    connections: Option<BTreeMap<String, String>>,
    /// As in a run.
    #[serde(default)]
    #[schema(value_type = Vec<FileId>, max_items = 100)]
    files: Option<Vec<String>>,
    /// As in a run.
    #[serde(default)]
    #[schema(value_type = Object)]
    metadata: Option<Map<String, Value>>,
    /// The endpoint that is told how a run ended.
    #[schema(value_type = Option<WebhookId>)]
    webhook: Option<String>,
}

/// What a fire does while a run of the schedule is under way: nothing (`skip`), start one that waits for its turn
/// (`queue`, at most 10), or cancel that run and start another (`replace`).
#[derive(ToSchema, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Overlap {
    Skip,
    Queue,
    Replace,
}

/// What becomes of times nobody was there for: they are skipped and noted (`none`), or one run is started for the newest
/// of them (`last`).
#[derive(ToSchema, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CatchUp {
    None,
    Last,
}

/// What should change. What is absent stays.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"paused": true}))]
pub(crate) struct SchedulePatch {
    #[schema(min_length = 1, max_length = 200)]
    name: Option<String>,
    agent: Option<String>,
    #[schema(value_type = Value)]
    input: Option<Value>,
    #[schema(max_length = 256)]
    cron: Option<String>,
    time_zone: Option<String>,
    #[schema(inline)]
    overlap: Option<Overlap>,
    #[schema(maximum = 86400)]
    jitter_s: Option<u32>,
    #[schema(inline)]
    catch_up: Option<CatchUp>,
    /// Stops it, or lets it go on from now: nothing that was missed meanwhile fires.
    paused: Option<bool>,
    /// Null: the agent's own.
    model: Option<String>,
    #[schema(inline)]
    sandbox: Option<SandboxOverride>,
    #[schema(inline)]
    limits: Option<Limits>,
    #[schema(value_type = Option<BTreeMap<String, ConnectionId>>)]
    connections: Option<BTreeMap<String, String>>,
    #[schema(value_type = Option<Vec<FileId>>, max_items = 100)]
    files: Option<Vec<String>>,
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
    /// Null: none.
    #[schema(value_type = Option<WebhookId>)]
    webhook: Option<String>,
}

/// A schedule.
#[derive(ToSchema)]
pub(crate) struct Schedule {
    id: ScheduleId,
    name: String,
    cron: String,
    time_zone: String,
    #[schema(inline)]
    overlap: Overlap,
    #[schema(inline)]
    catch_up: CatchUp,
    jitter_s: u32,
    paused: bool,
    /// Why, when it paused by itself.
    #[schema(required)]
    pause_reason: Option<String>,
    input: Value,
    agent: String,
    #[schema(required)]
    model: Option<String>,
    #[schema(inline)]
    sandbox: SandboxOverride,
    #[schema(inline)]
    limits: Limits,
    connections: BTreeMap<String, ConnectionId>,
    files: Vec<FileId>,
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
    #[schema(required)]
    webhook: Option<WebhookId>,
    #[schema(required)]
    on_behalf_of: Option<EndUserId>,
    organization: OrgId,
    #[schema(required)]
    application: Option<AppId>,
    /// The key that created it. The schedule goes on without it.
    created_by: KeyId,
    /// The next fire, its jitter included; null while paused, or when there is none.
    #[schema(required)]
    next_fire_at: Option<Time>,
    /// The last time the expression names that was dealt with.
    #[schema(required)]
    last_slot_at: Option<Time>,
    #[schema(required)]
    last_run: Option<RunId>,
    /// Why the last fire started no run.
    #[schema(required)]
    last_error: Option<String>,
    /// Fires in a row that failed; the tenth pauses the schedule.
    failures: u32,
    created_at: Time,
    updated_at: Time,
}

page!(SchedulePage of Schedule);

/// When an expression fires.
#[derive(ToSchema)]
pub(crate) struct Preview {
    /// In order, without jitter.
    #[schema(inline)]
    data: Vec<PreviewedFire>,
}

#[derive(ToSchema)]
struct PreviewedFire {
    at: Time,
    /// What the wall clock in the zone shows then, with its offset.
    local: String,
}
