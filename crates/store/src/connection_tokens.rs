//! The tokens that connections are exchanged for, sealed, shared by all nodes.
//!
//! One at a time asks for the next token of a connection: who holds the claim. A claim runs out, so a node that died with one
//! stops nobody. A new token is written over the generation it follows and over no other, so of two that were got by mistake
//! one is kept and the other one's loss is noticed.

use livery_core::Timestamp;
use livery_core::id::{ConnectionId, OrgId};

use crate::error::Result;
use crate::json::Json;
use crate::sql::{FromRow, Row, args, statements};
use crate::store::Store;
use crate::tx::Tx;

statements! {
    GET = "select version, generation, sealed_access, sealed_refresh, scopes, expires_at, refresh_at, claimed_until
        from connection_tokens where org_id = $1 and connection_id = $2";
    /// The first claim makes the row. Generation $3 is the one that was looked at.
    CLAIM = "insert into connection_tokens
            (connection_id, org_id, version, generation, scopes, claim_id, claimed_until, updated_at)
        select id, org_id, version, 0, '[]', cast($4 as text), cast($5 as bigint), cast($6 as bigint)
        from connections where org_id = $1 and id = $2 and status <> 'revoked'
        on conflict (connection_id) do update
        set claim_id = excluded.claim_id, claimed_until = excluded.claimed_until, updated_at = excluded.updated_at
        where connection_tokens.generation = $3
        and (connection_tokens.claimed_until is null or connection_tokens.claimed_until <= $6)";
    RELEASE = "update connection_tokens set claim_id = null, claimed_until = null
        where org_id = $1 and connection_id = $2 and claim_id = $3";
    /// Whoever has a token that follows this generation writes it, claim or no claim: what it replaces may be good no more.
    RENEW = "update connection_tokens set version = $4, generation = generation + 1, sealed_access = $5, sealed_refresh = $6,
        scopes = $7, expires_at = $8, refresh_at = $9, claim_id = null, claimed_until = null, updated_at = $10
        where org_id = $1 and connection_id = $2 and generation = $3";
    /// After a person agreed: whatever was there, and whoever was asking for more of it.
    REPLACE = "insert into connection_tokens
            (connection_id, org_id, version, generation, sealed_access, sealed_refresh, scopes, expires_at, refresh_at, updated_at)
        select id, org_id, version, cast($4 as bigint), cast($5 as text), cast($6 as text), cast($7 as text),
            cast($8 as bigint), cast($9 as bigint), cast($10 as bigint)
        from connections where org_id = $1 and id = $2 and version = $3 and status <> 'revoked'
        on conflict (connection_id) do update
        set version = excluded.version, generation = excluded.generation, sealed_access = excluded.sealed_access,
            sealed_refresh = excluded.sealed_refresh, scopes = excluded.scopes, expires_at = excluded.expires_at,
            refresh_at = excluded.refresh_at, claim_id = null, claimed_until = null, updated_at = excluded.updated_at
        where connection_tokens.generation < excluded.generation";
    /// The refresh token stays: it is what the next access token is asked for with. One that was just got is not doubted.
    SPOIL = "update connection_tokens set sealed_access = null
        where org_id = $1 and connection_id = $2 and generation = $3 and updated_at <= $4 and claim_id is null";
    DELETE = "delete from connection_tokens where org_id = $1 and connection_id = $2";
}

/// The present token of a connection.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionTokenRow {
    /// The version of the connection it was got with.
    pub version: u32,
    /// Counts the tokens; 0 before the first one.
    pub generation: u32,
    /// The access token, sealed for the connection and this generation; `None` when it is known to be good no more.
    pub sealed_access: Option<String>,
    /// The refresh token, sealed likewise.
    pub sealed_refresh: Option<String>,
    /// What was granted, as a JSON list; empty when nobody said.
    pub scopes: Json,
    /// When the access token is over; `None`: nobody said.
    pub expires_at: Option<Timestamp>,
    /// When the next one is asked for.
    pub refresh_at: Option<Timestamp>,
    /// Until when somebody is asking for the next one.
    pub claimed_until: Option<Timestamp>,
}

impl FromRow for ConnectionTokenRow {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self {
            version: row.take()?,
            generation: row.take()?,
            sealed_access: row.take()?,
            sealed_refresh: row.take()?,
            scopes: row.take()?,
            expires_at: row.take()?,
            refresh_at: row.take()?,
            claimed_until: row.take()?,
        })
    }
}

/// Who asks for the next token, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenClaim {
    /// A name nobody else has.
    pub id: String,
    /// When it runs out.
    pub until: Timestamp,
}

impl Tx {
    /// Takes the claim on the token after generation `from`. `false`: somebody else has it, or that token is there already, or
    /// there is no such connection.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn claim_connection_token(
        &mut self,
        org: OrgId,
        connection: ConnectionId,
        from: u32,
        claim: &TokenClaim,
        now: Timestamp,
    ) -> Result<bool> {
        let args = args![org, connection, from, claim.id.clone(), claim.until, now];
        Ok(self.execute(CLAIM, args).await? == 1)
    }

    /// Gives a claim back.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn release_connection_token(
        &mut self,
        org: OrgId,
        connection: ConnectionId,
        claim: &str,
    ) -> Result<bool> {
        Ok(self.execute(RELEASE, args![org, connection, claim.to_owned()]).await? == 1)
    }

    /// Writes the token that follows generation `row.generation - 1`. `false`: another one is there.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn renew_connection_token(
        &mut self,
        org: OrgId,
        connection: ConnectionId,
        row: &ConnectionTokenRow,
        now: Timestamp,
    ) -> Result<bool> {
        let args = args![
            org,
            connection,
            row.generation.saturating_sub(1),
            row.version,
            &row.sealed_access,
            &row.sealed_refresh,
            &row.scopes,
            row.expires_at,
            row.refresh_at,
            now,
        ];
        Ok(self.execute(RENEW, args).await? == 1)
    }

    /// Writes the token of a new consent, for version `row.version` of the connection. `false`: that is gone, or a later token
    /// is there.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn replace_connection_token(
        &mut self,
        org: OrgId,
        connection: ConnectionId,
        row: &ConnectionTokenRow,
        now: Timestamp,
    ) -> Result<bool> {
        let args = args![
            org,
            connection,
            row.version,
            row.generation,
            &row.sealed_access,
            &row.sealed_refresh,
            &row.scopes,
            row.expires_at,
            row.refresh_at,
            now,
        ];
        Ok(self.execute(REPLACE, args).await? == 1)
    }

    /// Notes that the access token of this generation is not taken any more. `false`: a later one is there or asked for, or it
    /// was got after `before`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn spoil_connection_token(
        &mut self,
        org: OrgId,
        connection: ConnectionId,
        generation: u32,
        before: Timestamp,
    ) -> Result<bool> {
        Ok(self.execute(SPOIL, args![org, connection, generation, before]).await? == 1)
    }

    /// Forgets the tokens of a connection.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn delete_connection_token(&mut self, org: OrgId, connection: ConnectionId) -> Result<bool> {
        Ok(self.execute(DELETE, args![org, connection]).await? == 1)
    }
}

impl Store {
    /// The present token of a connection.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn get_connection_token(
        &self,
        org: OrgId,
        connection: ConnectionId,
    ) -> Result<Option<ConnectionTokenRow>> {
        self.fetch_optional(GET, args![org, connection]).await
    }
}
