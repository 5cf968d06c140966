//! The tenants' data keys, wrapped by the vault. What they open is not this crate's business.

use livery_core::Timestamp;
use livery_core::id::OrgId;

use crate::error::Result;
use crate::reader::Lane;
use crate::sql::{FromRow, Row, args, statements};
use crate::store::Store;
use crate::tx::Tx;

/// Data keys of one tenant that are read at once: one writable and those before it.
const DATA_KEYS_MAX: u32 = 1000;

statements! {
    INSERT = "insert into data_keys (org_id, kid, wrapped, created_at) values ($1, $2, $3, $4)
        on conflict (org_id, kid) do nothing";
    LIST = "select org_id, kid, wrapped, created_at from data_keys where org_id = $1
        order by created_at desc, kid desc limit $2";
    /// A wrapped key is `v1:ROOT:…`, the root key's id 16 characters.
    BY_ROOT = "select substr(wrapped, 4, 16), count(*) from data_keys group by substr(wrapped, 4, 16) order by 1";
    UNDER_OTHER = "select org_id, kid, wrapped, created_at from data_keys
        where substr(wrapped, 4, 16) <> $1 order by org_id, kid limit $2";
    REWRAP = "update data_keys set wrapped = $3 where org_id = $1 and kid = $2 and wrapped = $4";
}

/// Data keys re-wrapped between two commits.
const UNDER_OTHER_MAX: u32 = 200;

/// A wrapped data key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataKeyRow {
    /// The tenant.
    pub org: OrgId,
    /// The key's name in sealed values.
    pub kid: String,
    /// The key, wrapped by the root key.
    pub wrapped: String,
    /// When it was made.
    pub created_at: Timestamp,
}

impl FromRow for DataKeyRow {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self { org: row.take()?, kid: row.take()?, wrapped: row.take()?, created_at: row.take()? })
    }
}

impl Tx {
    /// Stores a data key unless one of this name is there. `true` when this call did.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn insert_data_key(&mut self, row: &DataKeyRow) -> Result<bool> {
        Ok(self.execute(INSERT, args![row.org, &row.kid, &row.wrapped, row.created_at]).await? == 1)
    }

    /// The tenant's data keys, newest first. Until the operation ends nobody else reads them like this, so that one that
    /// is missing is made once.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn list_data_keys(&mut self, org: OrgId) -> Result<Vec<DataKeyRow>> {
        self.lock_organization(org).await?;
        self.fetch_all(LIST, args![org, DATA_KEYS_MAX]).await
    }

    /// Replaces the wrapping if it is still `before`. `true` when it was.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn rewrap_data_key(&mut self, org: OrgId, kid: &str, before: &str, after: &str) -> Result<bool> {
        let args = args![org, kid.to_owned(), after.to_owned(), before.to_owned()];
        Ok(self.execute(REWRAP, args).await? == 1)
    }
}

impl Store {
    /// The tenant's data keys, newest first.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn list_data_keys(&self, org: OrgId) -> Result<Vec<DataKeyRow>> {
        self.fetch_all(Lane::Point, LIST, args![org, DATA_KEYS_MAX]).await
    }

    /// How many data keys each root key wraps.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_data_keys_by_root(&self) -> Result<Vec<(String, u64)>> {
        self.fetch_all(Lane::Scan, BY_ROOT, args![]).await
    }

    /// Data keys that another root key than this one wraps, at most 200.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_data_keys_under_other_roots(&self, root: &str) -> Result<Vec<DataKeyRow>> {
        self.fetch_all(Lane::Scan, UNDER_OTHER, args![root.to_owned(), UNDER_OTHER_MAX]).await
    }
}
