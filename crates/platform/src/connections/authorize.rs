//! A person's consent, in a browser that comes back (RFC 6749 §4.1 with PKCE).
//!
//! ```text
//! POST …/authorize ─▶ an address of ours with a state      given to the person
//! browser ─▶ /v1/oauth/authorize  first to open it gets a cookie ─▶ the server's own page
//! browser ─▶ /v1/oauth/callback   state, cookie, issuer agree; once ─▶ code and verifier for tokens ─▶ active
//! ```
//!
//! The state is known here by its digest alone. Whoever brings a code without the cookie of the browser that began brings
//! nothing. What the browser is shown at the end is a sentence; it is sent nowhere.

use livery_broker::Secret;
use livery_broker::oauth::{AuthorizationRequest, Callback, OauthError, Pkce, TokenAnswer, random_word};
use livery_core::canonical::sha256_hex;
use livery_core::connector::{AuthKind, OauthServer};
use livery_core::id::ConnectionId;
use livery_core::{Error, Result, Timestamp};
use livery_store::{ConnectionAuthorizationRow, ConnectionRow, ConnectionStatus};
use serde::Serialize;
use serde_json::json;

use super::material::Client;
use super::mint::{Unminted, field, resource_of, secret_field, server_of};
use super::{AuthorizeConnection, Flow, auth_of, revoked, settled};
use crate::audit::note;
use crate::{Caller, Platform, Posted};

/// How long a person may take, in milliseconds.
pub(super) const CONSENT_MS: i64 = 600_000;
/// How often a consent is written behind a token that came first; renewals of one connection come one after the other.
const KEEPS_MAX: u32 = 3;
/// What the verifier is sealed as.
const VERIFIER_FIELD: &str = "pkce_verifier";
/// Where browsers come back, below the public address.
const CALLBACK_PATH: &str = "/v1/oauth/callback";
const BEGIN_PATH: &str = "/v1/oauth/authorize";

/// What a person is asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Authorization {
    /// The connection.
    pub connection: ConnectionId,
    /// What to open in a browser.
    pub url: String,
    /// What to type there; only with the flow `device`.
    pub user_code: Option<String>,
    /// Until when.
    pub expires_at: Timestamp,
}

/// A browser on its way to an authorization server.
#[derive(Debug)]
pub struct Begun {
    /// Where it goes.
    pub url: String,
    /// What it is known by when it comes back.
    pub browser: String,
    /// Whether browsers reach this server over TLS.
    pub secure: bool,
}

/// How a consent ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Consent {
    /// The connection is active.
    Given,
    /// The server, or the person, said no.
    Refused(&'static str),
}

impl Platform {
    /// Begins a person's consent. The connection stays as it is until the person has agreed.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] for a connection that takes no consent, or a server whose public address
    /// nobody said.
    pub async fn authorize_connection(
        &self,
        caller: &Caller,
        id: ConnectionId,
        request: AuthorizeConnection,
    ) -> Result<Posted<Authorization>> {
        let row = self.writable_connection(caller, id).await?;
        if let Some(answered) = self.answered(caller).await? {
            return Ok(answered);
        }
        if row.status == ConnectionStatus::Revoked {
            return Err(revoked());
        }
        if auth_of(&row)? != AuthKind::Oauth2 {
            return Err(conflict("only a connection of the kind oauth2 is authorised by a person"));
        }
        match request.flow {
            Flow::Code => self.begin_code(caller, &row).await,
            Flow::Device => self.begin_device(caller, &row).await,
        }
    }

