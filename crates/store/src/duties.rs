//! Duties: chores of the whole cluster, done by one node at a time.
//!
//! A duty has a time when it is due. Whoever moves that time on does it; everybody else finds it in the future. A node that
//! dies over a duty leaves it undone until it is due again, so a duty is something that may be late and may be repeated.

use livery_core::Timestamp;

use crate::error::Result;
use crate::sql::{args, statements};
use crate::tx::Tx;

statements! {
    TAKE = "insert into duties (name, owner, due_at) values ($1, $2, $4)
        on conflict (name) do update set owner = excluded.owner, due_at = excluded.due_at
        where duties.due_at <= $3";
}

impl Tx {
    /// Takes a duty that is due: `true` means that the caller does it now, and that it is due again at `next`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_take_duty(
        &mut self,
        name: &'static str,
        owner: &str,
        now: Timestamp,
        next: Timestamp,
    ) -> Result<bool> {
        Ok(self.execute(TAKE, args![name, owner.to_owned(), now, next]).await? == 1)
    }
}
