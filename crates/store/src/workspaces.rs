//! Workspaces that outlive their runs, one for each agent and end user, and the snapshots of them. The bytes of a snapshot are
//! a file's.
//!
//! What the next run begins with is one column, changed in one transaction with the row of the new snapshot. A state that was
//! begun from another one than the present is put aside, never over it.

mod read;

use livery_core::Timestamp;
use livery_core::id::{AppId, EndUserId, FileId, OrgId, RunId, SnapshotId, WorkspaceId};

use crate::error::{Error, Result};
use crate::files::{FileRow, file_columns};
use crate::sql::{FromRow, Row, args, statements, words};
use crate::tx::Tx;

/// Snapshots that one workspace has; beyond them nobody can name another one.
pub const SNAPSHOTS_MAX: u32 = 50;
/// Of these, how many without a name are kept aside; the oldest goes for the next.
pub const SNAPSHOTS_ASIDE_MAX: usize = 10;

macro_rules! workspace_columns {
    () => {
        "w.id, w.org_id, w.application_id, w.agent_name, w.end_user_id, w.snapshot_id, w.created_at, w.updated_at"
    };
}

macro_rules! snapshot_columns {
    () => {
        concat!("s.id, s.workspace_id, s.run_id, s.origin, s.name, s.created_at, ", file_columns!())
    };
}

statements! {
    OPEN = "insert into workspaces
        (id, org_id, application_id, agent_name, end_user_id, snapshot_id, created_at, updated_at)
        select $1, u.org_id, u.application_id, $3, u.id, null, $5, $5 from end_users u
        where u.org_id = $2 and u.id = $4
        on conflict (org_id, agent_name, end_user_id) do nothing";
    FIND = concat!("select ", workspace_columns!(), " from workspaces w
        where w.org_id = $1 and w.agent_name = $2 and w.end_user_id = $3");
    GET = concat!("select ", workspace_columns!(), " from workspaces w where w.id = $2 and (w.org_id = $1) is true");
    LIST = concat!("select ", workspace_columns!(), " from workspaces w
        where w.org_id = $1 and (w.created_at, w.id) < ($2, $3) and (w.application_id = $4 or $4 is null)
        and (w.agent_name = $5 or $5 is null) and (w.end_user_id = $6 or $6 is null)
        order by w.created_at desc, w.id desc limit $7");
    /// Whoever changes a workspace holds it first: until the operation ends nobody else does.
    HOLD = "update workspaces set updated_at = $3 where id = $2 and (org_id = $1) is true
        returning snapshot_id, application_id";
    POINT = "update workspaces set snapshot_id = $3 where id = $2 and (org_id = $1) is true";
    DELETE = "delete from workspaces where id = $2 and (org_id = $1) is true";
    USED = "select cast(coalesce(sum(bytes), 0) as bigint) from snapshots where org_id = $1 and application_id = $2";
    INSERT_SNAPSHOT = "insert into snapshots
        (id, org_id, application_id, workspace_id, run_id, origin, name, file_id, bytes, created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    GET_SNAPSHOT = concat!("select ", snapshot_columns!(), " from snapshots s join files f on f.id = s.file_id
        where s.id = $3 and s.workspace_id = $2 and (s.org_id = $1) is true");
    LIST_SNAPSHOTS = concat!("select ", snapshot_columns!(), " from snapshots s join files f on f.id = s.file_id
        where s.workspace_id = $2 and (s.org_id = $1) is true and (s.created_at, s.id) < ($3, $4)
        order by s.created_at desc, s.id desc limit $5");
    LABEL = "update snapshots set origin = $3, name = $4 where id = $2 and (org_id = $1) is true";
    DELETE_SNAPSHOT = "delete from snapshots where id = $2 and (org_id = $1) is true returning file_id";
    /// One that a run was given, or another snapshot has, stays.
    DELETE_FILE = "delete from files where org_id = $1 and id = $2
        and not exists (select 1 from run_files x where x.file_id = files.id)
        and not exists (select 1 from snapshots s where s.file_id = files.id)";
    COUNT = "select count(*) from snapshots where (org_id = $1) is true and workspace_id = $2";
}

words! {
    "snapshot origin";
    /// Why a snapshot is there.
    pub enum SnapshotOrigin {
        /// A run that succeeded left it; the next one takes its place, unless it was given a name.
        Run = "run",
        /// A run that succeeded left it, but had begun from another state than the present one: kept aside.
        Aside = "aside",
        /// It was the present state when another one was restored: kept aside.
        Replaced = "replaced",
        /// Somebody asked for it.
        Command = "command",
    }
}

/// The workspace of one agent for one end user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceRow {
    /// Its id.
    pub id: WorkspaceId,
    /// The tenant.
    pub org: OrgId,
    /// The end user's application.
    pub application: AppId,
    /// The agent, whatever its version.
    pub agent_name: String,
    /// The end user.
    pub end_user: EndUserId,
    /// What the next run begins with; `None`: nothing was saved yet.
    pub snapshot: Option<SnapshotId>,
    /// When a run first had it.
    pub created_at: Timestamp,
    /// When it was last saved, restored or given a snapshot.
    pub updated_at: Timestamp,
}

impl FromRow for WorkspaceRow {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self {
            id: row.take()?,
            org: row.take()?,
            application: row.take()?,
            agent_name: row.take()?,
            end_user: row.take()?,
            snapshot: row.take()?,
            created_at: row.take()?,
            updated_at: row.take()?,
        })
    }
}

/// What was in a workspace at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceSnapshotRow {
    /// Its id.
    pub id: SnapshotId,
    /// Of which workspace.
    pub workspace: WorkspaceId,
    /// The run it was taken of.
    pub run: Option<RunId>,
    /// Why it is there.
    pub origin: SnapshotOrigin,
    /// What somebody called it.
    pub name: Option<String>,
    /// When it was taken.
    pub created_at: Timestamp,
    /// The bytes.
    pub file: FileRow,
}

impl FromRow for WorkspaceSnapshotRow {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self {
            id: row.take()?,
            workspace: row.take()?,
            run: row.take()?,
            origin: row.take()?,
            name: row.take()?,
            created_at: row.take()?,
            file: FileRow::from_row(row)?,
        })
    }
}

