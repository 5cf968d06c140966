//! Connections of a tenant: credentials the broker can use. Their values arrive and leave sealed.
//!
//! A value is sealed for its row and its version, so whoever replaces one says which version it replaces: of two rotations
//! at once the second has to look again.

use livery_core::Timestamp;
use livery_core::id::{AppId, ConnectionId, EndUserId, KeyId, OrgId};

use crate::error::Result;
use crate::json::Json;
use crate::page::{List, Page, Position, Scope};
use crate::reader::Lane;
use crate::sql::{FromRow, Row, args, statements, words};
use crate::store::Store;
use crate::tx::Tx;

/// Connections one slot of a run is chosen from; more are more than anybody can tell apart.
const USABLE_MAX: u32 = 100;

/// The columns of [`ConnectionRow`], in its order.
macro_rules! connection_columns {
    () => {
        "id, org_id, application_id, end_user_id, name, connector, auth, settings, sealed_value, version, status, created_by, \
         created_at, updated_at, last_used_at, tested_at, test_outcome, test_reason"
    };
}

statements! {
    INSERT = concat!("insert into connections (", connection_columns!(), ")
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)");
    GET = concat!("select ", connection_columns!(), " from connections where org_id = $1 and id = $2");
    LIST = concat!("select ", connection_columns!(), " from connections where org_id = $1 and (created_at, id) < ($2, $3)
        and (application_id is null or application_id = $4 or $4 is null) and (end_user_id = $5 or $5 is null)
        order by created_at desc, id desc limit $6");
    /// Those of the organization, of the application and of the end user; nobody else's.
    USABLE = concat!("select ", connection_columns!(), " from connections
        where org_id = $1 and connector = $2 and status <> 'revoked'
        and (application_id is null or application_id = $3) and (end_user_id is null or end_user_id = $4)
        order by id limit $5");
    COUNT = "select count(*) from connections where org_id = $1 and status <> 'revoked'";
    /// A new client of OAuth is worth a try where somebody agreed before; otherwise somebody still has to.
    ROTATE = "update connections set sealed_value = $4, version = version + 1, updated_at = $5,
        status = case when auth <> 'oauth2' or exists (select 1 from connection_tokens t
            where t.connection_id = connections.id and t.sealed_refresh is not null) then 'active' else status end,
        tested_at = null, test_outcome = null, test_reason = null
        where org_id = $1 and id = $2 and version = $3 and status <> 'revoked'";
    REVOKE = "update connections set sealed_value = null, status = 'revoked', updated_at = $3
        where org_id = $1 and id = $2 and status <> 'revoked'";
    /// Of the version that was tested and of no later one.
    NOTE_TEST = "update connections set tested_at = $4, test_outcome = $5, test_reason = $6
        where org_id = $1 and id = $2 and version = $3 and status <> 'revoked'";
    /// Of the version whose credential was refused and of no later one.
    NEED_REAUTH = "update connections set status = 'needs_reauth', updated_at = $4
        where org_id = $1 and id = $2 and version = $3 and status = 'active'";
    /// Of the version a token was got with.
    ACTIVATE = "update connections set status = 'active', updated_at = $4
        where org_id = $1 and id = $2 and version = $3 and status = 'needs_reauth'";
    /// As it was when it was read: of two changes at once the second has to look again.
    CHANGE = "update connections set name = $4, settings = $5, application_id = $6, updated_at = $7
        where org_id = $1 and id = $2 and updated_at = $3 and status <> 'revoked'";
    TOUCH = "update connections set last_used_at = $3 where org_id = $1 and id = $2
        and (last_used_at is null or last_used_at < $3)";
}

words! {
    "connection status";
    /// How a connection is.
    pub enum ConnectionStatus {
        /// It can be used.
        Active = "active",
        /// Its value is gone for good.
        Revoked = "revoked",
        /// The upstream no longer takes its value: its owner has to bring another one.
        NeedsReauth = "needs_reauth",
    }
}

/// What of a connection may be changed beside its value.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionChange {
    /// When it was changed last, as it was read.
    pub from: Timestamp,
    /// Its name.
    pub name: String,
    /// What the connector asked for beside the credential.
    pub settings: Json,
    /// The application whose runs may use it.
    pub application: Option<AppId>,
}

/// A connection.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionRow {
    /// Its id.
    pub id: ConnectionId,
    /// The tenant.
    pub org: OrgId,
    /// The application whose runs may use it; `None`: all of the tenant's.
    pub application: Option<AppId>,
    /// The end user whose runs alone may use it.
    pub end_user: Option<EndUserId>,
    /// Its name, unique on its level.
    pub name: String,
    /// What it connects to.
    pub connector: String,
    /// The kind of its credential.
    pub auth: String,
    /// What the connector asked for beside the credential.
    pub settings: Json,
    /// The credential, sealed by the vault for this row and version; `None` once it is revoked.
    pub sealed_value: Option<String>,
    /// Counts the rotations, from 1.
    pub version: u32,
    /// How it is.
    pub status: ConnectionStatus,
    /// The key that created it.
    pub created_by: KeyId,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its value or status changed last.
    pub updated_at: Timestamp,
    /// When it was used last, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// When its present value was tested.
    pub tested_at: Option<Timestamp>,
    /// `ok` or `refused`.
    pub test_outcome: Option<String>,
    /// Why it was refused.
    pub test_reason: Option<String>,
}

