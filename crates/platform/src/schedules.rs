//! Schedules: a run at certain times, in a time zone, with a rule for overlap and one for what was missed.
//!
//! A schedule belongs to its application, not to the key that made it: keys come and go. What it may use is looked at anew
//! at every fire, with the application's eyes.
//!
//! Walk on: `cron` is when in the words of clocks, `timing` when in slots and fires, `fire` the claim of a slot and the run.

mod cron;
mod fire;
mod request;
mod timing;
mod view;

use livery_core::id::{EndUserId, ScheduleId};
use livery_core::{Error, Result, Timestamp};
use livery_store::{Json, ScheduleRow};
use serde_json::json;

pub(crate) use self::fire::keep_time;
pub(crate) use self::request::present;
pub use self::request::{CatchUp, NewSchedule, Overlap, PreviewRequest, SchedulePatch};
use self::timing::Timing;
pub use self::view::{Preview, PreviewedFire, ScheduleView};
use self::view::{Stored, rule_of, view_of, word_of};
use crate::audit::note;
use crate::runs::{Cause, Owner, RunTemplate, StartRun};
use crate::{Caller, Page, PageRequest, Platform, Posted, Principal, Scope};

/// Most schedules of one application.
pub const SCHEDULES_PER_APPLICATION_MAX: u32 = 500;
/// Longest name, in characters.
pub const NAME_CHARS_MAX: usize = 200;
/// Most seconds a fire may be spread over.
pub const JITTER_S_MAX: u32 = 86_400;
/// Most fires of one preview.
pub const PREVIEW_MAX: u32 = 100;

impl Platform {
    /// Creates a schedule of the caller's application. The request is tried out: an agent, input or file that would not do
    /// now is refused now.
    ///
    /// # Errors
    /// Those of [`Platform::start_run`]; [`Error::Invalid`] for a time that never comes or an unknown zone;
    /// [`Error::Conflict`] beyond [`SCHEDULES_PER_APPLICATION_MAX`].
    pub async fn create_schedule(&self, caller: &Caller, new: NewSchedule) -> Result<Posted<ScheduleView>> {
        let principal = &caller.principal;
        principal.require(Scope::SchedulesWrite)?;
        principal.require(Scope::RunsWrite)?;
        if let Some(answered) = self.answered(caller).await? {
            return Ok(answered);
        }
        let end_user = end_user_of(caller, new.on_behalf_of)?;
        let (org, app, now) = (principal.org, principal.app, self.clock.now());
        let id = ScheduleId::from_bits(self.mint());
        let timing = Timing::new(id, &new.cron, &new.time_zone, new.jitter_s)?;
        let next = timing.first_after(now);
        let template = RunTemplate {
            agent: new.agent,
            model: new.model,
            sandbox: new.sandbox,
            limits: new.limits,
            connections: new.connections,
            files: new.files,
            metadata: new.metadata,
            webhook: new.webhook,
        };
        let row = ScheduleRow {
            id,
            org,
            application: app,
            end_user,
            created_by: principal.key,
            name: new.name,
            cron: new.cron,
            time_zone: new.time_zone,
            overlap: word_of(new.overlap)?,
            catch_up: word_of(new.catch_up)?,
            jitter_s: new.jitter_s,
            request: Json::of(&Stored { input: Json::of(&new.input)?, template })?,
            revision: 1,
            paused_at: new.paused.then_some(now),
            pause_reason: None,
            next_slot_at: next.map(|(slot, _)| slot),
            next_fire_at: next.map(|(_, fire)| fire),
            last_slot_at: None,
            last_run: None,
            last_error: None,
            failures: 0,
            created_at: now,
            updated_at: now,
        };
        check_bounds(&row)?;
        self.check_request(&row).await?;
        let (view, actor) = (view_of(row.clone())?, principal.key);
        self.post(caller, move |tx| {
            Box::pin(async move {
                if tx.count_schedules(org, app).await? >= u64::from(SCHEDULES_PER_APPLICATION_MAX) {
                    let detail = format!("an application has at most {SCHEDULES_PER_APPLICATION_MAX} schedules");
                    return Err(Error::Conflict { code: "conflict", detail }.into());
                }
                tx.insert_schedule(&row).await?;
                let data = json!({"schedule": row.id, "cron": row.cron, "time_zone": row.time_zone});
                note(tx, org, "schedule.created", now, actor, data).await?;
                Ok(view)
            })
        })
        .await
    }

