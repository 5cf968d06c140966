//! Facts about the database itself: a small key-value table.

use crate::error::Result;
use crate::sql::{args, statements};
use crate::store::Store;
use crate::tx::Tx;

statements! {
    GET = "select value from meta where key = $1";
    SET = "insert into meta (key, value) values ($1, $2) on conflict (key) do update set value = excluded.value";
    SET_ONCE = "insert into meta (key, value) values ($1, $2) on conflict (key) do nothing";
    EXCHANGE = "update meta set value = $3 where key = $1 and value = $2";
}

impl Tx {
    /// A fact, as this operation sees it.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_get_meta(&mut self, key: &str) -> Result<Option<String>> {
        Ok(self.fetch_optional::<(String,)>(GET, args![key.to_owned()]).await?.map(|(value,)| value))
    }

    /// Sets a fact.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_set_meta(&mut self, key: &str, value: &str) -> Result<()> {
        self.execute(SET, args![key.to_owned(), value.to_owned()]).await.map(drop)
    }

    /// Sets a fact unless it is set. `true` when this call did.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_set_meta_once(&mut self, key: &str, value: &str) -> Result<bool> {
        Ok(self.execute(SET_ONCE, args![key.to_owned(), value.to_owned()]).await? == 1)
    }

    /// Sets a fact that is `before`. `true` when it was.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_exchange_meta(&mut self, key: &str, before: &str, value: &str) -> Result<bool> {
        Ok(self.execute(EXCHANGE, args![key.to_owned(), before.to_owned(), value.to_owned()]).await? == 1)
    }
}

impl Store {
    /// A fact, such as the vault's key check.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_get_meta(&self, key: &str) -> Result<Option<String>> {
        Ok(self.fetch_optional::<(String,)>(GET, args![key.to_owned()]).await?.map(|(value,)| value))
    }
}
