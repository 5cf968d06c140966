//! `Idempotency-Key`: one answer per tenant, scope and key, for as long as the row lasts.
//!
//! Either store the answer in the write that did the work ([`Tx::idempotency_store`]), or reserve the key first, work, and
//! store the answer then. A reservation whose holder died ends by itself at its own time.
//!
//! The answer's body is kept as it comes: whoever answers with a secret seals it first.

use livery_core::Timestamp;
use livery_core::id::OrgId;

use crate::error::{Error, Result};
use crate::sql::{FromRow, Row, args, statements};
use crate::store::Store;
use crate::tx::Tx;

/// How often a key that is given back and taken at the same moment is tried for.
const RESERVE_TRIES: u32 = 3;
/// Rows one purge removes at most, so that it never holds up other writes.
const PURGE_MAX: u32 = 1000;

statements! {
    FIND = "select fingerprint, status, headers, body from idempotency
        where org_id = $1 and scope = $2 and key = $3 and expires_at > $4";
    /// An expired row is as good as none.
    RESERVE = "insert into idempotency (org_id, scope, key, fingerprint, created_at, expires_at)
        values ($1, $2, $3, $4, $5, $6)
        on conflict (org_id, scope, key) do update set fingerprint = excluded.fingerprint, status = null,
            headers = null, body = null, created_at = excluded.created_at, expires_at = excluded.expires_at
        where idempotency.expires_at <= excluded.created_at";
    STORE = "insert into idempotency (org_id, scope, key, fingerprint, status, headers, body, created_at, expires_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        on conflict (org_id, scope, key) do update set fingerprint = excluded.fingerprint, status = excluded.status,
            headers = excluded.headers, body = excluded.body, created_at = excluded.created_at,
            expires_at = excluded.expires_at
        where idempotency.expires_at <= excluded.created_at
            or (idempotency.status is null and idempotency.fingerprint = excluded.fingerprint)";
    RELEASE = "delete from idempotency where org_id = $1 and scope = $2 and key = $3 and fingerprint = $4
        and status is null";
    PURGE = "delete from idempotency where (org_id, scope, key) in (select x.org_id, x.scope, x.key
        from idempotency x where x.expires_at <= $1 order by x.expires_at limit $2)"
        => postgres "delete from idempotency where (org_id, scope, key) in (select x.org_id, x.scope, x.key
        from idempotency x where x.expires_at <= $1 order by x.expires_at limit $2 for update skip locked)";
    VOID_RESERVATIONS = "delete from idempotency where status is null";
}

/// What an idempotency row is found by, and what its request was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The tenant.
    pub org: OrgId,
    /// Principal and route.
    pub scope: String,
    /// The caller's key.
    pub key: String,
    /// A digest of the request's body.
    pub fingerprint: String,
}

/// An answer as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Header fields worth repeating.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What a key meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reservation {
    /// Nothing: the key is free, and after [`Tx::idempotency_reserve`] it is the caller's.
    Free,
    /// The same request is being worked on.
    InProgress,
    /// The same request was answered.
    Answered(Answer),
    /// The key was used with another request.
    Mismatch,
}

struct Found {
    fingerprint: String,
    answer: Option<Answer>,
}

impl FromRow for Found {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        let fingerprint = row.take()?;
        let status: Option<u16> = row.take()?;
        let headers: Option<String> = row.take()?;
        let body: Option<Vec<u8>> = row.take()?;
        let answer = match (status, headers, body) {
            (Some(status), Some(headers), Some(body)) => {
                let headers = serde_json::from_str(&headers)
                    .map_err(|error| Error::Corrupt { what: "headers", detail: error.to_string() })?;
                Some(Answer { status, headers, body })
            }
            _ => None,
        };
        Ok(Self { fingerprint, answer })
    }
}

fn judge(found: Option<Found>, key: &IdempotencyKey) -> Reservation {
    match found {
        None => Reservation::Free,
        Some(found) if found.fingerprint != key.fingerprint => Reservation::Mismatch,
        Some(Found { answer: Some(answer), .. }) => Reservation::Answered(answer),
        Some(_) => Reservation::InProgress,
    }
}

impl Tx {
    /// What the key meets, as this transaction sees it.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn idempotency_find(&mut self, key: &IdempotencyKey, now: Timestamp) -> Result<Reservation> {
        let found = self.fetch_optional(FIND, args![key.org, &key.scope, &key.key, now]).await?;
        Ok(judge(found, key))
    }

    /// Takes a free key until `until`; otherwise says what holds it.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn idempotency_reserve(
        &mut self,
        key: &IdempotencyKey,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Reservation> {
        for _ in 0..RESERVE_TRIES {
            let args = args![key.org, &key.scope, &key.key, &key.fingerprint, now, until];
            if self.execute(RESERVE, args).await? > 0 {
                return Ok(Reservation::Free);
            }
            match self.idempotency_find(key, now).await? {
                // Its holder gave it back between the two statements: it may be had now.
                Reservation::Free => {}
                held => return Ok(held),
            }
        }
        Ok(Reservation::InProgress)
    }

    /// Stores the answer until `expires_at`, over a reservation of the same request or on a free key. `false` when the
    /// key was answered before or is another request's: then undo the work by failing the operation.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn idempotency_store(
        &mut self,
        key: &IdempotencyKey,
        answer: &Answer,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<bool> {
        let headers = serde_json::to_string(&answer.headers).map_err(Error::bug)?;
        let args = args![
            key.org,
            &key.scope,
            &key.key,
            &key.fingerprint,
            answer.status,
            headers,
            answer.body.clone(),
            now,
            expires_at,
        ];
        Ok(self.execute(STORE, args).await? == 1)
    }

    /// Gives an unanswered reservation back, so that the same request can be tried again at once.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn idempotency_release(&mut self, key: &IdempotencyKey) -> Result<()> {
        self.execute(RELEASE, args![key.org, &key.scope, &key.key, &key.fingerprint]).await.map(drop)
    }

    /// Removes rows that ended before `before`, at most a thousand; how many. Call again while it removes any.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_purge_idempotency(&mut self, before: Timestamp) -> Result<u64> {
        self.execute(PURGE, args![before, PURGE_MAX]).await
    }

    /// Drops every unanswered reservation. Only where no other process can hold one: an embedded store at its start.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_void_reservations(&mut self) -> Result<u64> {
        self.execute(VOID_RESERVATIONS, args![]).await
    }
}

impl Store {
    /// What the key meets.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn idempotency_find(&self, key: &IdempotencyKey, now: Timestamp) -> Result<Reservation> {
        let found = self.fetch_optional(FIND, args![key.org, &key.scope, &key.key, now]).await?;
        Ok(judge(found, key))
    }
}
