//! Lists of runs: newest first, by a few filters.
//!
//! One text per leading filter, each walking the index that serves it in the order of the page; the other filters are
//! checked row by row. Bounded work runs at once, filters on top of filters go to the scan lane.

use livery_core::id::{AppId, EndUserId, OrgId, RunId, ScheduleId, TriggerId};
use livery_core::{RunStatus, Timestamp};

use crate::error::{Error, Result};
use crate::page::{List, Page, Position, Scope};
use crate::reader::Lane;
use crate::runs::{RunRow, run_columns};
use crate::sql::{Arg, Statement, args, statements};
use crate::store::Store;

/// Metadata pairs one filter may name.
pub const METADATA_FILTERS_MAX: usize = 3;

/// `$1` tenant, `$2 $3` position, `$4` earliest, `$5`–`$8` columns, `$9 $10`, `$11 $12`, `$13 $14` metadata, `$15 $16` schedule and trigger,
/// `$17` rows.
macro_rules! list_of_runs {
    ($from:expr, $lead:expr) => {
        concat!(
            "select ",
            run_columns!(),
            " from ",
            $from,
            " where org_id = $1 and (created_at, id) < ($2, $3) and created_at >= $4 and ",
            $lead,
            " and (status = $5 or $5 is null) and (agent_name = $6 or $6 is null)
            and (application_id = $7 or $7 is null) and (end_user_id = $8 or $8 is null)
            and (schedule_id = $15 or $15 is null) and (trigger_id = $16 or $16 is null)
            and (cast($9 as text) is null or exists (select 1 from run_metadata m where m.run_id = runs.id
                and m.org_id = $1 and m.key = $9 and m.value = $10))
            and (cast($11 as text) is null or exists (select 1 from run_metadata m where m.run_id = runs.id
                and m.org_id = $1 and m.key = $11 and m.value = $12))
            and (cast($13 as text) is null or exists (select 1 from run_metadata m where m.run_id = runs.id
                and m.org_id = $1 and m.key = $13 and m.value = $14))
            order by created_at desc, id desc limit $17"
        )
    };
}

statements! {
    LIST_ALL = list_of_runs!("runs", "$1 = $1");
    LIST_STATUS = list_of_runs!("runs", "status = $5");
    LIST_AGENT = list_of_runs!("runs", "agent_name = $6");
    LIST_APPLICATION = list_of_runs!("runs", "application_id = $7");
    LIST_END_USER = list_of_runs!("runs", "end_user_id = $8");
    LIST_SCHEDULE = list_of_runs!("runs", "schedule_id = $15");
    LIST_TRIGGER = list_of_runs!("runs", "trigger_id = $16");
    LIST_METADATA = concat!(
        "select ", run_columns!(), " from (select m.run_id as found_run, m.created_at as found_at from run_metadata m
            where m.org_id = $1 and m.key = $9 and m.value = $10 and (m.created_at, m.run_id) < ($2, $3)
            and m.created_at >= $4) found
        join runs on runs.id = found.found_run
        where org_id = $1 and (status = $5 or $5 is null) and (agent_name = $6 or $6 is null)
            and (application_id = $7 or $7 is null) and (end_user_id = $8 or $8 is null)
            and (schedule_id = $15 or $15 is null) and (trigger_id = $16 or $16 is null)
            and (cast($11 as text) is null or exists (select 1 from run_metadata m where m.run_id = runs.id
                and m.org_id = $1 and m.key = $11 and m.value = $12))
            and (cast($13 as text) is null or exists (select 1 from run_metadata m where m.run_id = runs.id
                and m.org_id = $1 and m.key = $13 and m.value = $14))
        order by found_at desc, found_run desc limit $17");
}

/// Which runs. The default is all of the tenant's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// In this state.
    pub status: Option<RunStatus>,
    /// Of the agent with this name.
    pub agent: Option<String>,
    /// Started for this application.
    pub application: Option<AppId>,
    /// Started for this end user.
    pub end_user: Option<EndUserId>,
    /// Whose metadata has all of these pairs; at most [`METADATA_FILTERS_MAX`].
    pub metadata: Vec<(String, String)>,
    /// Accepted at or after.
    pub created_after: Option<Timestamp>,
    /// Accepted before.
    pub created_before: Option<Timestamp>,
    /// Started by this schedule.
    pub schedule: Option<ScheduleId>,
    /// Started by this trigger.
    pub trigger: Option<TriggerId>,
}

