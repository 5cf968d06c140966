//! API keys: shown once, stored as a digest, revocable.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use livery_core::id::{AppId, KeyId, OrgId};
use livery_core::{Error, Result, Timestamp};
use livery_store::ApiKeyRow;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::audit::note;
use crate::{Caller, Page, PageRequest, Platform, Posted, Principal, Scope};

/// `POST /v1/api_keys`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewApiKey {
    /// A label for people, 1–100 characters.
    pub name: String,
    /// Its rights; at most those of the creating key.
    pub scopes: Vec<Scope>,
    /// The application it is bound to; absent: that of the creating key.
    #[serde(default)]
    pub application: Option<AppId>,
    /// When it stops to work.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

/// A key without its secret.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ApiKeyView {
    /// Its id.
    pub id: KeyId,
    /// Its label.
    pub name: String,
    /// The first characters, to tell keys apart.
    pub prefix: String,
    /// The tenant.
    pub organization: OrgId,
    /// The application.
    pub application: Option<AppId>,
    /// Its rights.
    pub scopes: Vec<Scope>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it stops to work.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

/// A new key: the only answer that ever carries the secret.
#[derive(Clone, PartialEq, Serialize)]
pub struct ApiKeyCreated {
    /// The key.
    #[serde(flatten)]
    pub view: ApiKeyView,
    /// `lvk_…`, shown once.
    pub api_key: String,
}

/// What every key starts with.
pub const KEY_PREFIX: &str = "lvk_";
/// Random characters of a key: 32 × log2(62) ≈ 190 bits.
const KEY_RANDOM_CHARS: usize = 32;
/// Characters of a key shown in lists.
const SHOWN_CHARS: usize = 8;
/// Longest label.
pub const NAME_CHARS_MAX: usize = 100;
/// Keys remembered as valid at a time.
const CACHED_MAX: usize = 10_000;
/// How long a remembered key is believed. Revoking on this node is immediate; the rest of a cluster follows within this.
const CACHED_MS_MAX: u64 = 1_000;

/// A new secret key, its shown beginning, and its digest.
pub(crate) struct FreshKey {
    pub(crate) api_key: String,
    pub(crate) prefix: String,
    pub(crate) hash: [u8; 32],
}

/// Makes a key from the machine's randomness.
pub(crate) fn fresh_key() -> FreshKey {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut api_key = String::from(KEY_PREFIX);
    while api_key.len() < KEY_PREFIX.len() + KEY_RANDOM_CHARS {
        let mut byte = [0u8; 1];
        getrandom::fill(&mut byte).expect("the kernel gives randomness");
        // 248 = 4 × 62: larger bytes would make some letters likelier than others.
        if byte[0] < 248 {
            api_key.push(char::from(ALPHABET[usize::from(byte[0]) % ALPHABET.len()]));
        }
    }
    FreshKey { prefix: api_key[..KEY_PREFIX.len() + SHOWN_CHARS].to_owned(), hash: digest(&api_key), api_key }
}

/// SHA-256 is enough for a secret with 190 random bits: there is nothing to guess.
fn digest(api_key: &str) -> [u8; 32] {
    Sha256::digest(api_key.as_bytes()).into()
}

/// Keys that were valid a moment ago, so that a busy client costs no query per request.
#[derive(Default)]
pub(crate) struct KeyCache {
    known: Mutex<HashMap<[u8; 32], Known>>,
}

struct Known {
    principal: Principal,
    expires_at: Option<Timestamp>,
    read_at: Timestamp,
}

impl KeyCache {
    fn get(&self, hash: &[u8; 32], now: Timestamp) -> Option<Principal> {
        let known = self.lock();
        let entry = known.get(hash)?;
        let fresh = now >= entry.read_at && now.millis_since(entry.read_at) < CACHED_MS_MAX;
        (fresh && entry.expires_at.is_none_or(|end| now < end)).then(|| entry.principal.clone())
    }

    fn insert(&self, hash: [u8; 32], principal: Principal, expires_at: Option<Timestamp>, now: Timestamp) {
        let mut known = self.lock();
        if known.len() >= CACHED_MAX {
            known.clear();
        }
        known.insert(hash, Known { principal, expires_at, read_at: now });
    }

