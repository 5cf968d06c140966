//! Every POST's way into the store: with an `Idempotency-Key`, the answer is stored in the transaction that makes it true.

use futures_util::future::BoxFuture;
use livery_broker::Secret;
use livery_core::{Error, Result, Timestamp};
use livery_store::{Answer, IdempotencyKey, Reservation, Tx};
use serde::Serialize;

use crate::{Caller, Idempotency, Platform, Posted};

/// How long an answer is kept.
pub const IDEMPOTENCY_HOURS: i64 = 24;
/// Longest key.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// What a stored answer with a secret in it is sealed as.
const ANSWER_FIELD: &str = "answer";
/// The same request is being worked on.
const IN_PROGRESS: &str = "idempotency_in_progress";

impl Platform {
    /// The stored answer, when this very request was answered before: looked for ahead of checks whose outcome may have
    /// changed since, and of work that is not undone. [`Platform::post`] looks again in its transaction.
    pub(crate) async fn answered<T>(&self, caller: &Caller) -> Result<Option<Posted<T>>> {
        let Some(idempotency) = caller.idempotency.clone() else { return Ok(None) };
        match self.store.idempotency_find(&key_of(caller, idempotency), self.clock.now()).await? {
            Reservation::Answered(answer) => {
                Ok(Some(Posted::Replayed(String::from_utf8(answer.body).map_err(Error::internal)?)))
            }
            Reservation::Mismatch => Err(Error::IdempotencyMismatch),
            Reservation::Free | Reservation::InProgress => Ok(None),
        }
    }

    /// Whether this very request was answered before.
    ///
    /// # Errors
    /// [`Error::IdempotencyMismatch`] when its key belongs to another.
    pub(crate) async fn was_answered(&self, caller: &Caller) -> Result<bool> {
        Ok(self.answered::<()>(caller).await?.is_some())
    }

    /// Runs `effect` in a transaction, once per idempotency key.
    pub(crate) async fn post<T, F>(&self, caller: &Caller, effect: F) -> Result<Posted<T>>
    where
        T: Serialize + Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, livery_store::Result<T>> + Send + 'static,
    {
        let Some(idempotency) = caller.idempotency.clone() else {
            return Ok(Posted::Fresh(self.store.write(effect).await?));
        };
        let (key, now) = (key_of(caller, idempotency), self.clock.now());
        let asked = key.clone();
        let posted = self
            .store
            .write(move |tx| {
                Box::pin(async move {
                    if let Some(body) = replay(tx, &key, now).await? {
                        return Ok(Posted::Replayed(body));
                    }
                    let answer = effect(tx).await?;
                    let body = serde_json::to_string(&answer).map_err(Error::internal)?;
                    remember(tx, &key, body, now).await?;
                    Ok(Posted::Fresh(answer))
                })
            })
            .await;
        self.or_replay(posted, &asked).await
    }

    /// The same for an answer that shows a secret once: what is stored for a replay is sealed.
    pub(crate) async fn post_secret<T, F>(&self, caller: &Caller, answer: T, effect: F) -> Result<Posted<T>>
    where
        T: Serialize + Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, livery_store::Result<()>> + Send + 'static,
    {
        let Some(idempotency) = caller.idempotency.clone() else {
            self.store.write(effect).await?;
            return Ok(Posted::Fresh(answer));
        };
        let (org, key, now) = (caller.principal.org, key_of(caller, idempotency), self.clock.now());
        let asked = key.clone();
        let owner = format!("{} {}", key.scope, key.key);
        let body = Secret::from(serde_json::to_string(&answer).map_err(Error::internal)?);
        let sealed = self.vault.seal(&self.store, org, &owner, ANSWER_FIELD, &body, now).await?;
        let posted = self
            .store
            .write(move |tx| {
                Box::pin(async move {
                    if let Some(body) = replay(tx, &key, now).await? {
                        return Ok(Posted::Replayed(body));
                    }
                    effect(tx).await?;
                    remember(tx, &key, sealed, now).await?;
                    Ok(Posted::Fresh(answer))
                })
            })
            .await;
        match self.or_replay(posted, &asked).await? {
            Posted::Fresh(answer) => Ok(Posted::Fresh(answer)),
            Posted::Replayed(sealed) => {
                let body = self.vault.unseal(&self.store, org, &owner, ANSWER_FIELD, &sealed, now).await?;
                let body = String::from_utf8(body.expose_secret().to_vec()).map_err(Error::internal)?;
                Ok(Posted::Replayed(body))
            }
        }
    }
}

impl Platform {
    /// A request that came twice at once: this one gave way in the end, its work is undone, and the other's answer is its own.
    async fn or_replay<T>(&self, posted: livery_store::Result<Posted<T>>, key: &IdempotencyKey) -> Result<Posted<T>> {
        let refused = match posted.map_err(Error::from) {
            Err(refused @ Error::Conflict { code: IN_PROGRESS, .. }) => refused,
            posted => return posted,
        };
        match self.store.idempotency_find(key, self.clock.now()).await? {
            Reservation::Answered(answer) => {
                Ok(Posted::Replayed(String::from_utf8(answer.body).map_err(Error::internal)?))
            }
            _ => Err(refused),
        }
    }
}

/// No principal can replay another's answer, and no route another route's.
fn key_of(caller: &Caller, idempotency: Idempotency) -> IdempotencyKey {
    IdempotencyKey {
        org: caller.principal.org,
        scope: format!("{} {}", caller.principal.key, idempotency.route),
        key: idempotency.key,
        fingerprint: idempotency.fingerprint,
    }
}

/// The stored body, when this very request was answered before.
async fn replay(tx: &mut Tx, key: &IdempotencyKey, now: Timestamp) -> livery_store::Result<Option<String>> {
    match tx.idempotency_find(key, now).await? {
        Reservation::Free => Ok(None),
        Reservation::Answered(answer) => Ok(Some(String::from_utf8(answer.body).map_err(Error::internal)?)),
        Reservation::Mismatch => Err(Error::IdempotencyMismatch.into()),
        Reservation::InProgress => Err(in_progress()),
    }
}

fn in_progress() -> livery_store::Error {
    let detail = "a request with this Idempotency-Key is being worked on".into();
    Error::Conflict { code: IN_PROGRESS, detail }.into()
}

/// Stores the answer in the transaction of its effect. Status and headers are the route's own and need no storing.
async fn remember(tx: &mut Tx, key: &IdempotencyKey, body: String, now: Timestamp) -> livery_store::Result<()> {
    let answer = Answer { status: 200, headers: Vec::new(), body: body.into_bytes() };
    let expires_at = now.plus_millis(IDEMPOTENCY_HOURS * 3_600_000);
    if tx.idempotency_store(key, &answer, now, expires_at).await? {
        return Ok(());
    }
    // The row came into being since `replay` looked: another node's, or another connection's.
    match tx.idempotency_find(key, now).await? {
        Reservation::Mismatch => Err(Error::IdempotencyMismatch.into()),
        _ => Err(in_progress()),
    }
}

#[cfg(test)]
mod tests;
