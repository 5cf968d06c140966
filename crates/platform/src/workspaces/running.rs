//! A snapshot of a run under way: by the worker that has it, or, when another node has it, from the last copy that was made of its
//! workspace after a step.

use std::time::Duration;

use livery_core::id::{RunId, SnapshotId, WorkspaceId};
use livery_core::{Error, EventType, Result, RunStatus};
use livery_store::{Kept, NewSnapshot, RunRow, WorkspaceRow};
use serde_json::{Value, json};

use super::{SnapshotView, not_kept};
use crate::audit::note;
use crate::{Caller, Platform, Posted};

/// How long a tool under way is waited for.
const TOOL_MAX: Duration = Duration::from_secs(45);

impl Platform {
    /// Keeps what a run of this workspace has in it between two of its steps.
    pub(super) async fn snapshot_run(
        &self,
        caller: &Caller,
        workspace: WorkspaceRow,
        run: RunId,
        name: Option<String>,
    ) -> Result<Posted<SnapshotView>> {
        let row = self.visible_run(&caller.principal, run).await?;
        let is_its = row.agent_name == workspace.agent_name && row.end_user == Some(workspace.end_user);
        if !is_its || !self.works_in_workspace(&row).await? {
            return Err(conflict("the run does not work in this workspace"));
        }
        let new = match self.running.ask_for_snapshot(run)? {
            Some(answer) => match tokio::time::timeout(TOOL_MAX, answer).await {
                Ok(Ok(snapped)) => snapped?,
                Ok(Err(_)) => return Err(conflict("the run ended, or was put down, before a snapshot could be taken")),
                Err(_) => {
                    let detail = "a tool of the run takes long; try again".to_owned();
                    return Err(Error::Unavailable { detail, retry_after_s: 5 });
                }
            },
            None => self.copied_elsewhere(&row, &workspace).await?,
        };
        if new.workspace != workspace.id {
            return Err(conflict("the run does not work in this workspace"));
        }
        let (actor, now) = (caller.principal.key, self.clock.now());
        self.post(caller, move |tx| {
            Box::pin(async move {
                match tx.keep_snapshot(&new, name.as_deref()).await? {
                    Kept::Current | Kept::Aside => {}
                    kept => return Err(not_kept(kept).into()),
                }
                let data = json!({"workspace": new.workspace, "snapshot": new.id, "name": name, "run": run});
                note(tx, new.org, "workspace.snapshot_created", now, actor, data).await?;
                Ok(SnapshotView {
                    id: new.id,
                    workspace: new.workspace,
                    name,
                    origin: "command".to_owned(),
                    run: new.run,
                    file: new.file.id,
                    bytes: new.file.bytes,
                    sha256: new.file.sha256,
                    created_at: new.at,
                })
            })
        })
        .await
    }

    /// As its first event says.
    async fn works_in_workspace(&self, row: &RunRow) -> Result<bool> {
        let first = self.store.stored_events_after(row.org, row.id, 0, 1).await?;
        let data =
            first.into_iter().next().and_then(|event| event.data).map(|data| data.parse::<Value>()).transpose()?;
        Ok(data.is_some_and(|data| !data["workspace"]["persist"].is_null()))
    }

    /// The workspace that a run had opened by an event of its log.
    async fn opened_by(&self, row: &RunRow, seq: u64) -> Result<Option<WorkspaceId>> {
        let events = self.store.system_events_of(row.id).await?;
        let opened = EventType::WorkspaceOpened.as_str();
        let last = events.into_iter().rfind(|event| event.seq <= seq && event.event_type == opened);
        let data = last.and_then(|event| event.data).map(|data| data.parse::<Value>()).transpose()?;
        Ok(data.and_then(|data| data["workspace"].as_str()?.parse().ok()))
    }

    async fn copied_elsewhere(&self, row: &RunRow, workspace: &WorkspaceRow) -> Result<NewSnapshot> {
        if row.status != RunStatus::Running {
            return Err(conflict("the run is not under way"));
        }
        let copy = self.store.newest_snapshot(row.org, row.id).await?;
        let none = || conflict("another node has the run, and made no copy of its workspace yet");
        let copy = copy.ok_or_else(none)?;
        // What the run works in, not what has its name now: that may have been deleted and begun anew meanwhile.
        if self.opened_by(row, copy.seq).await? != Some(workspace.id) {
            return Err(conflict("the run does not work in this workspace"));
        }
        let packed = self.objects.fetch(&copy.object_key, copy.bytes, &copy.sha256).await?;
        let file = self.keep_file(row.org, row.application, super::FILE_NAME, super::FILE_TYPE, &packed).await?;
        Ok(NewSnapshot {
            org: row.org,
            workspace: workspace.id,
            id: SnapshotId::from_bits(self.mint()),
            run: Some(row.id),
            at: file.created_at,
            file,
            quota_bytes: self.config.workspace_bytes_max,
        })
    }
}

fn conflict(detail: &str) -> Error {
    Error::Conflict { code: "conflict", detail: detail.to_owned() }
}
