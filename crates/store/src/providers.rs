//! Model providers of a tenant; their keys arrive and leave sealed.

use livery_core::Timestamp;
use livery_core::id::{OrgId, ProviderId};

use crate::error::{Error, Result};
use crate::reader::Lane;
use crate::sql::{FromRow, Row, args, statements};
use crate::store::Store;
use crate::tx::Tx;

/// Model providers one tenant may have.
const PROVIDERS_MAX: u32 = 1000;

statements! {
    INSERT = "insert into model_providers (id, org_id, name, kind, base_url, sealed_key, created_at, updated_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8)";
    UPDATE = "update model_providers set kind = $3, base_url = $4, sealed_key = $5, updated_at = $6
        where org_id = $1 and id = $2";
    GET = "select id, org_id, name, kind, base_url, sealed_key, created_at, updated_at from model_providers
        where org_id = $1 and id = $2";
    FIND = "select id, org_id, name, kind, base_url, sealed_key, created_at, updated_at from model_providers
        where org_id = $1 and name = $2";
    LIST = "select id, org_id, name, kind, base_url, sealed_key, created_at, updated_at from model_providers
        where org_id = $1 order by created_at desc, id desc limit $2";
    DELETE = "delete from model_providers where org_id = $1 and id = $2";
}

/// A model provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderRow {
    /// Its id.
    pub id: ProviderId,
    /// The tenant.
    pub org: OrgId,
    /// The `PROVIDER` of `PROVIDER/MODEL`; unique in the tenant.
    pub name: String,
    /// `anthropic`, `openai`, `openai_compatible`, …
    pub kind: String,
    /// Where it is, when not at its maker's.
    pub base_url: Option<String>,
    /// The key, sealed by the vault; some need none.
    pub sealed_key: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl FromRow for ProviderRow {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self {
            id: row.take()?,
            org: row.take()?,
            name: row.take()?,
            kind: row.take()?,
            base_url: row.take()?,
            sealed_key: row.take()?,
            created_at: row.take()?,
            updated_at: row.take()?,
        })
    }
}

impl Tx {
    /// A new provider.
    ///
    /// # Errors
    /// `Exists` for a name in use in the tenant.
    pub async fn insert_provider(&mut self, row: &ProviderRow) -> Result<()> {
        let args = args![
            row.id,
            row.org,
            &row.name,
            &row.kind,
            &row.base_url,
            &row.sealed_key,
            row.created_at,
            row.updated_at,
        ];
        self.execute(INSERT, args).await.map(drop)
    }

    /// Replaces kind, address and key of `row.id`; the name stays.
    ///
    /// # Errors
    /// `NotFound` without that provider in this tenant.
    pub async fn update_provider(&mut self, row: &ProviderRow) -> Result<()> {
        let args = args![row.org, row.id, &row.kind, &row.base_url, &row.sealed_key, row.updated_at];
        match self.execute(UPDATE, args).await? {
            0 => Err(Error::NotFound { what: "model provider" }),
            _ => Ok(()),
        }
    }

    /// Deletes a provider.
    ///
    /// # Errors
    /// `NotFound` without that provider in this tenant.
    pub async fn delete_provider(&mut self, org: OrgId, provider: ProviderId) -> Result<()> {
        match self.execute(DELETE, args![org, provider]).await? {
            0 => Err(Error::NotFound { what: "model provider" }),
            _ => Ok(()),
        }
    }
}

impl Store {
    /// One provider of the tenant.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn get_provider(&self, org: OrgId, provider: ProviderId) -> Result<Option<ProviderRow>> {
        self.fetch_optional(GET, args![org, provider]).await
    }

    /// The provider the tenant calls `name`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn find_provider(&self, org: OrgId, name: &str) -> Result<Option<ProviderRow>> {
        self.fetch_optional(FIND, args![org, name.to_owned()]).await
    }

    /// All providers of the tenant, newest first, at most a thousand.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn list_providers(&self, org: OrgId) -> Result<Vec<ProviderRow>> {
        self.fetch_all(Lane::Point, LIST, args![org, PROVIDERS_MAX]).await
    }
}
