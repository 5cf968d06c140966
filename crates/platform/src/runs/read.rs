//! Looking at runs: one, a list, their events.

use std::time::Duration;

use livery_core::id::RunId;
use livery_core::{Error, Event, Result};
use livery_store::{FileRole, RunRow};
use serde::Serialize;

use super::request::RunFilter;
use super::view::{Artifact, RunView};
use crate::{Page, PageRequest, Platform, Principal, Scope};

/// Longest a caller may wait for a run to end in one request.
pub const WAIT_MAX: Duration = Duration::from_secs(55);
/// How often a waiting caller looks even though no bell rang.
const POLL: Duration = Duration::from_secs(2);
/// Most events of one JSON page.
pub const EVENTS_PAGE_MAX: u32 = 1000;

/// A page of a run's log: `{data, next_after, last_seq}`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EventPage {
    /// In order.
    pub data: Vec<Event>,
    /// Ask with `?after=` this for what follows; null when this page reached the end of a finished run.
    pub next_after: Option<u64>,
    /// The run's last sequence number now.
    pub last_seq: u64,
}

impl Platform {
    /// One run.
    ///
    /// # Errors
    /// [`Error::NotFound`], for another tenant's run as well.
    pub async fn get_run(&self, principal: &Principal, run: RunId) -> Result<RunView> {
        principal.require(Scope::RunsRead)?;
        let row = self.visible_run(principal, run).await?;
        self.view_of(row).await
    }

    /// One run, once it ended or `wait` (at most [`WAIT_MAX`]) is over.
    ///
    /// # Errors
    /// Those of [`Platform::get_run`].
    pub async fn wait_run(&self, principal: &Principal, run: RunId, wait: Duration) -> Result<RunView> {
        principal.require(Scope::RunsRead)?;
        let deadline = tokio::time::Instant::now() + wait.min(WAIT_MAX);
        let mut bell = self.store.subscribe_run(run);
        loop {
            let row = self.visible_run(principal, run).await?;
            let now = tokio::time::Instant::now();
            if row.status.is_terminal() || now >= deadline || self.drained.is_cancelled() {
                return self.view_of(row).await;
            }
            tokio::select! {
                () = bell.rung() => {}
                () = tokio::time::sleep_until(deadline.min(now + POLL)) => {}
                () = self.drained.cancelled() => {}
            }
        }
    }

    /// Runs, newest first.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a cursor of another list.
    pub async fn list_runs(
        &self,
        principal: &Principal,
        filter: RunFilter,
        page: PageRequest,
    ) -> Result<Page<RunView>> {
        principal.require(Scope::RunsRead)?;
        if let (Some(own), Some(asked)) = (principal.app, filter.application)
            && own != asked
        {
            return Ok(Page::whole(Vec::new()));
        }
        let filter = livery_store::RunFilter {
            status: filter.status,
            agent: filter.agent,
            application: filter.application.or(principal.app),
            end_user: filter.end_user,
            created_after: filter.created_after,
            created_before: filter.created_before,
            schedule: filter.schedule,
            trigger: filter.trigger,
            metadata: filter.metadata.into_iter().collect(),
        };
        let list = self.store.list_runs(principal.org, &filter, &page.into()).await?;
        let mut data = Vec::with_capacity(list.data.len());
        for row in list.data {
            data.push(self.view_of(row).await?);
        }
        Ok(Page { data, next_cursor: list.next_cursor })
    }

    /// A run's events after `after`.
    ///
    /// # Errors
    /// Those of [`Platform::get_run`].
    pub async fn events_after(&self, principal: &Principal, run: RunId, after: u64, limit: u32) -> Result<EventPage> {
        principal.require(Scope::RunsRead)?;
        let row = self.visible_run(principal, run).await?;
        let data = self.store.events_after(principal.org, run, after, limit.clamp(1, EVENTS_PAGE_MAX)).await?;
        let reached = data.last().map_or(after, |event| event.seq);
        let over = row.status.is_terminal() && reached >= row.last_seq;
        Ok(EventPage { next_after: (!over).then_some(reached), last_seq: row.last_seq.max(reached), data })
    }

    /// What a run left behind.
    ///
    /// # Errors
    /// Those of [`Platform::get_run`].
    pub async fn list_artifacts(&self, principal: &Principal, run: RunId) -> Result<Page<Artifact>> {
        principal.require(Scope::RunsRead)?;
        self.visible_run(principal, run).await?;
        let files = self.store.run_files(principal.org, run, FileRole::Artifact).await?;
        Ok(Page::whole(files.into_iter().map(Artifact::of).collect()))
    }

    /// The row, when it is the caller's to see.
    pub(crate) async fn visible_run(&self, principal: &Principal, run: RunId) -> Result<RunRow> {
        let row = self.store.get_run(principal.org, run).await?;
        row.filter(|row| principal.sees(row.application)).ok_or(Error::NotFound { what: "run" })
    }

    /// Artifacts exist only once a run has left the queue: most rows of a busy list cost no second read.
    async fn view_of(&self, row: RunRow) -> Result<RunView> {
        let artifacts = if row.status.is_terminal() && row.usage.tool_calls > 0 {
            self.store.run_files(row.org, row.id, FileRole::Artifact).await?
        } else {
            Vec::new()
        };
        RunView::of(row, artifacts)
    }
}
