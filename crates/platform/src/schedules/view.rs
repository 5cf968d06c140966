//! A schedule as callers see it, and how its request is kept.

use livery_core::id::{AppId, EndUserId, KeyId, OrgId, RunId, ScheduleId};
use livery_core::{Error, Result, Timestamp};
use livery_store::{Json, ScheduleRow};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CatchUp, Overlap};
use crate::runs::RunTemplate;

/// A schedule.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScheduleView {
    /// Its id.
    pub id: ScheduleId,
    /// A label for people.
    pub name: String,
    /// When.
    pub cron: String,
    /// In which zone.
    pub time_zone: String,
    /// What a fire does while a run is under way.
    pub overlap: Overlap,
    /// What becomes of slots nobody was there for.
    pub catch_up: CatchUp,
    /// Seconds a fire is spread over.
    pub jitter_s: u32,
    /// Whether it does not fire.
    pub paused: bool,
    /// Why, when it paused by itself.
    pub pause_reason: Option<String>,
    /// Every run's input.
    pub input: Json,
    /// What is started.
    #[serde(flatten)]
    pub template: RunTemplate,
    /// The end user the runs act for.
    pub on_behalf_of: Option<EndUserId>,
    /// The tenant.
    pub organization: OrgId,
    /// The application the runs belong to.
    pub application: Option<AppId>,
    /// The key that created it.
    pub created_by: KeyId,
    /// The next fire, its jitter included; null while paused, or when there is none.
    pub next_fire_at: Option<Timestamp>,
    /// The last slot that was dealt with.
    pub last_slot_at: Option<Timestamp>,
    /// The last run it started.
    pub last_run: Option<RunId>,
    /// Why the last fire started none.
    pub last_error: Option<String>,
    /// Fires in a row that failed.
    pub failures: u32,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// When an expression fires.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preview {
    /// In order, without jitter.
    pub data: Vec<PreviewedFire>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PreviewedFire {
    /// The moment.
    pub at: Timestamp,
    /// What the wall clock in the zone shows then, with its offset.
    pub local: String,
}

/// What the row keeps as JSON: the template and the input.
#[derive(Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) input: Json,
    pub(super) template: RunTemplate,
}

/// A rule's name, as the API and the row have it.
pub(super) fn word_of(rule: impl Serialize) -> Result<String> {
    match serde_json::to_value(rule) {
        Ok(Value::String(word)) => Ok(word),
        other => Err(Error::internal(format!("a rule is no word: {other:?}"))),
    }
}

/// The rule of a stored name.
pub(super) fn rule_of<T: for<'de> Deserialize<'de>>(word: &str) -> Result<T> {
    serde_json::from_value(Value::String(word.to_owned())).map_err(Error::internal)
}

pub(super) fn view_of(row: ScheduleRow) -> Result<ScheduleView> {
    let Stored { input, template } = row.request.parse()?;
    Ok(ScheduleView {
        id: row.id,
        overlap: rule_of(&row.overlap)?,
        catch_up: rule_of(&row.catch_up)?,
        name: row.name,
        cron: row.cron,
        time_zone: row.time_zone,
        jitter_s: row.jitter_s,
        paused: row.paused_at.is_some(),
        pause_reason: row.pause_reason,
        input,
        template,
        on_behalf_of: row.end_user,
        organization: row.org,
        application: row.application,
        created_by: row.created_by,
        next_fire_at: row.next_fire_at.filter(|_| row.paused_at.is_none()),
        last_slot_at: row.last_slot_at,
        last_run: row.last_run,
        last_error: row.last_error,
        failures: row.failures,
        created_at: row.created_at,
        updated_at: row.updated_at,
    })
}
