//! Workspace snapshots: what a run's files were up to which event. The bytes lie elsewhere, at `object_key`.

use livery_core::Timestamp;
use livery_core::id::{OrgId, RunId};

use crate::error::Result;
use crate::sql::{FromRow, Row, args, statements};
use crate::store::Store;
use crate::tx::Tx;

statements! {
    INSERT = "insert into workspace_snapshots (run_id, org_id, seq, object_key, bytes, sha256, created_at)
        select r.id, r.org_id, $3, $4, $5, $6, $7 from runs r
        where r.id = $2 and (r.org_id = $1) is true and r.status = 'running' and r.lease_epoch = $8
        on conflict (run_id, seq) do nothing";
    NEWEST = "select seq, object_key, bytes, sha256, created_at from workspace_snapshots
        where org_id = $1 and run_id = $2 order by seq desc limit 1";
    EXISTS = "select seq from workspace_snapshots where org_id = $1 and run_id = $2 and object_key = $3";
    DELETE_BEFORE = "delete from workspace_snapshots where org_id = $1 and run_id = $2 and seq < $3 returning object_key";
}

/// A copy of a run's workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRow {
    /// The workspace holds what everything up to this event left in it.
    pub seq: u64,
    /// Where the bytes are.
    pub object_key: String,
    /// Their size.
    pub bytes: u64,
    /// Their digest, hex.
    pub sha256: String,
    /// When it was taken.
    pub created_at: Timestamp,
}

impl FromRow for SnapshotRow {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self {
            seq: row.take()?,
            object_key: row.take()?,
            bytes: row.take()?,
            sha256: row.take()?,
            created_at: row.take()?,
        })
    }
}

impl Tx {
    /// Records a copy, fenced like every write of the run's holder: `false` when the lease is lost, or there is one already.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn insert_snapshot(&mut self, org: OrgId, run: RunId, epoch: u64, row: &SnapshotRow) -> Result<bool> {
        let args =
            args![org, run, row.seq, row.object_key.clone(), row.bytes, row.sha256.clone(), row.created_at, epoch];
        Ok(self.execute(INSERT, args).await? == 1)
    }

    /// Forgets the copies from before event `seq`; where their bytes are.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn delete_snapshots_before(&mut self, org: OrgId, run: RunId, seq: u64) -> Result<Vec<String>> {
        let keys: Vec<(String,)> = self.fetch_all(DELETE_BEFORE, args![org, run, seq]).await?;
        Ok(keys.into_iter().map(|(key,)| key).collect())
    }
}

impl Store {
    /// The newest copy of a run's workspace.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn newest_snapshot(&self, org: OrgId, run: RunId) -> Result<Option<SnapshotRow>> {
        self.fetch_optional(NEWEST, args![org, run]).await
    }

    /// Whether the bytes at this place are a copy of a run's workspace.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn has_snapshot(&self, org: OrgId, run: RunId, object_key: &str) -> Result<bool> {
        let found: Option<(u64,)> = self.fetch_optional(EXISTS, args![org, run, object_key.to_owned()]).await?;
        Ok(found.is_some())
    }
}