    async fn begin_code(&self, caller: &Caller, row: &ConnectionRow) -> Result<Posted<Authorization>> {
        let connector = settled(row)?;
        if server_of(&connector)?.authorization_endpoint.is_none() {
            return Err(conflict("the connection's server has no authorization endpoint; try the flow `device`"));
        }
        let public = self.config.public_url.as_deref();
        let public = public.ok_or_else(|| conflict("nobody said where browsers reach this server: --public-url"))?;
        let (org, actor, now) = (row.org, caller.principal.key, self.clock.now());
        let (state, verifier) =
            (random_word().map_err(Error::internal)?, Pkce::new().map_err(Error::internal)?.verifier);
        let id = sha256_hex(state.expose_secret());
        let sealed_verifier = self.vault.seal(&self.store, org, &id, VERIFIER_FIELD, &verifier, now).await?;
        let authorization = ConnectionAuthorizationRow {
            id,
            org,
            connection: row.id,
            version: row.version,
            sealed_verifier,
            redirect_uri: format!("{public}{CALLBACK_PATH}"),
            created_by: actor,
            created_at: now,
            expires_at: now.plus_millis(CONSENT_MS),
        };
        let url = format!("{public}{BEGIN_PATH}?state={}", String::from_utf8_lossy(state.expose_secret()));
        let (connection, expires_at) = (row.id, authorization.expires_at);
        let answer = Authorization { connection, url, user_code: None, expires_at };
        self.post(caller, move |tx| {
            Box::pin(async move {
                tx.insert_connection_authorization(&authorization).await?;
                let told = json!({"connection": connection, "flow": "code"});
                note(tx, org, "connection.authorization_begun", now, actor, told).await?;
                Ok(answer)
            })
        })
        .await
    }

    /// The person's browser, on its way there. The first one that comes is the only one.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a state that nobody waits for (any more).
    pub async fn begin_authorization(&self, state: &str) -> Result<Begun> {
        let unknown = || Error::NotFound { what: "authorization" };
        let browser = random_word().map_err(Error::internal)?;
        let (id, digest, now) = (sha256_hex(state.as_bytes()), sha256_hex(browser.expose_secret()), self.clock.now());
        let begun = self
            .store
            .write(move |tx| Box::pin(async move { tx.system_begin_authorization(&id, &digest, now).await }))
            .await?
            .ok_or_else(unknown)?;
        let row = self.authorized_connection(&begun).await?.ok_or_else(unknown)?;
        let connector = settled(&row)?;
        let client = Client::read(&self.open_value(&row).await?)?;
        let verifier = self.open_verifier(&begun).await?;
        let request = AuthorizationRequest {
            server: server_of(&connector)?,
            client_id: &client.id,
            redirect_uri: &begun.redirect_uri,
            state,
            challenge: &Pkce::of(verifier).challenge,
        };
        Ok(Begun {
            url: request.url().ok_or_else(unknown)?,
            browser: String::from_utf8_lossy(browser.expose_secret()).into_owned(),
            secure: begun.redirect_uri.starts_with("https://"),
        })
    }

    /// The person's browser, back again with the query it was given.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a query that is no answer; [`Error::NotFound`] when nobody waits for it from this browser.
    pub async fn finish_authorization(&self, query: &str, browser: Option<&str>) -> Result<Consent> {
        let refuse = |detail: String| Error::Invalid { code: "invalid_value", detail, errors: Vec::new() };
        let callback = Callback::parse(query).map_err(|refused| refuse(refused.to_string()))?;
        let unknown = || Error::NotFound { what: "authorization" };
        let browser = sha256_hex(browser.ok_or_else(unknown)?.as_bytes());
        let (id, now) = (sha256_hex(callback.state.expose_secret()), self.clock.now());
        let taken = self
            .store
            .write(move |tx| Box::pin(async move { tx.system_take_authorization(&id, &browser, now).await }))
            .await?
            .ok_or_else(unknown)?;
        let row = self.authorized_connection(&taken).await?.ok_or_else(unknown)?;
        let connector = settled(&row)?;
        let server = server_of(&connector)?;
        if !is_of(server, callback.issuer.as_deref()) {
            return self.refused(&row, "another_issuer").await;
        }
        let code = match callback.outcome {
            Ok(code) => code,
            Err(error) => return self.refused(&row, error.as_str()).await,
        };
        let mut form = vec![
            field("grant_type", "authorization_code"),
            secret_field("code", &code),
            field("redirect_uri", &taken.redirect_uri),
            secret_field("code_verifier", &self.open_verifier(&taken).await?),
        ];
        form.extend(resource_of(server));
        match self.ask_as_client(&row, server, &self.open_value(&row).await?, form).await {
            Ok(answer) => self.consented(&row, answer).await,
            Err(Unminted::Own(error)) => Err(error),
            Err(Unminted::Exchange(failed)) => {
                let word = match failed {
                    livery_broker::oauth::ExchangeFailed::Refused(error) => error.as_str(),
                    _ => "server_error",
                };
                tracing::info!(connection = %row.id, %failed, "a consent gave no token");
                self.refused(&row, word).await
            }
        }
    }