    fn forget(&self, key: KeyId) {
        self.lock().retain(|_, entry| entry.principal.key != key);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const UNAUTHENTICATED: Error = Error::Unauthenticated { detail: "the API key is missing, unknown, expired or revoked" };

impl Platform {
    /// The principal behind an API key.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`], the same for every reason.
    pub async fn authenticate(&self, api_key: &str) -> Result<Principal> {
        if !api_key.starts_with(KEY_PREFIX) || api_key.len() > 128 {
            return Err(UNAUTHENTICATED);
        }
        let (hash, now) = (digest(api_key), self.clock.now());
        if let Some(principal) = self.keys.get(&hash, now) {
            return Ok(principal);
        }
        let row = self.store.system_find_api_key(&hash).await?.ok_or(UNAUTHENTICATED)?;
        if row.revoked_at.is_some() || row.expires_at.is_some_and(|end| now >= end) {
            return Err(UNAUTHENTICATED);
        }
        let principal = Principal {
            org: row.org,
            app: row.application,
            key: row.id,
            scopes: row.scopes.parse()?,
            rate_limited: row.rate_limited,
        };
        self.keys.insert(hash, principal.clone(), row.expires_at, now);
        self.store.touch_api_key(row.org, row.id, now);
        Ok(principal)
    }

    /// Creates a key of the caller's organization; never with more rights than the caller has.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `api_keys:write` or for a scope the caller lacks; [`Error::Invalid`] for bad values.
    pub async fn create_api_key(&self, caller: &Caller, new: NewApiKey) -> Result<Posted<ApiKeyCreated>> {
        let principal = &caller.principal;
        principal.require(Scope::ApiKeysWrite)?;
        check_name("/name", &new.name)?;
        for (index, scope) in new.scopes.iter().enumerate() {
            if !principal.scopes.contains(scope) {
                let detail =
                    format!("{} is not a right of the creating key, so it cannot be passed on", scope.as_str());
                return Err(Error::invalid_field(format!("/scopes/{index}"), detail));
            }
        }
        let now = self.clock.now();
        // A request that was answered is answered again, however much later.
        if new.expires_at.is_some_and(|end| end <= now) && !self.was_answered(caller).await? {
            return Err(Error::invalid_field("/expires_at", "this time has passed"));
        }
        let application = new.application.or(principal.app);
        if principal.app.is_some() && application != principal.app {
            return Err(Error::NotFound { what: "application" });
        }
        if let Some(application) = application
            && self.store.get_application(principal.org, application).await?.is_none()
        {
            return Err(Error::NotFound { what: "application" });
        }
        let fresh = fresh_key();
        let view = ApiKeyView {
            id: KeyId::from_bits(self.mint()),
            name: new.name,
            prefix: fresh.prefix,
            organization: principal.org,
            application,
            scopes: new.scopes,
            created_at: now,
            expires_at: new.expires_at,
            revoked_at: None,
            last_used_at: None,
        };
        let row = new_row(&view, fresh.hash, true)?;
        let (org, key, actor) = (principal.org, view.id, principal.key);
        let created = ApiKeyCreated { view, api_key: fresh.api_key };
        self.post_secret(caller, created, move |tx| {
            Box::pin(async move {
                tx.insert_api_key(&row).await?;
                note(tx, org, "api_key.created", now, actor, json!({"api_key": key, "scopes": row.scopes})).await
            })
        })
        .await
    }

    /// The keys of the caller's organization, newest first.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `api_keys:read`.
    pub async fn list_api_keys(&self, principal: &Principal, page: PageRequest) -> Result<Page<ApiKeyView>> {
        principal.require(Scope::ApiKeysRead)?;
        let list = self.store.list_api_keys(principal.org, principal.app, &page.into()).await?;
        Page::try_from_list(list, view_of)
    }

    /// Revokes a key: it stops to work at once. Revoking twice is the same as once.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a key that is not of the caller's organization.
    pub async fn revoke_api_key(&self, caller: &Caller, key: KeyId) -> Result<ApiKeyView> {
        let principal = &caller.principal;
        principal.require(Scope::ApiKeysWrite)?;
        let (org, now, actor) = (principal.org, self.clock.now(), principal.key);
        let row = self.store.get_api_key(org, key).await?.filter(|row| principal.sees(row.application));
        row.ok_or(Error::NotFound { what: "api key" })?;
        self.store
            .write(move |tx| {
                Box::pin(async move {
                    tx.revoke_api_key(org, key, now).await?;
                    note(tx, org, "api_key.revoked", now, actor, json!({"api_key": key})).await
                })
            })
            .await?;
        self.keys.forget(key);
        let row = self.store.get_api_key(org, key).await?.ok_or(Error::NotFound { what: "api key" })?;
        view_of(row)
    }
}

/// The row of a new key.
pub(crate) fn new_row(view: &ApiKeyView, hash: [u8; 32], rate_limited: bool) -> Result<livery_store::NewApiKey> {
    Ok(livery_store::NewApiKey {
        id: view.id,
        org: view.organization,
        application: view.application,
        name: view.name.clone(),
        prefix: view.prefix.clone(),
        hash,
        scopes: livery_store::Json::of(&view.scopes)?,
        rate_limited,
        created_at: view.created_at,
        expires_at: view.expires_at,
    })
}

fn view_of(row: ApiKeyRow) -> Result<ApiKeyView> {
    Ok(ApiKeyView {
        id: row.id,
        name: row.name,
        prefix: row.prefix,
        organization: row.org,
        application: row.application,
        scopes: row.scopes.parse()?,
        created_at: row.created_at,
        expires_at: row.expires_at,
        revoked_at: row.revoked_at,
        last_used_at: row.last_used_at,
    })
}

/// A label for people: 1 to [`NAME_CHARS_MAX`] characters, none of them a control character.
pub(crate) fn check_name(pointer: &str, name: &str) -> Result<()> {
    let chars = name.chars().count();
    if (1..=NAME_CHARS_MAX).contains(&chars) && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Error::invalid_field(pointer, format!("a name has 1 to {NAME_CHARS_MAX} characters and no control characters")))
}

#[cfg(test)]
mod tests {
    use super::{digest, fresh_key};

    #[test]
    fn keys_differ_and_are_found_by_their_digest() {
        let (one, other) = (fresh_key(), fresh_key());
        assert_ne!(one.api_key, other.api_key);
        assert_eq!(one.api_key.len(), 36);
        assert!(one.api_key.starts_with(&one.prefix) && one.prefix.len() == 12);
        assert_eq!(one.hash, digest(&one.api_key));
    }
}
