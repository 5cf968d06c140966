//! The keys that sign receipts: the platform's own, no tenant's. Their seeds arrive sealed.

use livery_core::Timestamp;

use crate::error::Result;
use crate::reader::Lane;
use crate::sql::{FromRow, Row, args, statements};
use crate::store::Store;
use crate::tx::Tx;

/// Keys that are read at once, newest first.
const KEYS_MAX: u32 = 1000;

statements! {
    INSERT = "insert into receipt_keys (id, public_key, wrapped_key, sealed_seed, created_at)
        values ($1, $2, $3, $4, $5) on conflict (id) do nothing";
    INSERT_FIRST = "insert into receipt_keys (id, public_key, wrapped_key, sealed_seed, created_at)
        select $1, $2, $3, $4, $5 where not exists (select 1 from receipt_keys) on conflict (id) do nothing";
    REWRAP = "update receipt_keys set wrapped_key = $2 where id = $1 and wrapped_key = $3";
    LIST = "select id, public_key, wrapped_key, sealed_seed, created_at from receipt_keys
        order by created_at desc, id desc limit $1";
}

/// A key that signs receipts, or did.
#[derive(Clone, PartialEq, Eq)]
pub struct ReceiptKeyRow {
    /// Its name in signatures, made of the public half.
    pub id: String,
    /// The public half, standard base64.
    pub public_key: String,
    /// The data key that seals the seed, wrapped by the root key.
    pub wrapped_key: String,
    /// The private half, sealed.
    pub sealed_seed: String,
    /// When it was made.
    pub created_at: Timestamp,
}

impl FromRow for ReceiptKeyRow {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self {
            id: row.take()?,
            public_key: row.take()?,
            wrapped_key: row.take()?,
            sealed_seed: row.take()?,
            created_at: row.take()?,
        })
    }
}

impl Tx {
    /// Stores a new key, which signs from now on.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_insert_receipt_key(&mut self, key: &ReceiptKeyRow) -> Result<()> {
        let args = args![&key.id, &key.public_key, &key.wrapped_key, &key.sealed_seed, key.created_at];
        self.execute(INSERT, args).await.map(drop)
    }

    /// Stores the first key, unless there is one.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_insert_first_receipt_key(&mut self, key: &ReceiptKeyRow) -> Result<()> {
        let args = args![&key.id, &key.public_key, &key.wrapped_key, &key.sealed_seed, key.created_at];
        self.execute(INSERT_FIRST, args).await.map(drop)
    }
}

impl Tx {
    /// Replaces the wrapping of a key's data key if it is still `before`. `true` when it was.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_rewrap_receipt_key(&mut self, id: &str, before: &str, after: &str) -> Result<bool> {
        Ok(self.execute(REWRAP, args![id.to_owned(), after.to_owned(), before.to_owned()]).await? == 1)
    }
}

impl Store {
    /// Every key, newest first.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_list_receipt_keys(&self) -> Result<Vec<ReceiptKeyRow>> {
        self.fetch_all(Lane::Point, LIST, args![KEYS_MAX]).await
    }
}