/// What a list of workspaces is narrowed to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkspaceFilter {
    /// Of this application.
    pub application: Option<AppId>,
    /// Of this agent.
    pub agent: Option<String>,
    /// For this end user.
    pub end_user: Option<EndUserId>,
}

/// A snapshot to keep, whose bytes are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSnapshot {
    /// The tenant.
    pub org: OrgId,
    /// Of which workspace.
    pub workspace: WorkspaceId,
    /// Its id.
    pub id: SnapshotId,
    /// The run it was taken of.
    pub run: Option<RunId>,
    /// The bytes; the row is written with the snapshot's.
    pub file: FileRow,
    /// What the snapshots of the application may have together.
    pub quota_bytes: u64,
    /// Now.
    pub at: Timestamp,
}

/// What became of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// The next run begins with it.
    Current,
    /// It is kept, and the next run begins with another one.
    Aside,
    /// The workspace was deleted meanwhile: it is not kept.
    Gone,
    /// The application's snapshots have no room for it: it is not kept.
    Full {
        /// What they have.
        used_bytes: u64,
    },
    /// The workspace has [`SNAPSHOTS_MAX`]: it is not kept.
    TooMany,
    /// It is kept already, because somebody asked for it before.
    Already,
}

impl Tx {
    /// The workspace of an agent for an end user, made now if there is none. `None`: there is no such end user.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn open_workspace(
        &mut self,
        org: OrgId,
        id: WorkspaceId,
        agent_name: &str,
        end_user: EndUserId,
        now: Timestamp,
    ) -> Result<Option<WorkspaceRow>> {
        let find = || args![org, agent_name.to_owned(), end_user];
        if let Some(found) = self.fetch_optional(FIND, find()).await? {
            return Ok(Some(found));
        }
        self.execute(OPEN, args![id, org, agent_name.to_owned(), end_user, now]).await?;
        self.fetch_optional(FIND, find()).await
    }

    /// Makes a snapshot the state that the next run begins with, if the present one is still `base`; otherwise keeps it
    /// aside. The state before it goes, unless somebody named it or asked for it.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn save_workspace(&mut self, base: Option<SnapshotId>, new: &NewSnapshot) -> Result<Kept> {
        let Some((head, application)) = self.hold_workspace(new.org, new.workspace, new.at).await? else {
            return Ok(Kept::Gone);
        };
        let before = match head {
            Some(head) => self.snapshot_in(new.org, new.workspace, head).await?,
            None => None,
        };
        let is_current = head == base;
        let goes = before.filter(|row| is_current && row.origin == SnapshotOrigin::Run && row.name.is_none());
        let freed = goes.as_ref().map_or(0, |row| row.file.bytes);
        if let Some(full) = self.has_no_room(new, application, freed).await? {
            return Ok(full);
        }
        if !is_current {
            self.insert_workspace_snapshot(new, application, SnapshotOrigin::Aside, None).await?;
            self.tidy_aside(new.org, new.workspace, head).await?;
            return Ok(Kept::Aside);
        }
        self.insert_workspace_snapshot(new, application, SnapshotOrigin::Run, None).await?;
        self.execute(POINT, args![new.org, new.workspace, new.id]).await?;
        if let Some(row) = goes {
            self.drop_snapshot(new.org, row.id).await?;
        }
        Ok(Kept::Current)
    }

    /// Keeps a snapshot that somebody asked for, beside the present state.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn keep_snapshot(&mut self, new: &NewSnapshot, name: Option<&str>) -> Result<Kept> {
        let Some((_, application)) = self.hold_workspace(new.org, new.workspace, new.at).await? else {
            return Ok(Kept::Gone);
        };
        if self.count_snapshots(new.org, new.workspace).await? >= u64::from(SNAPSHOTS_MAX) {
            return Ok(Kept::TooMany);
        }
        if let Some(full) = self.has_no_room(new, application, 0).await? {
            return Ok(full);
        }
        self.insert_workspace_snapshot(new, application, SnapshotOrigin::Command, name).await?;
        Ok(Kept::Aside)
    }

    /// Has the present state kept until somebody deletes it, under a name or without one: the next save does not take its
    /// place. [`Kept::Current`] with the snapshot; `None` when nothing was saved yet. [`Kept::Already`] with the one it is kept
    /// as, of which nothing changes.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn keep_present(
        &mut self,
        org: OrgId,
        workspace: WorkspaceId,
        name: Option<&str>,
        now: Timestamp,
    ) -> Result<(Kept, Option<WorkspaceSnapshotRow>)> {
        let Some((head, _)) = self.hold_workspace(org, workspace, now).await? else { return Ok((Kept::Gone, None)) };
        let Some(head) = head else { return Ok((Kept::Current, None)) };
        let present = self.snapshot_in(org, workspace, head).await?;
        if present.as_ref().is_some_and(|row| row.origin == SnapshotOrigin::Command) {
            return Ok((Kept::Already, present));
        }
        if self.count_snapshots(org, workspace).await? >= u64::from(SNAPSHOTS_MAX) {
            return Ok((Kept::TooMany, None));
        }
        let args = args![org, head, SnapshotOrigin::Command.as_str(), name.map(str::to_owned)];
        self.execute(LABEL, args).await?;
        Ok((Kept::Current, self.snapshot_in(org, workspace, head).await?))
    }

    /// Makes a snapshot the state that later runs begin with. The state before it is kept aside. `false`: there is no such
    /// snapshot of this workspace.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn restore_workspace(
        &mut self,
        org: OrgId,
        workspace: WorkspaceId,
        snapshot: SnapshotId,
        now: Timestamp,
    ) -> Result<bool> {
        let Some((head, _)) = self.hold_workspace(org, workspace, now).await? else { return Ok(false) };
        if self.snapshot_in(org, workspace, snapshot).await?.is_none() {
            return Ok(false);
        }
        let before = match head.filter(|head| *head != snapshot) {
            Some(head) => self.snapshot_in(org, workspace, head).await?,
            None => None,
        };
        if let Some(row) = before.filter(|row| row.origin == SnapshotOrigin::Run) {
            let args = args![org, row.id, SnapshotOrigin::Replaced.as_str(), row.name];
            self.execute(LABEL, args).await?;
        }
        self.execute(POINT, args![org, workspace, snapshot]).await?;
        self.tidy_aside(org, workspace, Some(snapshot)).await?;
        Ok(true)
    }

    /// Deletes a snapshot. `false`: there is none, or it is the present state.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn delete_workspace_snapshot(
        &mut self,
        org: OrgId,
        workspace: WorkspaceId,
        snapshot: SnapshotId,
        now: Timestamp,
    ) -> Result<bool> {
        let Some((head, _)) = self.hold_workspace(org, workspace, now).await? else { return Ok(false) };
        if head == Some(snapshot) || self.snapshot_in(org, workspace, snapshot).await?.is_none() {
            return Ok(false);
        }
        self.drop_snapshot(org, snapshot).await?;
        Ok(true)
    }

    /// Deletes a workspace with all its snapshots. `false`: there was none.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn delete_workspace(&mut self, org: OrgId, workspace: WorkspaceId, now: Timestamp) -> Result<bool> {
        if self.hold_workspace(org, workspace, now).await?.is_none() {
            return Ok(false);
        }
        for row in self.all_snapshots(org, workspace).await? {
            self.drop_snapshot(org, row.id).await?;
        }
        Ok(self.execute(DELETE, args![org, workspace]).await? == 1)
    }

    async fn hold_workspace(
        &mut self,
        org: OrgId,
        workspace: WorkspaceId,
        now: Timestamp,
    ) -> Result<Option<(Option<SnapshotId>, AppId)>> {
        self.fetch_optional(HOLD, args![org, workspace, now]).await
    }

    async fn snapshot_in(
        &mut self,
        org: OrgId,
        workspace: WorkspaceId,
        snapshot: SnapshotId,
    ) -> Result<Option<WorkspaceSnapshotRow>> {
        self.fetch_optional(GET_SNAPSHOT, args![org, workspace, snapshot]).await
    }

    async fn all_snapshots(&mut self, org: OrgId, workspace: WorkspaceId) -> Result<Vec<WorkspaceSnapshotRow>> {
        let end = Timestamp::from_micros(i64::MAX);
        // One that is the present state and one just saved may stand beside the most that anybody can ask for.
        let rows = SNAPSHOTS_MAX.saturating_mul(2);
        self.fetch_all(LIST_SNAPSHOTS, args![org, workspace, end, SnapshotId::from_bits(u128::MAX), rows]).await
    }

    async fn count_snapshots(&mut self, org: OrgId, workspace: WorkspaceId) -> Result<u64> {
        Ok(self.fetch_optional::<(u64,)>(COUNT, args![org, workspace]).await?.map_or(0, |(count,)| count))
    }

    async fn has_no_room(&mut self, new: &NewSnapshot, application: AppId, freed: u64) -> Result<Option<Kept>> {
        let used = self.fetch_optional::<(u64,)>(USED, args![new.org, application]).await?.map_or(0, |(used,)| used);
        let after = used.saturating_sub(freed).saturating_add(new.file.bytes);
        Ok((after > new.quota_bytes).then_some(Kept::Full { used_bytes: used }))
    }

    async fn insert_workspace_snapshot(
        &mut self,
        new: &NewSnapshot,
        application: AppId,
        origin: SnapshotOrigin,
        name: Option<&str>,
    ) -> Result<()> {
        // The workspace's, whoever's key started the run.
        self.insert_file(&FileRow { application: Some(application), ..new.file.clone() }).await?;
        let args = args![
            new.id,
            new.org,
            application,
            new.workspace,
            new.run,
            origin.as_str(),
            name.map(str::to_owned),
            new.file.id,
            new.file.bytes,
            new.at,
        ];
        self.execute(INSERT_SNAPSHOT, args).await.map(drop)
    }

    /// The oldest of those nobody asked for, beyond the limit.
    async fn tidy_aside(&mut self, org: OrgId, workspace: WorkspaceId, head: Option<SnapshotId>) -> Result<()> {
        let aside = |row: &WorkspaceSnapshotRow| {
            let unasked = matches!(row.origin, SnapshotOrigin::Aside | SnapshotOrigin::Replaced);
            unasked && row.name.is_none() && Some(row.id) != head
        };
        let rows = self.all_snapshots(org, workspace).await?;
        for row in rows.into_iter().filter(aside).skip(SNAPSHOTS_ASIDE_MAX) {
            self.drop_snapshot(org, row.id).await?;
        }
        Ok(())
    }

    /// With the row of its file, unless somebody else has that; the bytes are swept like all that no row names.
    async fn drop_snapshot(&mut self, org: OrgId, snapshot: SnapshotId) -> Result<()> {
        let file: Option<(FileId,)> = self.fetch_optional(DELETE_SNAPSHOT, args![org, snapshot]).await?;
        match file {
            Some((file,)) => self.execute(DELETE_FILE, args![org, file]).await.map(drop),
            None => Err(Error::NotFound { what: "snapshot" }),
        }
    }
}