impl FromRow for ConnectionRow {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self {
            id: row.take()?,
            org: row.take()?,
            application: row.take()?,
            end_user: row.take()?,
            name: row.take()?,
            connector: row.take()?,
            auth: row.take()?,
            settings: row.take()?,
            sealed_value: row.take()?,
            version: row.take()?,
            status: row.take()?,
            created_by: row.take()?,
            created_at: row.take()?,
            updated_at: row.take()?,
            last_used_at: row.take()?,
            tested_at: row.take()?,
            test_outcome: row.take()?,
            test_reason: row.take()?,
        })
    }
}

impl Tx {
    /// A new connection.
    ///
    /// # Errors
    /// `Exists` for a name in use on its level; `NotFound` for an application or end user that is not of this tenant.
    pub async fn insert_connection(&mut self, row: &ConnectionRow) -> Result<()> {
        let args = args![
            row.id,
            row.org,
            row.application,
            row.end_user,
            &row.name,
            &row.connector,
            &row.auth,
            &row.settings,
            &row.sealed_value,
            row.version,
            row.status.as_str(),
            row.created_by,
            row.created_at,
            row.updated_at,
            row.last_used_at,
            row.tested_at,
            &row.test_outcome,
            &row.test_reason,
        ];
        self.execute(INSERT, args).await.map(drop)
    }