impl RunFilter {
    /// The statement whose index serves this filter best, and whether rows are left to check one by one.
    fn plan(&self) -> (Statement, Lane) {
        let set = [
            self.end_user.is_some(),
            self.agent.is_some(),
            self.application.is_some(),
            self.status.is_some(),
            self.schedule.is_some(),
            self.trigger.is_some(),
        ];
        let columns = set.iter().filter(|set| **set).count() + self.metadata.len();
        let lane = if columns <= 1 { Lane::Point } else { Lane::Scan };
        let statement = match self {
            Self { metadata, .. } if !metadata.is_empty() => LIST_METADATA,
            Self { schedule: Some(_), .. } => LIST_SCHEDULE,
            Self { trigger: Some(_), .. } => LIST_TRIGGER,
            Self { end_user: Some(_), .. } => LIST_END_USER,
            Self { agent: Some(_), .. } => LIST_AGENT,
            Self { status: Some(_), .. } => LIST_STATUS,
            Self { application: Some(_), .. } => LIST_APPLICATION,
            _ => LIST_ALL,
        };
        (statement, lane)
    }

    fn scope(&self, org: OrgId) -> Scope {
        let mut scope = Scope::new("runs", org)
            .with(self.status.map_or("", RunStatus::as_str))
            .with(self.agent.as_deref().unwrap_or(""))
            .with(&self.application.map(|id| id.to_string()).unwrap_or_default())
            .with(&self.end_user.map(|id| id.to_string()).unwrap_or_default())
            .with(&self.schedule.map(|id| id.to_string()).unwrap_or_default())
            .with(&self.trigger.map(|id| id.to_string()).unwrap_or_default())
            .with(&self.created_after.map(|at| at.as_micros().to_string()).unwrap_or_default())
            .with(&self.created_before.map(|at| at.as_micros().to_string()).unwrap_or_default());
        for (key, value) in &self.metadata {
            scope = scope.with(key).with(value);
        }
        scope
    }

    /// `created_before` as a position: a second upper bound in the text would cost the index.
    fn start(&self, from: Position) -> Position {
        match self.created_before {
            Some(before) if before <= from.created_at => Position { created_at: before, id_bits: 0 },
            _ => from,
        }
    }

    fn args(&self, org: OrgId, from: Position, rows: u32) -> Vec<Arg> {
        let mut args = args![
            org,
            from.created_at,
            RunId::from_bits(from.id_bits),
            self.created_after.unwrap_or(Timestamp::from_micros(i64::MIN)),
            self.status,
            &self.agent,
            self.application,
            self.end_user,
        ];
        for index in 0..METADATA_FILTERS_MAX {
            let (key, value) = self.metadata.get(index).cloned().unzip();
            args.extend(args![key, value]);
        }
        args.extend(args![self.schedule, self.trigger, rows]);
        args
    }
}

impl Store {
    /// Runs of the tenant.
    ///
    /// # Errors
    /// `InvalidCursor`; `TooLarge` for more metadata pairs than [`METADATA_FILTERS_MAX`].
    pub async fn list_runs(&self, org: OrgId, filter: &RunFilter, page: &Page) -> Result<List<RunRow>> {
        if filter.metadata.len() > METADATA_FILTERS_MAX {
            return Err(Error::Domain(livery_core::Error::invalid_field(
                "/metadata",
                format!("at most {METADATA_FILTERS_MAX} metadata filters"),
            )));
        }
        let scope = filter.scope(org);
        let (from, rows) = page.start(&scope)?;
        let (statement, lane) = filter.plan();
        let rows = self.fetch_page(lane, statement, filter.args(org, filter.start(from), rows)).await?;
        Ok(page.finish(&scope, rows, |row: &RunRow| Position { created_at: row.created_at, id_bits: row.id.bits() }))
    }
}
