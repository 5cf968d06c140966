//! Looking at workspaces and their snapshots.

use livery_core::id::{OrgId, SnapshotId, WorkspaceId};

use super::{GET, GET_SNAPSHOT, LIST, LIST_SNAPSHOTS, WorkspaceFilter, WorkspaceRow, WorkspaceSnapshotRow};
use crate::error::Result;
use crate::page::{List, Page, Position, Scope};
use crate::reader::Lane;
use crate::sql::args;
use crate::store::Store;

impl Store {
    /// One workspace of the tenant.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn get_workspace(&self, org: OrgId, workspace: WorkspaceId) -> Result<Option<WorkspaceRow>> {
        self.fetch_optional(GET, args![org, workspace]).await
    }

    /// Workspaces of the tenant, the newest first.
    ///
    /// # Errors
    /// `InvalidCursor`, and those of the database.
    pub async fn list_workspaces(
        &self,
        org: OrgId,
        filter: &WorkspaceFilter,
        page: &Page,
    ) -> Result<List<WorkspaceRow>> {
        let text = |part: Option<String>| part.unwrap_or_default();
        let scope = Scope::new("workspaces", org)
            .with(&text(filter.application.map(|id| id.to_string())))
            .with(&text(filter.agent.clone()))
            .with(&text(filter.end_user.map(|id| id.to_string())));
        let (from, rows) = page.start(&scope)?;
        let args = args![
            org,
            from.created_at,
            WorkspaceId::from_bits(from.id_bits),
            filter.application,
            filter.agent.clone(),
            filter.end_user,
            rows,
        ];
        let rows = self.fetch_page(Lane::Scan, LIST, args).await?;
        let position = |row: &WorkspaceRow| Position { created_at: row.created_at, id_bits: row.id.bits() };
        Ok(page.finish(&scope, rows, position))
    }

    /// One snapshot of a workspace of the tenant.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn get_workspace_snapshot(
        &self,
        org: OrgId,
        workspace: WorkspaceId,
        snapshot: SnapshotId,
    ) -> Result<Option<WorkspaceSnapshotRow>> {
        self.fetch_optional(GET_SNAPSHOT, args![org, workspace, snapshot]).await
    }

    /// Snapshots of a workspace, the newest first. Empty for another tenant's.
    ///
    /// # Errors
    /// `InvalidCursor`, and those of the database.
    pub async fn list_workspace_snapshots(
        &self,
        org: OrgId,
        workspace: WorkspaceId,
        page: &Page,
    ) -> Result<List<WorkspaceSnapshotRow>> {
        let scope = Scope::new("snapshots", org).with(&workspace.to_string());
        let (from, rows) = page.start(&scope)?;
        let args = args![org, workspace, from.created_at, SnapshotId::from_bits(from.id_bits), rows];
        let rows = self.fetch_page(Lane::Scan, LIST_SNAPSHOTS, args).await?;
        let position = |row: &WorkspaceSnapshotRow| Position { created_at: row.created_at, id_bits: row.id.bits() };
        Ok(page.finish(&scope, rows, position))
    }
}
