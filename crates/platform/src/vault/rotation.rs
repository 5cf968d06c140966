//! Rotation, while everything runs: of the root key, which wraps, and of an organization's data key, which seals.
//!
//! A root key is exchanged by giving nodes both, the new one as the one that wraps, and saying so once ([`Platform::rewrap`]):
//! from then on whatever another root key wraps is wrapped anew, until nothing is left and the old one can go. A data key is
//! exchanged by making a newer one: what is sealed from then on is under it, and what was sealed before is sealed anew. Both
//! go on in the chores until they are done, whatever dies in between, because each step exchanges one value for one that
//! opens to the same.

use livery_broker::Sealer;
use livery_core::id::OrgId;
use livery_core::{Error, Result, Timestamp};
use livery_store::{DataKeyRow, ReceiptKeyRow, SealedColumn, SealedValue, Store};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{CHECK, PLATFORM, RETIRED};
use crate::audit::note;
use crate::principal::Scope;
use crate::{Caller, Platform, Posted, Principal};

/// What the vault's keys are and whether a rotation is still under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VaultView {
    /// The root key everything is to be wrapped under: 16 hex digits.
    pub root_key: String,
    /// The one this node wraps with. Another one: this node has not been given the new key yet.
    pub node_root_key: String,
    /// All root keys this node can open with.
    pub readable: Vec<String>,
    /// Root keys that were replaced and that this node still has. Once they wrap nothing, they can be taken away.
    pub replaced: Vec<String>,
    /// How many keys each root key wraps.
    pub root_keys: Vec<RootKeyUse>,
    /// Keys that are still to be wrapped anew. At 0, the replaced root keys can be taken away.
    pub keys_pending: u64,
    /// Values that are still to be sealed anew, under the newest data key of their organization. Counted up to 200 for
    /// each kind of value of an organization.
    pub values_pending: u64,
}

/// A root key and what it wraps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RootKeyUse {
    /// Its id.
    pub id: String,
    /// Data keys and the platform's own keys.
    pub keys: u64,
}

/// `POST /v1/vault/rewrap`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rewrap {
    /// The id of the new root key, which the node that answers must have been given as the one that wraps: behind a balancer it
    /// may be another one than was asked before.
    pub root_key: String,
}

/// `POST /v1/vault/data_keys`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateDataKey {
    /// Whose values are sealed under a new key from now on.
    pub organization: OrgId,
}

impl Platform {
    /// What the vault's keys are, and what a rotation has left to do: the operator's right.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `organizations:write`; those of the store.
    pub async fn vault(&self, principal: &Principal) -> Result<VaultView> {
        principal.require(Scope::OrganizationsWrite)?;
        self.vault_view().await
    }

    /// Has everything wrapped under this node's root key from now on, and wraps what there is.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `organizations:write`; [`Error::Conflict`] when this node wraps with another key than the
    /// one that is named, or that one was replaced before; those of the store.
    pub async fn rewrap(&self, caller: &Caller, order: Rewrap) -> Result<Posted<VaultView>> {
        caller.principal.require(Scope::OrganizationsWrite)?;
        if let Some(answered) = self.answered(caller).await? {
            return Ok(answered);
        }
        let sealer = &self.vault.sealer;
        if order.root_key != sealer.kid() {
            let detail = format!(
                "this node wraps with {}, not with {}: give every node the new key first, then ask again",
                sealer.kid(),
                order.root_key
            );
            return Err(conflict(detail));
        }
        if recorded(self).await? == sealer.kid() {
            wrap_anew(self).await?;
            let view = self.vault_view().await?;
            return self.post(caller, move |_| Box::pin(async move { Ok(view) })).await;
        }
        refuse_retired(&self.store, sealer).await?;
        let check = sealer.check_value().map_err(Error::internal)?;
        let (org, actor, now) = (caller.principal.org, caller.principal.key, self.clock.now());
        let data = json!({"root_key": sealer.kid()});
        let write = self.store.write(move |tx| {
            Box::pin(async move {
                let before = tx.system_get_meta(CHECK).await?.unwrap_or_default();
                let retired = tx.system_get_meta(RETIRED).await?.unwrap_or_default();
                tx.system_set_meta(RETIRED, format!("{retired} {}", root_of(&before)).trim()).await?;
                tx.system_set_meta(CHECK, &check).await?;
                note(tx, org, "root_key.rotated", now, actor, data).await
            })
        });
        write.await?;
        wrap_anew(self).await?;
        let view = self.vault_view().await?;
        self.post(caller, move |_| Box::pin(async move { Ok(view) })).await
    }

