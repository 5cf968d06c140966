//! Schedules of a tenant, the claim of a slot, and the runs that wait behind another of the same schedule.
//!
//! A slot is a moment a schedule's expression names; its fire is the slot and a little jitter. Whoever claims a slot moves
//! the schedule to the next one in the same statement, so of many nodes one fires. Which slots there are, `platform` works
//! out: here they are numbers.

use livery_core::Timestamp;
use livery_core::id::{AppId, EndUserId, KeyId, OrgId, RunId, ScheduleId};

use crate::error::{Error, Result};
use crate::json::Json;
use crate::page::{List, Page, Position, Scope};
use crate::reader::Lane;
use crate::sql::{FromRow, Row, args, statements};
use crate::store::Store;
use crate::tx::Tx;

/// Longest kept description of why a fire failed; longer ones are cut.
const ERROR_CHARS_MAX: usize = 500;
/// Schedules one look at what may go on releases a run of.
const RELEASE_MAX: u32 = 256;

/// The columns of [`ScheduleRow`], in its order.
macro_rules! schedule_columns {
    () => {
        "id, org_id, application_id, end_user_id, created_by, name, cron, time_zone, overlap, catch_up, jitter_s, request, \
         revision, paused_at, pause_reason, next_slot_at, next_fire_at, last_slot_at, last_run_id, last_error, failures, \
         created_at, updated_at"
    };
}

statements! {
    INSERT = concat!("insert into schedules (", schedule_columns!(), ")
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)");
    GET = concat!("select ", schedule_columns!(), " from schedules where org_id = $1 and id = $2");
    LIST = concat!("select ", schedule_columns!(), " from schedules where org_id = $1 and (created_at, id) < ($2, $3)
        and (application_id = $4 or $4 is null) order by created_at desc, id desc limit $5");
    COUNT = "select count(*) from schedules where org_id = $1 and (application_id = $2 or $2 is null)";
    /// What the owner may change. Where the schedule stands is the claim's and stays.
    UPDATE = "update schedules set name = $4, cron = $5, time_zone = $6, overlap = $7, catch_up = $8, jitter_s = $9,
        request = $10, paused_at = $11, pause_reason = $12, failures = $13, updated_at = $14, revision = revision + 1
        where org_id = $1 and id = $2 and revision = $3";
    MOVE = "update schedules set next_slot_at = $3, next_fire_at = $4 where org_id = $1 and id = $2";
    DELETE = "delete from schedules where org_id = $1 and id = $2";
    DUE = concat!("select ", schedule_columns!(), " from schedules where paused_at is null and next_fire_at is not null
        and next_fire_at <= $1 order by next_fire_at, id limit $2");
    NEXT_DUE = "select min(next_fire_at) from schedules where paused_at is null and next_fire_at is not null";
    CLAIM = "update schedules set last_slot_at = $5, next_slot_at = $6, next_fire_at = $7
        where org_id = $1 and id = $2 and revision = $3 and next_slot_at = $4 and paused_at is null";
    /// Takes the row without changing it: two writers that look at its runs come one after the other.
    LOCK = "update schedules set updated_at = updated_at where org_id = $1 and id = $2";
    STARTED = "update schedules set last_run_id = $3, last_error = null, failures = 0 where org_id = $1 and id = $2";
    FAILED = "update schedules set last_error = $3, failures = failures + 1,
        pause_reason = case when failures + 1 >= $4 then $3 else pause_reason end,
        paused_at = case when failures + 1 >= $4 then $5 else paused_at end
        where org_id = $1 and id = $2 returning case when paused_at is null then 0 else 1 end";
    LIVE_RUNS = "select id from runs where org_id = $1 and schedule_id = $2 and status in ('queued', 'running', 'waiting')
        and schedule_id is not null order by id limit $3";
    HOLD = "insert into schedule_holds (run_id, org_id, schedule_id) values ($1, $2, $3)";
    COUNT_HELD = "select count(*) from schedule_holds where org_id = $1 and schedule_id = $2";
    COUNT_HOLDS = "select count(*) from schedule_holds";
    /// The oldest waiting run of each schedule that has no other run under way.
    RELEASABLE = "select h.org_id, h.run_id from schedule_holds h
        where h.run_id = (select min(x.run_id) from schedule_holds x
            where x.org_id = h.org_id and x.schedule_id = h.schedule_id)
        and not exists (select 1 from runs r where r.org_id = h.org_id and r.schedule_id = h.schedule_id
            and r.schedule_id is not null and r.status in ('queued', 'running', 'waiting')
            and not exists (select 1 from schedule_holds y where y.run_id = r.id))
        limit $1";
    RELEASE = "delete from schedule_holds where org_id = $1 and run_id = $2";
}

/// A schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduleRow {
    /// Its id.
    pub id: ScheduleId,
    /// The tenant.
    pub org: OrgId,
    /// The application its runs belong to.
    pub application: Option<AppId>,
    /// The end user its runs act for.
    pub end_user: Option<EndUserId>,
    /// The key that created it.
    pub created_by: KeyId,
    /// A label for people.
    pub name: String,
    /// When, as the owner wrote it.
    pub cron: String,
    /// In which zone (IANA).
    pub time_zone: String,
    /// What a fire does while a run of it is under way.
    pub overlap: String,
    /// What becomes of slots nobody was there for.
    pub catch_up: String,
    /// Most seconds between a slot and its fire.
    pub jitter_s: u32,
    /// What is started.
    pub request: Json,
    /// Counts the owner's changes.
    pub revision: u64,
    /// Since when it does not fire.
    pub paused_at: Option<Timestamp>,
    /// Why, when nobody asked for it.
    pub pause_reason: Option<String>,
    /// The next slot; `None`: there is none any more.
    pub next_slot_at: Option<Timestamp>,
    /// When that slot fires.
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
    /// When its owner changed it last.
    pub updated_at: Timestamp,
}

impl FromRow for ScheduleRow {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self {
            id: row.take()?,
            org: row.take()?,
            application: row.take()?,
            end_user: row.take()?,
            created_by: row.take()?,
            name: row.take()?,
            cron: row.take()?,
            time_zone: row.take()?,
            overlap: row.take()?,
            catch_up: row.take()?,
            jitter_s: row.take()?,
            request: row.take()?,
            revision: row.take()?,
            paused_at: row.take()?,
            pause_reason: row.take()?,
            next_slot_at: row.take()?,
            next_fire_at: row.take()?,
            last_slot_at: row.take()?,
            last_run: row.take()?,
            last_error: row.take()?,
            failures: row.take()?,
            created_at: row.take()?,
            updated_at: row.take()?,
        })
    }

    fn weight(&self) -> usize {
        self.request.as_str().len()
    }
}