    /// The schedules of the caller's application, newest first.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `schedules:read`.
    pub async fn list_schedules(&self, principal: &Principal, page: PageRequest) -> Result<Page<ScheduleView>> {
        principal.require(Scope::SchedulesRead)?;
        Page::try_from_list(self.store.list_schedules(principal.org, principal.app, &page.into()).await?, view_of)
    }

    /// One schedule.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn get_schedule(&self, principal: &Principal, id: ScheduleId) -> Result<ScheduleView> {
        principal.require(Scope::SchedulesRead)?;
        view_of(self.visible_schedule(principal, id).await?)
    }

    /// Changes a schedule. Another time, and an end of a pause, count from now: nothing that was missed fires.
    ///
    /// # Errors
    /// Those of [`Platform::create_schedule`]; [`Error::Conflict`] when somebody else changed it at the same time.
    pub async fn update_schedule(&self, caller: &Caller, id: ScheduleId, patch: SchedulePatch) -> Result<ScheduleView> {
        let principal = &caller.principal;
        principal.require(Scope::SchedulesWrite)?;
        principal.require(Scope::RunsWrite)?;
        let before = self.visible_schedule(principal, id).await?;
        let (org, actor, now) = (principal.org, principal.key, self.clock.now());
        let row = patched(&before, patch, now)?;
        let timing = Timing::new(id, &row.cron, &row.time_zone, row.jitter_s)?;
        check_bounds(&row)?;
        // A schedule whose agent is gone can still be paused.
        if row.request != before.request {
            self.check_request(&row).await?;
        }
        let moved = (&row.cron, &row.time_zone, row.jitter_s) != (&before.cron, &before.time_zone, before.jitter_s);
        let resumed = before.paused_at.is_some() && row.paused_at.is_none();
        // A clock that went back must not bring a slot a second time.
        let next =
            (moved || resumed).then(|| timing.first_after(before.last_slot_at.map_or(now, |last| last.max(now))));
        self.store
            .write(move |tx| {
                Box::pin(async move {
                    if !tx.update_schedule(&row).await? {
                        let detail = "the schedule was changed at the same time; look at it and try again".to_owned();
                        return Err(Error::Conflict { code: "conflict", detail }.into());
                    }
                    if let Some(next) = next {
                        tx.move_schedule(org, id, next).await?;
                    }
                    note(tx, org, "schedule.updated", now, actor, json!({"schedule": id})).await
                })
            })
            .await?;
        view_of(self.visible_schedule(principal, id).await?)
    }

    /// Deletes a schedule. Runs it started go on.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn delete_schedule(&self, caller: &Caller, id: ScheduleId) -> Result<()> {
        let principal = &caller.principal;
        principal.require(Scope::SchedulesWrite)?;
        self.visible_schedule(principal, id).await?;
        let (org, actor, now) = (principal.org, principal.key, self.clock.now());
        self.store
            .write(move |tx| {
                Box::pin(async move {
                    tx.delete_schedule(org, id).await?;
                    note(tx, org, "schedule.deleted", now, actor, json!({"schedule": id})).await
                })
            })
            .await?;
        Ok(())
    }

    /// When an expression fires, so that a person can look before the clocks change.
    ///
    /// # Errors
    /// [`Error::Invalid`], as for a schedule.
    pub fn preview_schedule(&self, principal: &Principal, request: &PreviewRequest) -> Result<Preview> {
        principal.require(Scope::SchedulesRead)?;
        let timing = Timing::new(ScheduleId::from_bits(0), &request.cron, &request.time_zone, 0)?;
        let after = request.after.unwrap_or_else(|| self.clock.now());
        let count = usize::try_from(request.count.min(PREVIEW_MAX)).unwrap_or(usize::MAX);
        let data = timing.preview(after, count).into_iter().map(|(at, local)| PreviewedFire { at, local }).collect();
        Ok(Preview { data })
    }

    async fn visible_schedule(&self, principal: &Principal, id: ScheduleId) -> Result<ScheduleRow> {
        let row = self.store.get_schedule(principal.org, id).await?;
        row.filter(|row| principal.sees(row.application)).ok_or(Error::NotFound { what: "schedule" })
    }

    /// Whether a fire would start a run now.
    async fn check_request(&self, row: &ScheduleRow) -> Result<()> {
        self.prepare_run(&self.caller_for(owner_of(row)), &request_of(row)?, &Cause::default()).await.map(drop)
    }
}

