//! Where sealed values are opened and closed: the broker's format, the store's rows, the organizations' data keys between.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use livery_broker::seal::{SealError, TenantKeys};
use livery_broker::{Aad, Sealer, Secret};
use livery_core::id::OrgId;
use livery_core::{Error, Result, Timestamp};
use livery_store::{DataKeyRow, Store};

use crate::startup::Startup;

mod places;
mod rotation;
mod transit;

use places::open_sealer;
pub use places::{RootKey, RootKeys};
pub(crate) use rotation::keep_up;
pub use rotation::{Rewrap, RootKeyUse, RotateDataKey, VaultView};
pub use transit::{Transit, TransitAccess, TransitRefused};

/// Where the key check is kept.
const CHECK: &str = "vault_check";
/// Where the ids of root keys are kept that were replaced, separated by blanks: none of them comes back.
const RETIRED: &str = "vault_retired";
/// Organizations whose data keys are kept open at a time.
const OPEN_MAX: usize = 1024;

/// How long a node seals under a data key without looking whether another node made a newer one.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The tenant of what belongs to no organization; no organization has this id.
const PLATFORM: OrgId = OrgId::from_bits(0);

/// The open vault.
pub(crate) struct Vault {
    sealer: Sealer,
    open: Mutex<HashMap<OrgId, Opened>>,
}

/// An organization's data keys, and when they were read.
struct Opened {
    keys: Arc<TenantKeys>,
    read_at: Instant,
}

impl Vault {
    /// Opens the vault of a database, or refuses when the root key is not the one it was sealed under.
    pub(crate) async fn open(store: &Store, root_keys: RootKeys, startup: Startup) -> Result<Self> {
        let check = startup.step(|| store.system_get_meta(CHECK)).await?;
        let root_keys = root_keys.fetched(store, startup, check.is_some()).await?;
        let sealer = open_sealer(&root_keys, check.as_deref())?;
        if check.is_some() {
            startup.step(|| rotation::needs(store, &sealer)).await?;
            return Ok(Self { sealer, open: Mutex::default() });
        }
        let value = sealer.check_value().map_err(Error::internal)?;
        store.write(move |tx| Box::pin(async move { tx.system_set_meta_once(CHECK, &value).await })).await?;
        // Another node may have been first, with a key of its own: what is there now decides.
        let check = store.system_get_meta(CHECK).await?;
        Ok(Self { sealer: open_sealer(&root_keys, check.as_deref())?, open: Mutex::default() })
    }

    /// Seals a value of an organization for the row `owner` and its `field`.
    pub(crate) async fn seal(
        &self,
        store: &Store,
        org: OrgId,
        owner: &str,
        field: &str,
        value: &Secret,
        now: Timestamp,
    ) -> Result<String> {
        self.seal_version(store, org, (owner, field, 1), value, now).await
    }

    /// The same for one version of a value that is rotated: row, field, version.
    pub(crate) async fn seal_version(
        &self,
        store: &Store,
        org: OrgId,
        (owner, field, version): (&str, &str, u32),
        value: &Secret,
        now: Timestamp,
    ) -> Result<String> {
        let keys = self.keys(store, org, now).await?;
        keys.seal(&Aad { tenant: org, owner, field, version }, value).map_err(Error::internal)
    }

    /// Opens what [`Vault::seal`] made for the same row and field.
    pub(crate) async fn unseal(
        &self,
        store: &Store,
        org: OrgId,
        owner: &str,
        field: &str,
        sealed: &str,
        now: Timestamp,
    ) -> Result<Secret> {
        self.unseal_version(store, org, (owner, field, 1), sealed, now).await
    }

    /// Opens what [`Vault::seal_version`] made for the same row, field and version.
    pub(crate) async fn unseal_version(
        &self,
        store: &Store,
        org: OrgId,
        (owner, field, version): (&str, &str, u32),
        sealed: &str,
        now: Timestamp,
    ) -> Result<Secret> {
        let aad = Aad { tenant: org, owner, field, version };
        match self.keys(store, org, now).await?.open(&aad, sealed) {
            // Another node made a newer key since this one looked.
            Err(SealError::UnknownKey { .. }) => {
                self.forget(org);
                self.keys(store, org, now).await?.open(&aad, sealed).map_err(Error::internal)
            }
            opened => opened.map_err(Error::internal),
        }
    }

    /// Seals a value of the platform itself, which belongs to no organization, under a data key of its own: the wrapped key
    /// and the sealed value, to be kept together.
    pub(crate) fn seal_own(&self, owner: &str, field: &str, value: &Secret) -> Result<(String, String)> {
        let (key, wrapped) = self.sealer.new_dek(PLATFORM).map_err(Error::internal)?;
        let sealed = key.seal(&Aad { tenant: PLATFORM, owner, field, version: 1 }, value).map_err(Error::internal)?;
        Ok((wrapped, sealed))
    }

    /// Opens what [`Vault::seal_own`] made for the same owner and field.
    pub(crate) fn unseal_own(&self, owner: &str, field: &str, wrapped: &str, sealed: &str) -> Result<Secret> {
        let key = self.sealer.open_dek(PLATFORM, wrapped).map_err(Error::internal)?;
        key.open(&Aad { tenant: PLATFORM, owner, field, version: 1 }, sealed).map_err(Error::internal)
    }

    async fn keys(&self, store: &Store, org: OrgId, now: Timestamp) -> Result<Arc<TenantKeys>> {
        if let Some(opened) = self.lock().get(&org).filter(|opened| opened.read_at.elapsed() < LOOK_EVERY) {
            return Ok(Arc::clone(&opened.keys));
        }
        let read_at = Instant::now();
        let mut rows = store.list_data_keys(org).await?;
        if rows.is_empty() {
            rows = self.first_data_key(store, org, now).await?;
        }
        let mut deks = rows.iter().map(|row| self.sealer.open_dek(org, &row.wrapped));
        let writable = deks.next().ok_or_else(|| Error::internal("an organization without a data key"))?;
        let writable = writable.map_err(Error::internal)?;
        // What an older key sealed is lost without it, and nothing else is.
        let older = deks.filter_map(|dek| {
            dek.inspect_err(|error| tracing::error!(%org, %error, "an older data key does not open")).ok()
        });
        let keys = Arc::new(TenantKeys::new(writable, older.collect()));
        let mut open = self.lock();
        if open.len() >= OPEN_MAX {
            open.clear();
        }
        open.insert(org, Opened { keys: Arc::clone(&keys), read_at });
        Ok(keys)
    }

    /// The next use of this organization's data keys reads them anew.
    fn forget(&self, org: OrgId) {
        self.lock().remove(&org);
    }

    /// Two callers may both find none; the first to commit wins, and both read what is there.
    async fn first_data_key(&self, store: &Store, org: OrgId, now: Timestamp) -> Result<Vec<DataKeyRow>> {
        rotation::refuse_retired(store, &self.sealer).await?;
        let (dek, wrapped) = self.sealer.new_dek(org).map_err(Error::internal)?;
        let row = DataKeyRow { org, kid: dek.kid().to_owned(), wrapped, created_at: now };
        Ok(store
            .write(move |tx| {
                Box::pin(async move {
                    let there = tx.list_data_keys(org).await?;
                    if !there.is_empty() {
                        return Ok(there);
                    }
                    tx.insert_data_key(&row).await?;
                    tx.list_data_keys(org).await
                })
            })
            .await?)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<OrgId, Opened>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