    /// Makes a data key for an organization: what is sealed from now on is under it, and the chores seal anew what was sealed
    /// before.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `organizations:write`; [`Error::NotFound`] without that organization.
    pub async fn rotate_data_key(&self, caller: &Caller, order: RotateDataKey) -> Result<Posted<VaultView>> {
        caller.principal.require(Scope::OrganizationsWrite)?;
        if let Some(answered) = self.answered(caller).await? {
            return Ok(answered);
        }
        let org = order.organization;
        refuse_retired(&self.store, &self.vault.sealer).await?;
        self.store.get_organization(org).await?.ok_or(Error::NotFound { what: "organization" })?;
        let (dek, wrapped) = self.vault.sealer.new_dek(org).map_err(Error::internal)?;
        let (actor, now) = (caller.principal.key, self.clock.now());
        let kid = dek.kid().to_owned();
        let write = self.store.write(move |tx| {
            Box::pin(async move {
                let newest = tx.list_data_keys(org).await?.first().map(|row| row.created_at);
                let row = DataKeyRow { org, kid: kid.clone(), wrapped, created_at: after(newest, now) };
                tx.insert_data_key(&row).await?;
                note(tx, org, "data_key.rotated", now, actor, json!({"data_key": kid})).await
            })
        });
        write.await?;
        self.vault.forget(org);
        seal_anew(self, org).await?;
        let view = self.vault_view().await?;
        self.post(caller, move |_| Box::pin(async move { Ok(view) })).await
    }

    async fn vault_view(&self) -> Result<VaultView> {
        let sealer = &self.vault.sealer;
        let root_key = recorded(self).await?;
        let mut root_keys: Vec<RootKeyUse> = Vec::new();
        let data_keys = self.store.system_data_keys_by_root().await?;
        let own = self.store.system_list_receipt_keys().await?;
        let own = own.iter().map(|row| (root_of(&row.wrapped_key).to_owned(), 1));
        for (id, keys) in data_keys.into_iter().chain(own) {
            match root_keys.iter_mut().find(|found| found.id == id) {
                Some(found) => found.keys += keys,
                None => root_keys.push(RootKeyUse { id, keys }),
            }
        }
        let retired = retired(&self.store).await?;
        let replaced = sealer.kids().into_iter().filter(|kid| retired.iter().any(|gone| gone == kid));
        let replaced = replaced.map(str::to_owned).collect();
        let keys_pending = root_keys.iter().filter(|found| found.id != root_key).map(|found| found.keys).sum();
        Ok(VaultView {
            root_key,
            node_root_key: sealer.kid().to_owned(),
            readable: sealer.kids().into_iter().map(str::to_owned).collect(),
            replaced,
            root_keys,
            keys_pending,
            values_pending: values_pending(self).await?,
        })
    }
}

/// Goes on with whatever rotation is under way.
pub(crate) async fn keep_up(platform: &Platform) {
    if let Err(error) = go_on(platform).await {
        tracing::warn!(%error, "the rotation of a key waits");
    }
}

async fn go_on(platform: &Platform) -> Result<()> {
    if recorded(platform).await? == platform.vault.sealer.kid() {
        wrap_anew(platform).await?;
    } else {
        tracing::warn!("this node wraps data keys with another root key than the others; give it the new one");
    }
    for org in platform.store.system_rotated_organizations().await? {
        platform.vault.forget(org);
        seal_anew(platform, org).await?;
    }
    Ok(())
}

/// Refuses a start without a root key that something is wrapped under: a whole organization's values would not open.
pub(super) async fn needs(store: &Store, sealer: &Sealer) -> Result<()> {
    let own = store.system_list_receipt_keys().await?;
    let own = own.iter().map(|row| root_of(&row.wrapped_key).to_owned());
    let used = store.system_data_keys_by_root().await?.into_iter().map(|(id, _)| id);
    match used.chain(own).find(|id| !sealer.kids().contains(&id.as_str())) {
        None => Ok(()),
        Some(id) => Err(Error::Unavailable {
            detail: format!(
                "keys are still wrapped under the root key {id}; give it to this node too (LIVERY_ROOT_KEY_OTHERS)"
            ),
            retry_after_s: 0,
        }),
    }
}

/// Refuses to wrap with a root key that was replaced: soon nobody has it any more.
pub(super) async fn refuse_retired(store: &Store, sealer: &Sealer) -> Result<()> {
    if !retired(store).await?.iter().any(|gone| gone == sealer.kid()) {
        return Ok(());
    }
    Err(conflict(format!(
        "the root key {} of this node was replaced; give it the new one and start it again",
        sealer.kid()
    )))
}

async fn retired(store: &Store) -> Result<Vec<String>> {
    let ids = store.system_get_meta(RETIRED).await?.unwrap_or_default();
    Ok(ids.split_ascii_whitespace().map(str::to_owned).collect())
}

fn conflict(detail: String) -> Error {
    Error::Conflict { code: "conflict", detail }
}

/// The root key everything is to be wrapped under.
async fn recorded(platform: &Platform) -> Result<String> {
    let check = platform.store.system_get_meta(CHECK).await?;
    check.as_deref().map(root_of).map(str::to_owned).ok_or_else(|| Error::internal("the vault has no key check"))
}

/// The id of the key that a wrapped key, or a sealed value, names.
fn root_of(sealed: &str) -> &str {
    livery_broker::seal::sealed_kid(sealed).unwrap_or_default()
}