    /// How many connections that are not revoked the tenant has, for its limit: until the operation ends nobody else counts.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn count_connections(&mut self, org: OrgId) -> Result<u64> {
        self.lock_organization(org).await?;
        Ok(self.fetch_optional::<(u64,)>(COUNT, args![org]).await?.map_or(0, |(count,)| count))
    }

    /// Replaces the value of version `from` by one sealed for the version after it. `false`: somebody else did, or it is
    /// revoked.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn rotate_connection(
        &mut self,
        org: OrgId,
        connection: ConnectionId,
        from: u32,
        sealed_value: &str,
        now: Timestamp,
    ) -> Result<bool> {
        let args = args![org, connection, from, sealed_value.to_owned(), now];
        let rotated = self.execute(ROTATE, args).await? == 1;
        self.rings.connections |= rotated;
        Ok(rotated)
    }

    /// Revokes a connection and forgets its value. `false`: there is none in this tenant, or it is revoked already.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn revoke_connection(&mut self, org: OrgId, connection: ConnectionId, now: Timestamp) -> Result<bool> {
        let revoked = self.execute(REVOKE, args![org, connection, now]).await? == 1;
        self.rings.connections |= revoked;
        Ok(revoked)
    }

    /// Notes that the upstream takes the credential of version `of` no more. `false`: that version is gone, or it is known.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn need_connection_reauth(
        &mut self,
        org: OrgId,
        connection: ConnectionId,
        of: u32,
        now: Timestamp,
    ) -> Result<bool> {
        let noted = self.execute(NEED_REAUTH, args![org, connection, of, now]).await? == 1;
        self.rings.connections |= noted;
        Ok(noted)
    }

    /// Notes that version `of` is good again. `false`: it was, or is gone.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn activate_connection(
        &mut self,
        org: OrgId,
        connection: ConnectionId,
        of: u32,
        now: Timestamp,
    ) -> Result<bool> {
        Ok(self.execute(ACTIVATE, args![org, connection, of, now]).await? == 1)
    }

    /// Changes everything but the value. `false`: it was changed since it was read, or is revoked.
    ///
    /// # Errors
    /// `Exists` for a name in use on its level; `NotFound` for an application that is not of this tenant.
    pub async fn change_connection(
        &mut self,
        org: OrgId,
        connection: ConnectionId,
        change: &ConnectionChange,
        now: Timestamp,
    ) -> Result<bool> {
        let args = args![org, connection, change.from, &change.name, &change.settings, change.application, now];
        Ok(self.execute(CHANGE, args).await? == 1)
    }

    /// Notes how a test of version `of` went; `reason` is given when it was refused. `false`: that version is gone.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn note_connection_test(
        &mut self,
        org: OrgId,
        connection: ConnectionId,
        of: u32,
        now: Timestamp,
        reason: Option<&str>,
    ) -> Result<bool> {
        let outcome = if reason.is_none() { "ok" } else { "refused" };
        let args = args![org, connection, of, now, outcome, reason.map(str::to_owned)];
        Ok(self.execute(NOTE_TEST, args).await? == 1)
    }
}

impl Store {
    /// One connection of the tenant.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn get_connection(&self, org: OrgId, connection: ConnectionId) -> Result<Option<ConnectionRow>> {
        self.fetch_optional(GET, args![org, connection]).await
    }

    /// Connections of the tenant: with `app`, those of the organization and of that application; with `end_user`, that
    /// one's alone.
    ///
    /// # Errors
    /// `InvalidCursor`, and those of the database.
    pub async fn list_connections(
        &self,
        org: OrgId,
        app: Option<AppId>,
        end_user: Option<EndUserId>,
        page: &Page,
    ) -> Result<List<ConnectionRow>> {
        let scope = Scope::new("connections", org)
            .with(&app.map(|app| app.to_string()).unwrap_or_default())
            .with(&end_user.map(|user| user.to_string()).unwrap_or_default());
        let (from, rows) = page.start(&scope)?;
        let args = args![org, from.created_at, ConnectionId::from_bits(from.id_bits), app, end_user, rows];
        let rows = self.fetch_page(Lane::Scan, LIST, args).await?;
        let position = |row: &ConnectionRow| Position { created_at: row.created_at, id_bits: row.id.bits() };
        Ok(page.finish(&scope, rows, position))
    }

    /// What a slot for this connector may be filled with, in a run of this application for this end user, at most
    /// [`USABLE_MAX`] of them.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn usable_connections(
        &self,
        org: OrgId,
        connector: &str,
        app: Option<AppId>,
        end_user: Option<EndUserId>,
    ) -> Result<Vec<ConnectionRow>> {
        let args = args![org, connector.to_owned(), app, end_user, USABLE_MAX];
        self.fetch_all(Lane::Point, USABLE, args).await
    }

    /// Notes that a connection was used. Returns at once, and writes nothing when the writer has more important things to
    /// do; the caller asks at most once a minute.
    pub fn touch_connection(&self, org: OrgId, connection: ConnectionId, now: Timestamp) {
        let args = args![org, connection, now];
        self.write_if_idle(move |tx| Box::pin(async move { tx.execute(TOUCH, args).await.map(drop) }));
    }
}
