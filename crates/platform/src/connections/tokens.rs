//! Tokens that credentials are exchanged for: kept sealed, shared by all nodes, renewed by one at a time.
//!
//! ```text
//! good in the row ─────────────────────────────────────────────▶ opened for one request
//! not ─▶ this node renews already? wait for it
//!     ─▶ claim the next generation ─▶ ask the server ─▶ write it over the one before ─▶ look again
//!        (no claim: another node asks; wait until the row changes or the claim runs out)
//! ```
//!
//! A renewal is a task of its own: a request that is given up meanwhile takes nothing with it. What a server hands out is
//! written before anybody uses it, so a refresh token that was replaced is kept with the access token that came with it.
//! A refusal that is final makes the connection `needs_reauth`: nobody asks again until somebody does something about it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use livery_broker::Secret;
use livery_broker::oauth::TokenAnswer;
use livery_core::connector::{AuthKind, Connector};
use livery_core::id::{ConnectionId, OrgId};
use livery_core::{Error, Result, Timestamp};
use livery_store::{ConnectionRow, ConnectionStatus, ConnectionTokenRow, Json, TokenClaim};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::device::Flows;
use super::mint::Unminted;
use super::{VALUE_FIELD, auth_of, settled};
use crate::Platform;
use crate::audit::note;

/// What tokens are sealed as.
pub(crate) const ACCESS_FIELD: &str = "access_token";
pub(crate) const REFRESH_FIELD: &str = "refresh_token";
/// How long a claim holds, in milliseconds: longer than an exchange may take.
const CLAIM_MS: i64 = 60_000;
/// How long a request waits for its token.
const PATIENCE: Duration = Duration::from_secs(45);
/// How often the row is looked at while another node asks.
const LOOK: Duration = Duration::from_millis(200);
/// How long before its end a token is renewed, and how much of that differs from node to node, in seconds.
const MARGIN_S: u64 = 60;
const JITTER_S: u64 = 30;
/// A token that was got so lately is not doubted because of one 401, in milliseconds.
const TRUSTED_MS: i64 = 10_000;
/// How often writing a token is tried: what is not written is lost.
const WRITES_MAX: u32 = 20;
const BETWEEN_WRITES: Duration = Duration::from_millis(500);

/// What of tokens is under way on this node.
#[derive(Default)]
pub(crate) struct Tokens {
    renewals: Mutex<HashMap<ConnectionId, watch::Receiver<Option<Result<()>>>>>,
    pub(super) devices: Arc<Flows>,
}