/// A moment later than the newest key's: the newest one is the one that seals, also after a clock was set back.
fn after(newest: Option<Timestamp>, now: Timestamp) -> Timestamp {
    newest.map_or(now, |newest| now.max(Timestamp::from_micros(newest.as_micros() + 1)))
}

/// Wraps under this node's root key whatever another one wraps.
async fn wrap_anew(platform: &Platform) -> Result<()> {
    let root = platform.vault.sealer.kid();
    loop {
        let rows = platform.store.system_data_keys_under_other_roots(root).await?;
        let mut changes = Vec::new();
        for row in rows {
            match platform.vault.sealer.rewrap(row.org, &row.wrapped) {
                Ok(wrapped) => changes.extend(wrapped.map(|wrapped| (row, wrapped))),
                // One that is damaged keeps no other from being wrapped anew.
                Err(error) => {
                    tracing::error!(org = %row.org, kid = row.kid, %error, "a data key cannot be wrapped anew")
                }
            }
        }
        if changes.is_empty() {
            return wrap_own_anew(platform).await;
        }
        let write = platform.store.write(move |tx| {
            Box::pin(async move {
                for (row, wrapped) in &changes {
                    tx.rewrap_data_key(row.org, &row.kid, &row.wrapped, wrapped).await?;
                }
                Ok(())
            })
        });
        write.await?;
    }
}

/// The same for the keys that sign receipts.
async fn wrap_own_anew(platform: &Platform) -> Result<()> {
    for ReceiptKeyRow { id, wrapped_key, .. } in platform.store.system_list_receipt_keys().await? {
        let wrapped = platform.vault.sealer.rewrap(PLATFORM, &wrapped_key).map_err(|error| unopened(&error))?;
        let Some(wrapped) = wrapped else { continue };
        let write = platform
            .store
            .write(move |tx| Box::pin(async move { tx.system_rewrap_receipt_key(&id, &wrapped_key, &wrapped).await }));
        write.await?;
    }
    Ok(())
}

fn unopened(error: &livery_broker::seal::SealError) -> Error {
    let detail = format!(
        "a data key cannot be wrapped anew: {error}; give this node that root key too (LIVERY_ROOT_KEY_OTHERS)"
    );
    Error::Unavailable { detail, retry_after_s: 0 }
}

/// Seals under the newest data key of an organization whatever an older one seals.
async fn seal_anew(platform: &Platform, org: OrgId) -> Result<()> {
    let Some(newest) = platform.store.list_data_keys(org).await?.into_iter().next() else { return Ok(()) };
    for column in SealedColumn::ALL {
        let mut after = String::new();
        loop {
            let values = platform.store.values_under_other_keys(org, column, &newest.kid, &after).await?;
            let Some(last) = values.last() else { break };
            after.clone_from(&last.owner);
            for value in values {
                exchange(platform, org, column, value).await?;
            }
        }
    }
    Ok(())
}

/// One value. What does not open is damaged, stays as it is, and is said.
async fn exchange(platform: &Platform, org: OrgId, column: SealedColumn, value: SealedValue) -> Result<()> {
    let (vault, store, now) = (&platform.vault, &platform.store, platform.clock.now());
    let place = (value.owner.as_str(), field_of(column), value.version);
    let opened = match vault.unseal_version(store, org, place, &value.sealed, now).await {
        Ok(opened) => opened,
        Err(error) => {
            tracing::error!(owner = value.owner, field = place.1, %error, "a sealed value does not open");
            return Ok(());
        }
    };
    let sealed = vault.seal_version(store, org, place, &opened, now).await?;
    let write =
        store.write(move |tx| Box::pin(async move { tx.exchange_sealed_value(org, column, &value, &sealed).await }));
    Ok(write.await.map(drop)?)
}

/// What the values of a column are bound to, besides their row.
const fn field_of(column: SealedColumn) -> &'static str {
    match column {
        SealedColumn::Connection => crate::connections::VALUE_FIELD,
        SealedColumn::AccessToken => crate::connections::ACCESS_FIELD,
        SealedColumn::RefreshToken => crate::connections::REFRESH_FIELD,
        SealedColumn::Provider => crate::providers::KEY_FIELD,
        SealedColumn::WebhookSecret | SealedColumn::WebhookOldSecret => crate::webhooks::SECRET_FIELD,
        SealedColumn::WebhookKey | SealedColumn::WebhookOldKey => crate::webhooks::KEY_FIELD,
        SealedColumn::Trigger | SealedColumn::TriggerPrevious => crate::triggers::SECRET_FIELD,
    }
}

async fn values_pending(platform: &Platform) -> Result<u64> {
    let mut pending = 0;
    for org in platform.store.system_rotated_organizations().await? {
        let Some(newest) = platform.store.list_data_keys(org).await?.into_iter().next() else { continue };
        for column in SealedColumn::ALL {
            pending += platform.store.values_under_other_keys(org, column, &newest.kid, "").await?.len() as u64;
        }
    }
    Ok(pending)
}
