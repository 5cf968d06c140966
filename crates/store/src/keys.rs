//! API keys: rows only. The secret is hashed by the caller and never comes here.

use std::sync::PoisonError;

use futures_util::FutureExt;
use livery_core::Timestamp;
use livery_core::id::{AppId, KeyId, OrgId};

use crate::error::Result;
use crate::page::{List, Page, Position, Scope};
use crate::reader::Lane;
use crate::sql::{FromRow, Row, args, statements};
use crate::store::Store;
use crate::tx::Tx;
use crate::{Error, Json};

/// A key's last use is written at most this often.
const TOUCH_INTERVAL_MS: u64 = 60_000;
/// Keys whose last write is remembered; beyond it the memory starts anew, which costs a write more per key.
const TOUCHED_MAX: usize = 10_000;

statements! {
    INSERT = "insert into api_keys
        (id, org_id, application_id, name, prefix, hash, scopes, rate_limited, created_at, expires_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    FIND = "select id, org_id, application_id, name, prefix, scopes, rate_limited, created_at, expires_at, revoked_at,
        last_used_at from api_keys where hash = $1";
    GET = "select id, org_id, application_id, name, prefix, scopes, rate_limited, created_at, expires_at, revoked_at,
        last_used_at from api_keys where org_id = $1 and id = $2";
    LIST = "select id, org_id, application_id, name, prefix, scopes, rate_limited, created_at, expires_at, revoked_at,
        last_used_at from api_keys where org_id = $1 and (created_at, id) < ($2, $3)
        and (application_id = $4 or $4 is null) order by created_at desc, id desc limit $5";
    REVOKE = "update api_keys set revoked_at = coalesce(revoked_at, $3) where org_id = $1 and id = $2";
    TOUCH = "update api_keys set last_used_at = $3 where org_id = $1 and id = $2
        and (last_used_at is null or last_used_at < $3)";
}

/// A key to store.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    /// Its id.
    pub id: KeyId,
    /// The tenant.
    pub org: OrgId,
    /// The one application it is for; `None`: the whole organization.
    pub application: Option<AppId>,
    /// A name for people.
    pub name: String,
    /// The first characters of the secret, to recognise it by.
    pub prefix: String,
    /// SHA-256 of the secret.
    pub hash: [u8; 32],
    /// What it may do: a JSON array of names.
    pub scopes: Json,
    /// Whether the rate limit applies (the bootstrap key has none).
    pub rate_limited: bool,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
}

/// A stored key, without its hash.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiKeyRow {
    /// Its id.
    pub id: KeyId,
    /// The tenant.
    pub org: OrgId,
    /// The one application it is for.
    pub application: Option<AppId>,
    /// A name for people.
    pub name: String,
    /// The first characters of the secret.
    pub prefix: String,
    /// What it may do: a JSON array of names.
    pub scopes: Json,
    /// Whether the rate limit applies.
    pub rate_limited: bool,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Its last use, to the minute.
    pub last_used_at: Option<Timestamp>,
}

impl FromRow for ApiKeyRow {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self {
            id: row.take()?,
            org: row.take()?,
            application: row.take()?,
            name: row.take()?,
            prefix: row.take()?,
            scopes: row.take()?,
            rate_limited: row.take()?,
            created_at: row.take()?,
            expires_at: row.take()?,
            revoked_at: row.take()?,
            last_used_at: row.take()?,
        })
    }
}

impl Tx {
    /// A new key.
    ///
    /// # Errors
    /// `Exists` for an id or hash in use, `NotFound` for an unknown application.
    pub async fn insert_api_key(&mut self, key: &NewApiKey) -> Result<()> {
        let args = args![
            key.id,
            key.org,
            key.application,
            &key.name,
            &key.prefix,
            &key.hash,
            &key.scopes,
            key.rate_limited,
            key.created_at,
            key.expires_at,
        ];
        self.execute(INSERT, args).await.map(drop)
    }

    /// Revokes a key. Revoking twice keeps the first time.
    ///
    /// # Errors
    /// `NotFound` without that key in this tenant.
    pub async fn revoke_api_key(&mut self, org: OrgId, key: KeyId, now: Timestamp) -> Result<()> {
        match self.execute(REVOKE, args![org, key, now]).await? {
            0 => Err(Error::NotFound { what: "api key" }),
            _ => Ok(()),
        }
    }
}

impl Store {
    /// The key with this hash, whatever its tenant: this is how a caller becomes one. Expired and revoked keys are found
    /// too; the caller judges.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_find_api_key(&self, hash: &[u8; 32]) -> Result<Option<ApiKeyRow>> {
        self.fetch_optional(FIND, args![hash]).await
    }

    /// One key of the tenant.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn get_api_key(&self, org: OrgId, key: KeyId) -> Result<Option<ApiKeyRow>> {
        self.fetch_optional(GET, args![org, key]).await
    }

    /// Keys of the tenant, of one application or of all.
    ///
    /// # Errors
    /// `InvalidCursor`, and those of the database.
    pub async fn list_api_keys(&self, org: OrgId, app: Option<AppId>, page: &Page) -> Result<List<ApiKeyRow>> {
        let scope = Scope::new("api_keys", org).with(&app.map(|app| app.to_string()).unwrap_or_default());
        let (from, rows) = page.start(&scope)?;
        let args = args![org, from.created_at, KeyId::from_bits(from.id_bits), app, rows];
        let rows = self.fetch_page(Lane::Scan, LIST, args).await?;
        let position = |row: &ApiKeyRow| Position { created_at: row.created_at, id_bits: row.id.bits() };
        Ok(page.finish(&scope, rows, position))
    }

    /// Notes that the key was used. Returns at once; writes at most once a minute per key, and not at all when the writer
    /// has more important things to do.
    pub fn touch_api_key(&self, org: OrgId, key: KeyId, now: Timestamp) {
        {
            let mut touched = self.touched().lock().unwrap_or_else(PoisonError::into_inner);
            if touched.get(&key).is_some_and(|last| now.millis_since(*last) < TOUCH_INTERVAL_MS) {
                return;
            }
            if touched.len() >= TOUCHED_MAX {
                touched.clear();
            }
            touched.insert(key, now);
        }
        self.write_if_idle(move |tx| async move { tx.execute(TOUCH, args![org, key, now]).await.map(drop) }.boxed());
    }
}