fn check_bounds(row: &ScheduleRow) -> Result<()> {
    if row.name.trim().is_empty() || row.name.chars().count() > NAME_CHARS_MAX {
        return Err(Error::invalid_field("/name", format!("1 to {NAME_CHARS_MAX} characters")));
    }
    if row.jitter_s > JITTER_S_MAX {
        return Err(Error::invalid_field("/jitter_s", format!("at most {JITTER_S_MAX}")));
    }
    Ok(())
}

/// The end user named in the body or in the header field.
pub(crate) fn end_user_of(caller: &Caller, named: Option<EndUserId>) -> Result<Option<EndUserId>> {
    if named.is_some() {
        caller.principal.require(Scope::EndUsersAct)?;
    }
    match (named, caller.on_behalf_of) {
        (Some(named), Some(header)) if named != header => {
            Err(Error::invalid_field("/on_behalf_of", "another end user than that of Livery-On-Behalf-Of"))
        }
        (named, header) => Ok(named.or(header)),
    }
}

fn patched(before: &ScheduleRow, patch: SchedulePatch, now: Timestamp) -> Result<ScheduleRow> {
    let mut row = before.clone();
    let Stored { mut input, mut template } = before.request.parse()?;
    let set = |field: &mut String, value: Option<String>| *field = value.unwrap_or_else(|| std::mem::take(field));
    set(&mut row.name, patch.name);
    set(&mut row.cron, patch.cron);
    set(&mut row.time_zone, patch.time_zone);
    set(&mut row.overlap, patch.overlap.map(word_of).transpose()?);
    set(&mut row.catch_up, patch.catch_up.map(word_of).transpose()?);
    set(&mut template.agent, patch.agent);
    row.jitter_s = patch.jitter_s.unwrap_or(row.jitter_s);
    if let Some(value) = patch.input {
        input = Json::of(&value)?;
    }
    template.model = patch.model.unwrap_or(template.model);
    template.sandbox = patch.sandbox.unwrap_or(template.sandbox);
    template.limits = patch.limits.unwrap_or(template.limits);
    template.connections = patch.connections.unwrap_or(template.connections);
    template.files = patch.files.unwrap_or(template.files);
    template.metadata = patch.metadata.unwrap_or(template.metadata);
    template.webhook = patch.webhook.unwrap_or(template.webhook);
    row.request = Json::of(&Stored { input, template })?;
    match patch.paused {
        Some(true) => row.paused_at = row.paused_at.or(Some(now)),
        Some(false) => (row.paused_at, row.pause_reason, row.failures) = (None, None, 0),
        None => {}
    }
    row.updated_at = now;
    Ok(row)
}

fn owner_of(row: &ScheduleRow) -> Owner {
    Owner { org: row.org, application: row.application, end_user: row.end_user, created_by: row.created_by }
}

fn request_of(row: &ScheduleRow) -> Result<StartRun> {
    let Stored { input, template } = row.request.parse()?;
    Ok(template.with_input(input.parse()?))
}
