//! What is let go with time: the contents of runs that ended long ago, and deliveries that arrived. In small batches, through
//! indexes of their own, so that nobody waits for it; twice is once, so any number of nodes may do it.

use livery_core::Timestamp;
use livery_core::id::{OrgId, RunId};

use crate::error::Result;
use crate::reader::Lane;
use crate::sql::{args, statements};
use crate::store::Store;
use crate::tx::Tx;

/// Deliveries that go in one write.
const DELIVERIES_MAX: u32 = 500;

statements! {
    OVERDUE = "select org_id, id from runs where finished_at < $1 and payloads_deleted_at is null
        order by finished_at, id limit $2";
    EMPTY = "update runs set input = 'null', output = null, payloads_deleted_at = $3
        where id = $2 and (org_id = $1 and finished_at is not null and payloads_deleted_at is null) is true";
    EMPTY_APPROVALS = "update approvals set card = '', subject = 'null', reason = '', note = null
        where (org_id = $1) is true and run_id = $2";
    PURGE_DELIVERIES = "delete from deliveries where id in (select x.id from deliveries x
        where x.status = 'delivered' and x.created_at < $1 order by x.created_at, x.id limit $2)";
    PURGE_GIVEN_UP = "delete from deliveries where id in (select x.id from deliveries x
        where x.status in ('failed', 'cancelled') and x.created_at < $1 order by x.created_at, x.id limit $2)";
}

impl Tx {
    /// Takes the contents out of a run that ended: its payloads, its input and output, what its approvals showed. Headers, digests, status, usage and
    /// error stay. `false` when that had been done, or the run is not over.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn empty_run(&mut self, org: OrgId, run: RunId, now: Timestamp) -> Result<bool> {
        if self.execute(EMPTY, args![org, run, now]).await? == 0 {
            return Ok(false);
        }
        self.execute_ahead(EMPTY_APPROVALS, args![org, run]).await?;
        self.delete_run_payloads(org, run).await?;
        Ok(true)
    }

    /// Deletes deliveries that arrived and were made before `before`, some at a time. How many went.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_purge_deliveries(&mut self, before: Timestamp) -> Result<u64> {
        let delivered = self.execute(PURGE_DELIVERIES, args![before, DELIVERIES_MAX]).await?;
        Ok(delivered + self.execute(PURGE_GIVEN_UP, args![before, DELIVERIES_MAX]).await?)
    }
}

impl Store {
    /// Runs of all tenants that ended before `before` and still have their contents, the oldest first, at most `limit`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_overdue_runs(&self, before: Timestamp, limit: u32) -> Result<Vec<(OrgId, RunId)>> {
        self.fetch_all(Lane::Point, OVERDUE, args![before, limit]).await
    }
}
