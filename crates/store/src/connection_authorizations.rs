//! Consents under way: a person was sent to an authorization server and has not come back.
//!
//! Known by the digest of the state alone. The first browser that opens one is the one that may bring the answer, once.

use livery_core::Timestamp;
use livery_core::id::{ConnectionId, KeyId, OrgId};

use crate::error::Result;
use crate::sql::{FromRow, Row, args, statements};
use crate::tx::Tx;

/// The columns of [`ConnectionAuthorizationRow`], in its order.
macro_rules! authorization_columns {
    () => {
        "id, org_id, connection_id, version, sealed_verifier, redirect_uri, created_by, created_at, expires_at"
    };
}

statements! {
    FORGET = "delete from connection_authorizations where org_id = $1 and connection_id = $2";
    INSERT = concat!("insert into connection_authorizations (", authorization_columns!(), ")
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9)");
    BEGIN = concat!("update connection_authorizations set browser = $2
        where id = $1 and browser is null and expires_at > $3 returning ", authorization_columns!());
    TAKE = concat!("delete from connection_authorizations
        where id = $1 and browser = $2 and expires_at > $3 returning ", authorization_columns!());
}

/// A consent under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionAuthorizationRow {
    /// Digest of the state, hex.
    pub id: String,
    /// The tenant.
    pub org: OrgId,
    /// What it is for.
    pub connection: ConnectionId,
    /// The version of the connection it is for.
    pub version: u32,
    /// The PKCE verifier, sealed for this row.
    pub sealed_verifier: String,
    /// Where the browser comes back.
    pub redirect_uri: String,
    /// The key that asked.
    pub created_by: KeyId,
    /// When.
    pub created_at: Timestamp,
    /// When it is over.
    pub expires_at: Timestamp,
}

impl FromRow for ConnectionAuthorizationRow {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self {
            id: row.take()?,
            org: row.take()?,
            connection: row.take()?,
            version: row.take()?,
            sealed_verifier: row.take()?,
            redirect_uri: row.take()?,
            created_by: row.take()?,
            created_at: row.take()?,
            expires_at: row.take()?,
        })
    }
}

impl Tx {
    /// A new consent; one that was under way for the same connection is over.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn insert_connection_authorization(&mut self, row: &ConnectionAuthorizationRow) -> Result<()> {
        self.forget_connection_authorization(row.org, row.connection).await?;
        let args = args![
            &row.id,
            row.org,
            row.connection,
            row.version,
            &row.sealed_verifier,
            &row.redirect_uri,
            row.created_by,
            row.created_at,
            row.expires_at,
        ];
        self.execute(INSERT, args).await.map(drop)
    }

    /// Ends what is under way for a connection.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn forget_connection_authorization(&mut self, org: OrgId, connection: ConnectionId) -> Result<()> {
        self.execute(FORGET, args![org, connection]).await.map(drop)
    }

    /// The first browser that comes: from now on it is the only one. `None`: there was one, or it is over.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_begin_authorization(
        &mut self,
        id: &str,
        browser: &str,
        now: Timestamp,
    ) -> Result<Option<ConnectionAuthorizationRow>> {
        self.fetch_optional(BEGIN, args![id.to_owned(), browser.to_owned(), now]).await
    }

    /// The browser comes back, once. `None`: it is another one, or the consent is over.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_take_authorization(
        &mut self,
        id: &str,
        browser: &str,
        now: Timestamp,
    ) -> Result<Option<ConnectionAuthorizationRow>> {
        self.fetch_optional(TAKE, args![id.to_owned(), browser.to_owned(), now]).await
    }
}