/// A step of a schedule: the slot dealt with, and where it goes from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The slot the schedule stood at.
    pub expected: Timestamp,
    /// The newest slot dealt with: the same, or a later one when slots were missed.
    pub dealt: Timestamp,
    /// The next slot and its fire.
    pub next: Option<(Timestamp, Timestamp)>,
}

impl Tx {
    /// A new schedule.
    ///
    /// # Errors
    /// `NotFound` for an application or end user that is not of this tenant.
    pub async fn insert_schedule(&mut self, row: &ScheduleRow) -> Result<()> {
        let args = args![
            row.id,
            row.org,
            row.application,
            row.end_user,
            row.created_by,
            &row.name,
            &row.cron,
            &row.time_zone,
            &row.overlap,
            &row.catch_up,
            row.jitter_s,
            &row.request,
            row.revision,
            row.paused_at,
            &row.pause_reason,
            row.next_slot_at,
            row.next_fire_at,
            row.last_slot_at,
            row.last_run,
            &row.last_error,
            row.failures,
            row.created_at,
            row.updated_at,
        ];
        self.execute(INSERT, args).await.map(drop)
    }

    /// How many schedules the tenant has, of one application or in all, for its limit.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn count_schedules(&mut self, org: OrgId, app: Option<AppId>) -> Result<u64> {
        Ok(self.fetch_optional::<(u64,)>(COUNT, args![org, app]).await?.map_or(0, |(count,)| count))
    }

    /// Writes what the owner changed, unless somebody changed it since `row` was read (`row.revision` is the one read).
    /// Slots stay as they are.
    ///
    /// # Errors
    /// Those of the database. `false`: it changed in between, or is gone.
    pub async fn update_schedule(&mut self, row: &ScheduleRow) -> Result<bool> {
        let args = args![
            row.org,
            row.id,
            row.revision,
            &row.name,
            &row.cron,
            &row.time_zone,
            &row.overlap,
            &row.catch_up,
            row.jitter_s,
            &row.request,
            row.paused_at,
            &row.pause_reason,
            row.failures,
            row.updated_at,
        ];
        Ok(self.execute(UPDATE, args).await? == 1)
    }

    /// Sets the next slot and its fire, after the owner changed when it fires.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn move_schedule(
        &mut self,
        org: OrgId,
        schedule: ScheduleId,
        next: Option<(Timestamp, Timestamp)>,
    ) -> Result<()> {
        let (slot, fire) = next.unzip();
        self.execute(MOVE, args![org, schedule, slot, fire]).await.map(drop)
    }

    /// Deletes a schedule. Its runs stay.
    ///
    /// # Errors
    /// `NotFound` without that schedule in this tenant.
    pub async fn delete_schedule(&mut self, org: OrgId, schedule: ScheduleId) -> Result<()> {
        match self.execute(DELETE, args![org, schedule]).await? {
            0 => Err(Error::NotFound { what: "schedule" }),
            _ => Ok(()),
        }
    }

    /// Takes a slot and moves on, unless another node did, or the owner changed or paused the schedule since `revision`
    /// was read. Whoever got `true` has the row to itself until its transaction ends.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn claim_schedule(
        &mut self,
        org: OrgId,
        schedule: ScheduleId,
        revision: u64,
        slot: Slot,
    ) -> Result<bool> {
        let (next_slot, next_fire) = slot.next.unzip();
        let args = args![org, schedule, revision, slot.expected, slot.dealt, next_slot, next_fire];
        Ok(self.execute(CLAIM, args).await? == 1)
    }

    /// Takes the row until the transaction ends, for a run that is started out of turn.
    ///
    /// # Errors
    /// `NotFound` without that schedule in this tenant.
    pub async fn lock_schedule(&mut self, org: OrgId, schedule: ScheduleId) -> Result<()> {
        match self.execute(LOCK, args![org, schedule]).await? {
            0 => Err(Error::NotFound { what: "schedule" }),
            _ => Ok(()),
        }
    }

    /// Notes the run a schedule started last.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn note_schedule_run(&mut self, org: OrgId, schedule: ScheduleId, run: RunId) -> Result<()> {
        self.execute(STARTED, args![org, schedule, run]).await.map(drop)
    }

    /// Notes why a fire started nothing; the `pause_at`th such in a row pauses the schedule. Whether it is paused now.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn note_schedule_failure(
        &mut self,
        org: OrgId,
        schedule: ScheduleId,
        error: &str,
        pause_at: u32,
        now: Timestamp,
    ) -> Result<bool> {
        let error: String = error.chars().take(ERROR_CHARS_MAX).collect();
        let args = args![org, schedule, error, pause_at, now];
        Ok(self.fetch_optional::<(bool,)>(FAILED, args).await?.is_some_and(|(paused,)| paused))
    }

    /// Runs of a schedule that are not over, oldest first, at most `max`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn live_schedule_runs(&mut self, org: OrgId, schedule: ScheduleId, max: u32) -> Result<Vec<RunId>> {
        let runs: Vec<(RunId,)> = self.fetch_all(LIVE_RUNS, args![org, schedule, max]).await?;
        Ok(runs.into_iter().map(|(run,)| run).collect())
    }

    /// Lets an accepted run wait until the schedule has no other under way, instead of putting it into the queue.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn hold_schedule_run(&mut self, org: OrgId, schedule: ScheduleId, run: RunId) -> Result<()> {
        self.execute(HOLD, args![run, org, schedule]).await.map(drop)
    }

    /// Runs of the schedule that wait so.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn count_held_runs(&mut self, org: OrgId, schedule: ScheduleId) -> Result<u64> {
        Ok(self.fetch_optional::<(u64,)>(COUNT_HELD, args![org, schedule]).await?.map_or(0, |(count,)| count))
    }

    /// Puts waiting runs whose turn has come into the queue; how many.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_release_held_runs(&mut self, now: Timestamp) -> Result<u64> {
        let runs: Vec<(OrgId, RunId)> = self.fetch_all(RELEASABLE, args![RELEASE_MAX]).await?;
        let mut released = 0;
        for (org, run) in runs {
            // Of two nodes that saw the same run, one deletes.
            if self.execute(RELEASE, args![org, run]).await? == 1 {
                self.enqueue(org, run, now).await?;
                released += 1;
            }
        }
        Ok(released)
    }
}

