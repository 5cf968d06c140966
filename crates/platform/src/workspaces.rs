//! Workspaces that outlive their runs: one for each agent and end user. A run that succeeds leaves there what the next one
//! begins with; people look at them, restore what was, and delete them.
//!
//! The bytes of a snapshot are a file of the tenant, packed and unpacked inside the run's own sandbox. Walk on: `wish` says which
//! runs have one, [`crate::worker`]'s `workspace` opens and saves it.

mod running;
mod view;
mod wish;

use livery_core::id::{SnapshotId, WorkspaceId};
use livery_core::{Error, Result};
use livery_store::{Kept, SNAPSHOTS_MAX, WorkspaceRow, WorkspaceSnapshotRow};
use serde_json::json;

pub use self::view::{NewSnapshot, RestoreWorkspace, SnapshotView, WorkspaceFilter, WorkspaceView};
pub(crate) use self::wish::persist;
use crate::audit::note;
use crate::{Caller, Page, PageRequest, Platform, Posted, Principal, Scope};

/// Largest snapshot, packed.
pub const SNAPSHOT_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// The name of a snapshot's file.
pub(crate) const FILE_NAME: &str = "workspace.tgz";
/// Its media type.
pub(crate) const FILE_TYPE: &str = "application/gzip";
/// Longest name of a snapshot, in characters.
pub const NAME_CHARS_MAX: usize = 200;
/// What the snapshots of one application may have together, unless the operator says otherwise.
pub const APPLICATION_BYTES_MAX: u64 = 10 * 1024 * 1024 * 1024;

impl Platform {
    /// Workspaces the caller sees, the newest first.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `workspaces:read`.
    pub async fn list_workspaces(
        &self,
        principal: &Principal,
        filter: WorkspaceFilter,
        page: PageRequest,
    ) -> Result<Page<WorkspaceView>> {
        principal.require(Scope::WorkspacesRead)?;
        let filter = livery_store::WorkspaceFilter {
            application: principal.app,
            agent: filter.agent,
            end_user: filter.end_user,
        };
        let list = self.store.list_workspaces(principal.org, &filter, &page.into()).await?;
        Page::try_from_list(list, |row| Ok(row.into()))
    }

