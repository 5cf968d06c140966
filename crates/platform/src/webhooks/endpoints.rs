//! Creating, changing, rotating and deleting endpoints.

use livery_broker::ed25519::SigningKey;
use livery_broker::{Secret, Target};
use livery_core::id::{OrgId, WebhookId};
use livery_core::{Error, EventType, Result, Timestamp};
use livery_store::{CircuitRow, WebhookChange, WebhookRow};
use serde_json::json;

use super::{
    ChangeWebhook, CircuitView, KEY_FIELD, NewWebhook, RotateWebhook, SECRET_FIELD, URL_BYTES_MAX,
    WEBHOOKS_PER_APPLICATION_MAX, WebhookCreated, WebhookDetail, WebhookView, outbox, sign,
};
use crate::audit::note;
use crate::{Caller, Page, PageRequest, Platform, Posted, Principal, Scope};

/// Most events one endpoint names.
const EVENTS_MAX: usize = 32;
/// Longest description, in characters.
const DESCRIPTION_CHARS_MAX: usize = 500;
/// How long rotated keys sign along when the caller does not say, in seconds.
const OVERLAP_S_DEFAULT: u64 = 24 * 3600;
/// The longest, in seconds.
const OVERLAP_S_MAX: u64 = 7 * 24 * 3600;
/// Why an endpoint is off that its owner switched off.
const OFF: &str = "switched off by its owner";

impl Platform {
    /// Creates an endpoint of the caller's application.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an address the guard refuses, an unknown event or kind of signature; [`Error::Conflict`]
    /// beyond [`WEBHOOKS_PER_APPLICATION_MAX`].
    pub async fn create_webhook(&self, caller: &Caller, new: NewWebhook) -> Result<Posted<WebhookCreated>> {
        let principal = &caller.principal;
        principal.require(Scope::WebhooksWrite)?;
        self.check_webhook_url("/url", &new.url)?;
        check_events(&new.events)?;
        check_description(new.description.as_deref())?;
        let signatures = new.signatures.unwrap_or_else(|| vec![sign::SYMMETRIC.to_owned()]);
        check_signatures(&signatures)?;
        let (org, app, actor, now) = (principal.org, principal.app, principal.key, self.clock.now());
        let id = WebhookId::from_bits(self.mint());
        let (secret, sealed_secret) = self.new_secret(org, id, now).await?;
        let signing_key = match signatures.iter().any(|kind| kind == sign::ASYMMETRIC) {
            true => Some(self.new_signing_key(org, id, now).await?),
            false => None,
        };
        let (sealed_signing_key, public_key) = signing_key.unzip();
        let row = WebhookRow {
            id,
            org,
            application: app,
            url: new.url,
            events: new.events,
            description: new.description,
            signatures,
            sealed_secret,
            sealed_signing_key,
            public_key,
            old_sealed_secret: None,
            old_sealed_signing_key: None,
            old_until: None,
            disabled_at: None,
            disabled_reason: None,
            created_at: now,
        };
        let created = WebhookCreated { view: view_of(row.clone()), secret };
        self.post_secret(caller, created, move |tx| {
            Box::pin(async move {
                if tx.count_webhooks(org, app).await? >= u64::from(WEBHOOKS_PER_APPLICATION_MAX) {
                    let detail = format!("an application has at most {WEBHOOKS_PER_APPLICATION_MAX} webhooks");
                    return Err(Error::Conflict { code: "conflict", detail }.into());
                }
                tx.insert_webhook(&row).await?;
                note(tx, org, "webhook.created", now, actor, json!({"webhook": row.id, "events": row.events})).await
            })
        })
        .await
    }

    /// The endpoints of the caller's application, newest first.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `webhooks:read`.
    pub async fn list_webhooks(&self, principal: &Principal, page: PageRequest) -> Result<Page<WebhookView>> {
        principal.require(Scope::WebhooksRead)?;
        let list = self.store.list_webhooks(principal.org, principal.app, &page.into()).await?;
        Page::try_from_list(list, |row| Ok(view_of(row)))
    }

