//! Facts about the database itself: a small key-value table.

use crate::error::Result;
use crate::sql::{args, statements};
use crate::store::Store;
use crate::tx::Tx;

statements! {
    GET = "select value from meta where key = $1";
    SET = "insert into meta (key, value) values ($1, $2) on conflict (key) do update set value = excluded.value";
    SET_ONCE = "insert into meta (key, value) values ($1, $2) on conflict (key) do nothing";
}

impl Tx {
    /// A fact, as this operation sees it.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_get_meta(&mut self, key: &'static str) -> Result<Option<String>> {
        Ok(self.fetch_optional::<(String,)>(GET, args![key]).await?.map(|(value,)| value))
    }

    /// Sets a fact.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_set_meta(&mut self, key: &'static str, value: &str) -> Result<()> {
        self.execute(SET, args![key, value.to_owned()]).await.map(drop)
    }

    /// Sets a fact unless it is set. `true` when this call did.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_set_meta_once(&mut self, key: &'static str, value: &str) -> Result<bool> {
        Ok(self.execute(SET_ONCE, args![key, value.to_owned()]).await? == 1)
    }
}

impl Store {
    /// A fact, such as the vault's key check.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_get_meta(&self, key: &'static str) -> Result<Option<String>> {
        Ok(self.fetch_optional::<(String,)>(GET, args![key]).await?.map(|(value,)| value))
    }
}