    /// One workspace.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn get_workspace(&self, principal: &Principal, id: WorkspaceId) -> Result<WorkspaceView> {
        self.visible_workspace(principal, id, Scope::WorkspacesRead).await.map(WorkspaceView::from)
    }

    /// Deletes a workspace with all its snapshots. The next run begins anew; one under way saves nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn delete_workspace(&self, caller: &Caller, id: WorkspaceId) -> Result<()> {
        let row = self.writable_workspace(caller, id).await?;
        let (actor, now) = (caller.principal.key, self.clock.now());
        let written = self.store.write(move |tx| {
            Box::pin(async move {
                if tx.delete_workspace(row.org, id, now).await? {
                    note(tx, row.org, "workspace.deleted", now, actor, told(&row)).await?;
                }
                Ok(())
            })
        });
        Ok(written.await?)
    }

    /// Snapshots of a workspace, the newest first.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn list_snapshots(
        &self,
        principal: &Principal,
        id: WorkspaceId,
        page: PageRequest,
    ) -> Result<Page<SnapshotView>> {
        let row = self.visible_workspace(principal, id, Scope::WorkspacesRead).await?;
        let list = self.store.list_workspace_snapshots(row.org, id, &page.into()).await?;
        Page::try_from_list(list, |row| Ok(row.into()))
    }

    /// Keeps what the next run would begin with, or what a run under way has in it, until somebody deletes it.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] when the run is none of this workspace, or is over; when nothing was saved yet, or the workspace has [`SNAPSHOTS_MAX`].
    pub async fn create_snapshot(
        &self,
        caller: &Caller,
        id: WorkspaceId,
        new: NewSnapshot,
    ) -> Result<Posted<SnapshotView>> {
        let row = self.writable_workspace(caller, id).await?;
        if let Some(answered) = self.answered(caller).await? {
            return Ok(answered);
        }
        check_name(new.name.as_deref())?;
        if let Some(run) = new.run {
            return self.snapshot_run(caller, row, run, new.name).await;
        }
        let (org, actor, now) = (row.org, caller.principal.key, self.clock.now());
        self.post(caller, move |tx| {
            Box::pin(async move {
                let (kept, found) = tx.keep_present(org, id, new.name.as_deref(), now).await?;
                let Some(found) = found else { return Err(not_kept(kept).into()) };
                if kept == Kept::Already {
                    return Err(already(&found).into());
                }
                let data = json!({"workspace": id, "snapshot": found.id, "name": found.name});
                note(tx, org, "workspace.snapshot_created", now, actor, data).await?;
                Ok(SnapshotView::from(found))
            })
        })
        .await
    }

    /// Deletes a snapshot that is not what the next run begins with.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] for the present state.
    pub async fn delete_snapshot(&self, caller: &Caller, id: WorkspaceId, snapshot: SnapshotId) -> Result<()> {
        let row = self.writable_workspace(caller, id).await?;
        self.snapshot_of(&row, snapshot).await?;
        let (actor, now) = (caller.principal.key, self.clock.now());
        let written = self.store.write(move |tx| {
            Box::pin(async move {
                if !tx.delete_workspace_snapshot(row.org, id, snapshot, now).await? {
                    let detail =
                        "the next run begins with this snapshot: restore another one first, or delete the workspace";
                    return Err(Error::Conflict { code: "conflict", detail: detail.to_owned() }.into());
                }
                let data = json!({"workspace": id, "snapshot": snapshot});
                note(tx, row.org, "workspace.snapshot_deleted", now, actor, data).await
            })
        });
        Ok(written.await?)
    }

    /// Has later runs begin with a snapshot. A run under way is not changed, and what it leaves is kept aside.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn restore_workspace(
        &self,
        caller: &Caller,
        id: WorkspaceId,
        request: RestoreWorkspace,
    ) -> Result<Posted<WorkspaceView>> {
        let row = self.writable_workspace(caller, id).await?;
        if let Some(answered) = self.answered(caller).await? {
            return Ok(answered);
        }
        let (actor, now, snapshot) = (caller.principal.key, self.clock.now(), request.snapshot);
        self.post(caller, move |tx| {
            Box::pin(async move {
                if !tx.restore_workspace(row.org, id, snapshot, now).await? {
                    return Err(Error::NotFound { what: "snapshot" }.into());
                }
                let data = json!({"workspace": id, "snapshot": snapshot, "before": row.snapshot});
                note(tx, row.org, "workspace.restored", now, actor, data).await?;
                Ok(WorkspaceView { snapshot: Some(snapshot), updated_at: now, ..row.into() })
            })
        })
        .await
    }

    async fn visible_workspace(&self, principal: &Principal, id: WorkspaceId, scope: Scope) -> Result<WorkspaceRow> {
        principal.require(scope)?;
        let row = self.store.get_workspace(principal.org, id).await?;
        row.filter(|row| principal.sees(Some(row.application))).ok_or(Error::NotFound { what: "workspace" })
    }

    /// One the caller may change: who acts for an end user changes that end user's alone.
    async fn writable_workspace(&self, caller: &Caller, id: WorkspaceId) -> Result<WorkspaceRow> {
        let row = self.visible_workspace(&caller.principal, id, Scope::WorkspacesWrite).await?;
        let is_theirs = caller.on_behalf_of.is_none_or(|end_user| end_user == row.end_user);
        Some(row).filter(|_| is_theirs).ok_or(Error::NotFound { what: "workspace" })
    }

    async fn snapshot_of(&self, row: &WorkspaceRow, id: SnapshotId) -> Result<SnapshotView> {
        let found = self.store.get_workspace_snapshot(row.org, row.id, id).await?;
        found.map(SnapshotView::from).ok_or(Error::NotFound { what: "snapshot" })
    }
}

fn check_name(name: Option<&str>) -> Result<()> {
    let is_bad = |name: &str| {
        name.trim().is_empty() || name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control)
    };
    if name.is_some_and(is_bad) {
        return Err(Error::invalid_field("/name", format!("1 to {NAME_CHARS_MAX} characters on one line")));
    }
    Ok(())
}

/// Why there is no snapshot.
fn not_kept(kept: Kept) -> Error {
    let conflict = |detail: String| Error::Conflict { code: "conflict", detail };
    match kept {
        Kept::Gone => Error::NotFound { what: "workspace" },
        Kept::TooMany => conflict(format!("a workspace has at most {SNAPSHOTS_MAX} snapshots: delete some")),
        Kept::Full { used_bytes } => conflict(format!(
            "the snapshots of the application have {used_bytes} bytes, and there is no room for more: delete some"
        )),
        Kept::Current | Kept::Aside | Kept::Already => {
            conflict("no run has saved anything in this workspace yet".to_owned())
        }
    }
}

/// A second name would take the first one's place.
fn already(found: &WorkspaceSnapshotRow) -> Error {
    let name = found.name.as_ref().map(|name| format!(" ({name:?})")).unwrap_or_default();
    let detail = format!("this state is kept already, as {}{name}: nothing was saved since", found.id);
    Error::Conflict { code: "conflict", detail }
}

fn told(row: &WorkspaceRow) -> serde_json::Value {
    json!({"workspace": row.id, "agent": row.agent_name, "end_user": row.end_user, "application": row.application})
}