impl Store {
    /// One schedule of the tenant.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn get_schedule(&self, org: OrgId, schedule: ScheduleId) -> Result<Option<ScheduleRow>> {
        self.fetch_optional(GET, args![org, schedule]).await
    }

    /// Schedules of the tenant, of one application or of all.
    ///
    /// # Errors
    /// `InvalidCursor`, and those of the database.
    pub async fn list_schedules(&self, org: OrgId, app: Option<AppId>, page: &Page) -> Result<List<ScheduleRow>> {
        let scope = Scope::new("schedules", org).with(&app.map(|app| app.to_string()).unwrap_or_default());
        let (from, rows) = page.start(&scope)?;
        let args = args![org, from.created_at, ScheduleId::from_bits(from.id_bits), app, rows];
        let rows = self.fetch_page(Lane::Scan, LIST, args).await?;
        let position = |row: &ScheduleRow| Position { created_at: row.created_at, id_bits: row.id.bits() };
        Ok(page.finish(&scope, rows, position))
    }

    /// Schedules whose fire has come, the one that waits longest first.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_due_schedules(&self, now: Timestamp, max: u32) -> Result<Vec<ScheduleRow>> {
        self.fetch_all(Lane::Point, DUE, args![now, max]).await
    }

    /// When the next fire is: how long whoever fires may sleep.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_next_schedule_at(&self) -> Result<Option<Timestamp>> {
        let next: Option<(Option<Timestamp>,)> = self.fetch_optional(NEXT_DUE, args![]).await?;
        Ok(next.and_then(|(at,)| at))
    }

    /// Runs that wait behind another of their schedule, of all tenants.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_count_held_runs(&self) -> Result<u64> {
        Ok(self.fetch_optional::<(u64,)>(COUNT_HOLDS, args![]).await?.map_or(0, |(count,)| count))
    }
}