    /// The connection a consent was for, as it was then.
    async fn authorized_connection(&self, begun: &ConnectionAuthorizationRow) -> Result<Option<ConnectionRow>> {
        let row = self.store.get_connection(begun.org, begun.connection).await?;
        Ok(row.filter(|row| row.version == begun.version && row.status != ConnectionStatus::Revoked))
    }

    async fn open_verifier(&self, begun: &ConnectionAuthorizationRow) -> Result<Secret> {
        let (sealed, now) = (&begun.sealed_verifier, self.clock.now());
        self.vault.unseal(&self.store, begun.org, &begun.id, VERIFIER_FIELD, sealed, now).await
    }

    /// Keeps what a person agreed to, and makes the connection active. A renewal that was under way may write its token between
    /// the look and the write: then the consent's goes behind that one.
    pub(super) async fn consented(&self, row: &ConnectionRow, answer: TokenAnswer) -> Result<Consent> {
        for _ in 0..KEEPS_MAX {
            if self.keep_consent(row, &answer).await? {
                self.broker.forget(row.org, &row.id.to_string());
                return Ok(Consent::Given);
            }
        }
        Ok(Consent::Refused("the connection was changed meanwhile"))
    }

    /// `false`: the connection is another one, or a token came first.
    async fn keep_consent(&self, row: &ConnectionRow, answer: &TokenAnswer) -> Result<bool> {
        let connector = settled(row)?;
        let before = self.store.get_connection_token(row.org, row.id).await?;
        let generation = before.map_or(0, |token| token.generation).saturating_add(1);
        let token = self.sealed_token(row, &connector, answer, generation).await?;
        let wider = wider_than_asked(server_of(&connector)?, answer);
        let (org, id, version, now) = (row.org, row.id, row.version, self.clock.now());
        let told = json!({"connection": id, "version": version, "scopes": answer.scopes, "wider_than_asked": wider});
        let node = self.identity.owner.clone();
        let kept = self.store.write(move |tx| {
            Box::pin(async move {
                if !tx.replace_connection_token(org, id, &token, now).await? {
                    return Ok(false);
                }
                tx.activate_connection(org, id, version, now).await?;
                note(tx, org, "connection.authorized", now, node, told).await?;
                Ok(true)
            })
        });
        Ok(kept.await?)
    }

    pub(super) async fn refused(&self, row: &ConnectionRow, reason: &'static str) -> Result<Consent> {
        let (org, now, node) = (row.org, self.clock.now(), self.identity.owner.clone());
        let told = json!({"connection": row.id, "version": row.version, "reason": reason});
        let write = self.store.write(move |tx| {
            Box::pin(async move { note(tx, org, "connection.authorization_refused", now, node, told).await })
        });
        write.await?;
        Ok(Consent::Refused(reason))
    }
}

/// Whether an answer is from the connection's own server (RFC 9207). One that says who it is must say so rightly, and
/// be of a server whose name is known; one whose server promised to say it must say it.
fn is_of(server: &OauthServer, issuer: Option<&str>) -> bool {
    match (&server.issuer, issuer) {
        (Some(known), Some(named)) => known.to_string() == named,
        // Nobody knows whose it is.
        (None, Some(_)) => false,
        (_, None) => !server.names_issuer,
    }
}

/// Scopes that were granted and not asked for.
fn wider_than_asked(server: &OauthServer, answer: &TokenAnswer) -> Vec<String> {
    let granted = answer.scopes.iter().flatten();
    granted.filter(|scope| !server.scopes.is_empty() && !server.scopes.contains(scope)).cloned().collect()
}

pub(super) fn conflict(detail: &str) -> Error {
    Error::Conflict { code: "conflict", detail: detail.to_owned() }
}

/// Whether a device's token is to be asked for again.
pub(super) const fn is_pending(error: OauthError) -> bool {
    matches!(error, OauthError::AuthorizationPending | OauthError::SlowDown)
}