impl Platform {
    /// The present token of a connection, renewed if need be, and its generation.
    ///
    /// # Errors
    /// [`Error::Conflict`] when somebody has to authorise the connection again; [`Error::Unavailable`] when its server gives
    /// none now.
    pub(super) async fn access_token(&self, row: &ConnectionRow) -> Result<(Secret, u32)> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let token = self.store.get_connection_token(row.org, row.id).await?;
            let token = token.filter(|token| is_for(token, row));
            let now = self.clock.now();
            if let Some(token) = token.as_ref().filter(|token| token.refresh_at.is_none_or(|at| now < at))
                && let Some(opened) = self.open_access(row, token).await?
            {
                return Ok((opened, token.generation));
            }
            if Instant::now() >= deadline {
                return Err(unavailable("another node has been asking for the token for too long"));
            }
            let Err(error) = self.renewed(row).await else { continue };
            // Early renewal may fail for a while: the token is still good.
            let passing = matches!(error, Error::Unavailable { .. });
            match token.filter(|token| passing && token.expires_at.is_some_and(|at| now < at)) {
                Some(token) => {
                    let opened = self.open_access(row, &token).await?;
                    return opened.map(|opened| (opened, token.generation)).ok_or(error);
                }
                None => return Err(error),
            }
        }
    }

    /// Tells that an upstream does not take a token of this generation any more (401). `true`: there is going to be another
    /// one, and the request may be made once more.
    ///
    /// # Errors
    /// Those of the database.
    pub(crate) async fn doubt_credential(&self, org: OrgId, connection: ConnectionId, generation: u32) -> Result<bool> {
        let row = self.store.get_connection(org, connection).await?;
        let Some(row) = row.filter(|row| row.status == ConnectionStatus::Active) else { return Ok(false) };
        if !auth_of(&row)?.is_exchanged() {
            return Ok(false);
        }
        let before = self.clock.now().plus_millis(-TRUSTED_MS);
        let write = self.store.write(move |tx| {
            Box::pin(async move { tx.spoil_connection_token(org, connection, generation, before).await })
        });
        if write.await? {
            return Ok(true);
        }
        let token = self.store.get_connection_token(org, connection).await?;
        Ok(token.is_some_and(|token| token.generation > generation))
    }

    async fn open_access(&self, row: &ConnectionRow, token: &ConnectionTokenRow) -> Result<Option<Secret>> {
        match &token.sealed_access {
            Some(sealed) => self.open_token(row, ACCESS_FIELD, token.generation, sealed).await.map(Some),
            None => Ok(None),
        }
    }

    pub(super) async fn open_token(
        &self,
        row: &ConnectionRow,
        field: &str,
        generation: u32,
        sealed: &str,
    ) -> Result<Secret> {
        let id = row.id.to_string();
        self.vault.unseal_version(&self.store, row.org, (&id, field, generation), sealed, self.clock.now()).await
    }

    /// Waits for a renewal of this node, a new one or one that is under way.
    async fn renewed(&self, row: &ConnectionRow) -> Result<()> {
        let mut outcome = self.join_renewal(row.org, row.id);
        let ended = || unavailable("the renewal of the token ended without a word");
        let outcome = outcome.wait_for(Option::is_some).await.map_err(|_| ended())?.clone();
        outcome.unwrap_or_else(|| Err(ended()))
    }

    fn join_renewal(&self, org: OrgId, id: ConnectionId) -> watch::Receiver<Option<Result<()>>> {
        let mut renewals = self.tokens.renewals.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(under_way) = renewals.get(&id).filter(|outcome| outcome.has_changed().is_ok()) {
            return under_way.clone();
        }
        let (tell, outcome) = watch::channel(None);
        renewals.insert(id, outcome.clone());
        let platform = self.clone();
        self.tasks.spawn(async move {
            let renewed = Box::pin(platform.renew(org, id)).await;
            // Whoever comes from now on looks at the row, and not at what was.
            platform.tokens.renewals.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            // Nobody may be waiting any more; the token is written.
            let _ = tell.send(Some(renewed));
        });
        outcome
    }

    /// Gets the next token, or waits for whoever is getting it. Everything is read anew: another one may have been here.
    async fn renew(&self, org: OrgId, id: ConnectionId) -> Result<()> {
        let row = self.store.get_connection(org, id).await?.ok_or(Error::NotFound { what: "connection" })?;
        if row.status != ConnectionStatus::Active {
            return Err(needs_reauth());
        }
        let token = self.store.get_connection_token(org, id).await?;
        let now = self.clock.now();
        let is_good = |token: &ConnectionTokenRow| {
            is_for(token, &row) && token.sealed_access.is_some() && token.refresh_at.is_none_or(|at| now < at)
        };
        if token.as_ref().is_some_and(is_good) {
            return Ok(());
        }
        let from = token.as_ref().map_or(0, |token| token.generation);
        let claim = TokenClaim { id: format!("{:032x}", self.mint()), until: now.plus_millis(CLAIM_MS) };
        let taken = claim.clone();
        let claimed = self
            .store
            .write(move |tx| Box::pin(async move { tx.claim_connection_token(org, id, from, &taken, now).await }));
        if !claimed.await? {
            return self.wait_for_other(org, id, from).await;
        }
        let renewed = self.ask_and_keep(&row, token.as_ref(), (from, &claim.id)).await;
        if renewed.is_err() {
            let released = self
                .store
                .write(move |tx| Box::pin(async move { tx.release_connection_token(org, id, &claim.id).await }));
            // A claim that is not given back runs out.
            let _ = released.await;
        }
        renewed
    }

    /// Until another node has written the next token, or its claim ran out.
    async fn wait_for_other(&self, org: OrgId, id: ConnectionId, from: u32) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            sleep(LOOK).await;
            let token = self.store.get_connection_token(org, id).await?;
            let Some(token) = token else { return Ok(()) };
            if token.generation != from || token.claimed_until.is_none_or(|until| until <= self.clock.now()) {
                return Ok(());
            }
        }
        Err(unavailable("another node has been asking for the token for too long"))
    }

    /// With the claim on the token that follows generation `from`.
    async fn ask_and_keep(
        &self,
        row: &ConnectionRow,
        token: Option<&ConnectionTokenRow>,
        (from, claim): (u32, &str),
    ) -> Result<()> {
        let connector = settled(row)?;
        let value = self.open_value(row).await?;
        let refresh = match token.and_then(|token| token.sealed_refresh.as_deref()) {
            Some(sealed) => Some(self.open_token(row, REFRESH_FIELD, from, sealed).await?),
            None => None,
        };
        match self.mint_token(row, &connector, &value, refresh.as_ref()).await {
            Ok(mut answer) => {
                // A server that sends no new refresh token means the old one. All other kinds start from their own value.
                let refreshed = auth_of(row)? == AuthKind::Oauth2;
                answer.refresh_token = answer.refresh_token.filter(|_| refreshed).or(refresh);
                let next = self.sealed_token(row, &connector, &answer, from + 1).await?;
                self.keep_token(row, next).await
            }
            Err(Unminted::Own(error)) => Err(error),
            Err(Unminted::Exchange(failed)) if failed.is_final(auth_of(row)?.is_signed()) => {
                match self.note_reauth(row, claim, &failed.to_string()).await? {
                    true => Err(needs_reauth()),
                    // A person agreed meanwhile, or another node asks: what is there now decides.
                    false => Ok(()),
                }
            }
            Err(Unminted::Exchange(failed)) => Err(unavailable(&failed.to_string())),
        }
    }

    /// Opens a connection's own value, which for these kinds is never sent to the upstream.
    pub(super) async fn open_value(&self, row: &ConnectionRow) -> Result<Secret> {
        let sealed = row.sealed_value.as_deref().ok_or_else(super::revoked)?;
        let (id, now) = (row.id.to_string(), self.clock.now());
        self.vault.unseal_version(&self.store, row.org, (&id, VALUE_FIELD, row.version), sealed, now).await
    }

    /// What a server answered, as the row keeps it.
    pub(super) async fn sealed_token(
        &self,
        row: &ConnectionRow,
        connector: &Connector,
        answer: &TokenAnswer,
        generation: u32,
    ) -> Result<ConnectionTokenRow> {
        let (id, now) = (row.id.to_string(), self.clock.now());
        let seal = |field: &'static str| (id.as_str(), field, generation);
        let access =
            self.vault.seal_version(&self.store, row.org, seal(ACCESS_FIELD), &answer.access_token, now).await?;
        let refresh = match &answer.refresh_token {
            Some(token) => Some(self.vault.seal_version(&self.store, row.org, seal(REFRESH_FIELD), token, now).await?),
            None => None,
        };
        let asked = || connector.oauth.as_ref().map(|server| server.scopes.clone()).unwrap_or_default();
        Ok(ConnectionTokenRow {
            version: row.version,
            generation,
            sealed_access: Some(access),
            sealed_refresh: refresh,
            scopes: Json::of(&answer.scopes.clone().unwrap_or_else(asked))?,
            expires_at: answer.expires_in_s.map(|seconds| after(now, seconds)),
            refresh_at: answer.expires_in_s.map(|seconds| after(now, self.renewed_after_s(seconds))),
            claimed_until: None,
        })
    }

    /// Writes the next token, again and again while the database does not take it: the server will not say it twice.
    async fn keep_token(&self, row: &ConnectionRow, next: ConnectionTokenRow) -> Result<()> {
        let (org, id, version, now) = (row.org, row.id, row.version, self.clock.now());
        let mut tries = 0;
        loop {
            let next = next.clone();
            let written = self.store.write(move |tx| {
                Box::pin(async move {
                    let written = tx.renew_connection_token(org, id, &next, now).await?;
                    if written {
                        tx.activate_connection(org, id, version, now).await?;
                    }
                    Ok(written)
                })
            });
            tries += 1;
            match written.await {
                Ok(true) => return Ok(()),
                Ok(false) => {
                    tracing::warn!(connection = %id, "a token was got that is not the next one; it is dropped");
                    return Ok(());
                }
                Err(error) if tries >= WRITES_MAX => return Err(error.into()),
                Err(_) => sleep(BETWEEN_WRITES).await,
            }
        }
    }

    /// Nobody uses the connection until its owner has done something. `false`: the claim is not held any more, so the refusal is
    /// about a token that nobody has now. Whoever writes a consent takes the claim away in the same row, so of the two one is
    /// first.
    async fn note_reauth(&self, row: &ConnectionRow, claim: &str, reason: &str) -> Result<bool> {
        let (org, id, version, now) = (row.org, row.id, row.version, self.clock.now());
        let told = json!({"connection": id, "version": version, "reason": reason});
        let (node, claim) = (self.identity.owner.clone(), claim.to_owned());
        let write = self.store.write(move |tx| {
            Box::pin(async move {
                if !tx.release_connection_token(org, id, &claim).await? {
                    return Ok(false);
                }
                if tx.need_connection_reauth(org, id, version, now).await? {
                    note(tx, org, "connection.needs_reauth", now, node, told).await?;
                }
                Ok(true)
            })
        });
        Ok(write.await?)
    }

    /// A minute before its end, and not at the same moment on all nodes; a short life is used to three quarters.
    fn renewed_after_s(&self, life_s: u64) -> u64 {
        if life_s <= 2 * (MARGIN_S + JITTER_S) {
            return (life_s * 3 / 4).max(1);
        }
        let bits = u64::try_from(self.mint() & 0xffff).unwrap_or_default();
        life_s - MARGIN_S - bits % JITTER_S
    }
}

/// A token is good for the version it was got with; what a person agreed to outlives a new client secret.
fn is_for(token: &ConnectionTokenRow, row: &ConnectionRow) -> bool {
    token.version == row.version || token.sealed_refresh.is_some()
}

fn after(now: Timestamp, seconds: u64) -> Timestamp {
    now.plus_millis(i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX))
}

fn unavailable(detail: &str) -> Error {
    Error::Unavailable { detail: detail.to_owned(), retry_after_s: 5 }
}

pub(super) fn needs_reauth() -> Error {
    Error::Conflict { code: "conflict", detail: "the connection has to be authorised again".to_owned() }
}

#[cfg(test)]
mod tests;