    /// One endpoint and its circuit.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn get_webhook(&self, principal: &Principal, id: WebhookId) -> Result<WebhookDetail> {
        principal.require(Scope::WebhooksRead)?;
        let view = view_of(self.visible_webhook(principal, id).await?);
        let circuit = self.store.get_circuit(principal.org, &id.to_string()).await?;
        Ok(WebhookDetail { view, circuit: circuit_view(circuit) })
    }

    /// Changes an endpoint. Switching it off cancels what is pending; switching it on sends none of that again.
    ///
    /// # Errors
    /// [`Error::NotFound`], and [`Error::Invalid`] as for a new one.
    pub async fn change_webhook(&self, caller: &Caller, id: WebhookId, change: ChangeWebhook) -> Result<WebhookDetail> {
        let principal = &caller.principal;
        principal.require(Scope::WebhooksWrite)?;
        let row = self.visible_webhook(principal, id).await?;
        if let Some(url) = &change.url {
            self.check_webhook_url("/url", url)?;
        }
        change.events.as_deref().map_or(Ok(()), check_events)?;
        check_description(change.description.as_ref().and_then(Option::as_deref))?;
        let (org, actor, now) = (principal.org, principal.key, self.clock.now());
        let mut signing_key = None;
        if let Some(signatures) = &change.signatures {
            check_signatures(signatures)?;
            if signatures.iter().any(|kind| kind == sign::ASYMMETRIC) && row.sealed_signing_key.is_none() {
                signing_key = Some(self.new_signing_key(org, id, now).await?);
            }
        }
        let ChangeWebhook { url, events, description, enabled, signatures } = change;
        let stored = WebhookChange { url, events, description, signatures, signing_key };
        self.store
            .write(move |tx| {
                Box::pin(async move {
                    tx.update_webhook(org, id, stored).await?;
                    note(tx, org, "webhook.updated", now, actor, json!({"webhook": id})).await?;
                    let data = json!({"webhook": id, "reason": OFF});
                    match enabled {
                        Some(true) if tx.enable_webhook(org, id).await? => {
                            note(tx, org, "webhook.enabled", now, actor, json!({"webhook": id})).await
                        }
                        Some(false) if tx.disable_webhook(org, id, now, OFF).await? => {
                            note(tx, org, "webhook.disabled", now, actor, data).await
                        }
                        _ => Ok(()),
                    }
                })
            })
            .await?;
        let view = view_of(self.visible_webhook(principal, id).await?);
        Ok(WebhookDetail { view, circuit: circuit_view(self.store.get_circuit(org, &id.to_string()).await?) })
    }

    /// Gives an endpoint a new secret and, if it has one, a new Ed25519 key. The old ones sign along for a while, so that
    /// its receiver changes over when it likes; those of an earlier rotation stop at once.
    ///
    /// # Errors
    /// [`Error::NotFound`], and [`Error::Invalid`] for too long an overlap.
    pub async fn rotate_webhook(
        &self,
        caller: &Caller,
        id: WebhookId,
        rotate: RotateWebhook,
    ) -> Result<Posted<WebhookCreated>> {
        let principal = &caller.principal;
        principal.require(Scope::WebhooksWrite)?;
        let overlap_s = rotate.overlap_s.unwrap_or(OVERLAP_S_DEFAULT);
        if overlap_s > OVERLAP_S_MAX {
            return Err(Error::invalid_field("/overlap_s", format!("from 0 to {OVERLAP_S_MAX} seconds (a week)")));
        }
        let row = self.visible_webhook(principal, id).await?;
        let (org, actor, now) = (principal.org, principal.key, self.clock.now());
        let old_until = now.plus_millis(i64::try_from(overlap_s).unwrap_or(i64::MAX).saturating_mul(1000));
        let (secret, sealed_secret) = self.new_secret(org, id, now).await?;
        let signing_key = match row.sealed_signing_key {
            Some(_) => Some(self.new_signing_key(org, id, now).await?),
            None => None,
        };
        let mut view = view_of(row);
        view.old_keys_until = Some(old_until);
        view.public_key = signing_key.as_ref().map(|(_, public)| public.clone());
        self.post_secret(caller, WebhookCreated { view, secret }, move |tx| {
            Box::pin(async move {
                tx.rotate_webhook(org, id, sealed_secret, signing_key, old_until).await?;
                let data = json!({"webhook": id, "old_keys_until": old_until});
                note(tx, org, "webhook.rotated", now, actor, data).await
            })
        })
        .await
    }

    /// Deletes an endpoint; what was not delivered yet is cancelled.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn delete_webhook(&self, caller: &Caller, id: WebhookId) -> Result<()> {
        let principal = &caller.principal;
        principal.require(Scope::WebhooksWrite)?;
        self.visible_webhook(principal, id).await?;
        let (org, actor, now) = (principal.org, principal.key, self.clock.now());
        self.store
            .write(move |tx| {
                Box::pin(async move {
                    tx.delete_webhook(org, id).await?;
                    note(tx, org, "webhook.deleted", now, actor, json!({"webhook": id})).await
                })
            })
            .await?;
        Ok(())
    }

    pub(super) async fn visible_webhook(&self, principal: &Principal, id: WebhookId) -> Result<WebhookRow> {
        let row = self.store.get_webhook(principal.org, id).await?;
        row.filter(|row| principal.sees(row.application)).ok_or(Error::NotFound { what: "webhook" })
    }

    /// An address as far as it can be judged without dialling.
    pub(crate) fn check_webhook_url(&self, pointer: &str, url: &str) -> Result<()> {
        if url.len() > URL_BYTES_MAX {
            return Err(Error::invalid_field(pointer, format!("at most {URL_BYTES_MAX} bytes")));
        }
        let target = Target::full_url(url).map_err(|refused| Error::invalid_field(pointer, refused.to_string()))?;
        self.broker.check(&target).map_err(|refused| Error::invalid_field(pointer, refused.to_string()))
    }

    /// A new signing secret: as it is shown, and sealed.
    async fn new_secret(&self, org: OrgId, id: WebhookId, now: Timestamp) -> Result<(String, String)> {
        let secret = sign::new_secret();
        let sealed = self.vault.seal(&self.store, org, &id.to_string(), SECRET_FIELD, &secret, now).await?;
        Ok((String::from_utf8(secret.expose_secret().to_vec()).map_err(Error::internal)?, sealed))
    }

    /// A new Ed25519 key: its sealed seed, and its public half as it is shown.
    async fn new_signing_key(&self, org: OrgId, id: WebhookId, now: Timestamp) -> Result<(String, String)> {
        let key = SigningKey::generate().map_err(Error::internal)?;
        let public = format!("{}{}", sign::PUBLIC_KEY_PREFIX, key.public());
        let seed: &Secret = key.seed();
        Ok((self.vault.seal(&self.store, org, &id.to_string(), KEY_FIELD, seed, now).await?, public))
    }
}

fn check_events(events: &[String]) -> Result<()> {
    if events.is_empty() || events.len() > EVENTS_MAX {
        return Err(Error::invalid_field("/events", format!("1 to {EVENTS_MAX} events, such as \"run.*\"")));
    }
    for (index, name) in events.iter().enumerate() {
        let told = name.parse::<EventType>().is_ok_and(outbox::is_told);
        if name != "run.*" && !told {
            let detail = "no such event; webhooks tell of run.* or exact names such as run.succeeded";
            return Err(Error::invalid_field(format!("/events/{index}"), detail));
        }
    }
    Ok(())
}

fn check_description(description: Option<&str>) -> Result<()> {
    match description.is_some_and(|text| text.chars().count() > DESCRIPTION_CHARS_MAX) {
        true => Err(Error::invalid_field("/description", format!("at most {DESCRIPTION_CHARS_MAX} characters"))),
        false => Ok(()),
    }
}

/// The public libraries verify `v1` alone, so nobody gets `v1a` without it.
fn check_signatures(signatures: &[String]) -> Result<()> {
    let kinds: Vec<&str> = signatures.iter().map(String::as_str).collect();
    match kinds.as_slice() {
        [sign::SYMMETRIC] | [sign::SYMMETRIC, sign::ASYMMETRIC] => Ok(()),
        _ => Err(Error::invalid_field("/signatures", "either [\"v1\"] or [\"v1\", \"v1a\"]")),
    }
}

fn view_of(row: WebhookRow) -> WebhookView {
    WebhookView {
        id: row.id,
        url: row.url,
        events: row.events,
        description: row.description,
        organization: row.org,
        application: row.application,
        signatures: row.signatures,
        public_key: row.public_key,
        old_keys_until: row.old_until,
        disabled_at: row.disabled_at,
        disabled_reason: row.disabled_reason,
        created_at: row.created_at,
    }
}

fn circuit_view(row: Option<CircuitRow>) -> CircuitView {
    CircuitView {
        state: if row.is_some_and(|row| row.opened_at.is_some()) { "open" } else { "closed" },
        failures: row.map_or(0, |row| row.failures),
        failing_since: row.map(|row| row.failing_since),
        opened_at: row.and_then(|row| row.opened_at),
        next_probe_at: row.and_then(|row| row.next_probe_at),
        paused_until: row.and_then(|row| row.paused_until),
    }
}
