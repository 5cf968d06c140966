//! Webhook endpoints and their deliveries.

mod deliver;
mod outbox;
mod retry;
pub(crate) mod sign;

use livery_broker::Target;
use livery_core::id::{AppId, DeliveryId, OrgId, RunId, WebhookEventId, WebhookId};
use livery_core::{Error, EventType, Result, Timestamp};
use livery_store::{DeliveryRow, DeliveryStatus, WebhookRow};
use serde::{Deserialize, Serialize};
use serde_json::json;

pub(crate) use self::deliver::deliver;
pub(crate) use self::outbox::Outbox;
use crate::audit::note;
use crate::{Caller, Page, PageRequest, Platform, Posted, Principal, Scope};

/// Most endpoints of one application.
pub const WEBHOOKS_PER_APPLICATION_MAX: u32 = 20;
/// Longest address.
pub const URL_BYTES_MAX: usize = 2048;

/// `POST /v1/webhooks`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewWebhook {
    /// Where deliveries go: `https://…`, or an address the operator allows.
    pub url: String,
    /// `run.*` or exact names.
    pub events: Vec<String>,
    /// For people.
    #[serde(default)]
    pub description: Option<String>,
}

/// An endpoint without its secret.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WebhookView {
    /// Its id.
    pub id: WebhookId,
    /// Where deliveries go.
    pub url: String,
    /// What it listens to.
    pub events: Vec<String>,
    /// For people.
    pub description: Option<String>,
    /// The tenant.
    pub organization: OrgId,
    /// The application.
    pub application: Option<AppId>,
    /// When it was switched off: its receiver answered 410.
    pub disabled_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// A new endpoint: the only answer that ever carries the secret.
#[derive(Clone, PartialEq, Serialize)]
pub struct WebhookCreated {
    /// The endpoint.
    #[serde(flatten)]
    pub view: WebhookView,
    /// `whsec_…`: deliveries are signed with it (Standard Webhooks, `v1`).
    pub secret: String,
}

/// One message to one endpoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeliveryView {
    /// Its id.
    pub id: DeliveryId,
    /// The `webhook-id` header, the same at every attempt.
    pub event_id: WebhookEventId,
    /// The event's name.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The run it tells of.
    pub run_id: RunId,
    /// `pending`, `delivered` or `failed`.
    pub status: String,
    /// Attempts so far.
    pub attempts: u32,
    /// The receiver's last HTTP status.
    pub last_status: Option<u16>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// When the next attempt is due.
    pub next_attempt_at: Option<Timestamp>,
    /// When it was delivered.
    pub delivered_at: Option<Timestamp>,
    /// When it was written down.
    pub created_at: Timestamp,
}

/// What an endpoint's secret is sealed as.
const SECRET_FIELD: &str = "signing_secret";
/// Most events one endpoint names.
const EVENTS_MAX: usize = 32;
/// Longest description, in characters.
const DESCRIPTION_CHARS_MAX: usize = 500;

impl Platform {
    /// Creates an endpoint of the caller's application.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an address the guard refuses or an unknown event; [`Error::Limited`] beyond
    /// [`WEBHOOKS_PER_APPLICATION_MAX`].
    pub async fn create_webhook(&self, caller: &Caller, new: NewWebhook) -> Result<Posted<WebhookCreated>> {
        let principal = &caller.principal;
        principal.require(Scope::WebhooksWrite)?;
        self.check_webhook_url("/url", &new.url)?;
        check_events(&new.events)?;
        if new.description.as_ref().is_some_and(|text| text.chars().count() > DESCRIPTION_CHARS_MAX) {
            return Err(Error::invalid_field("/description", format!("at most {DESCRIPTION_CHARS_MAX} characters")));
        }
        let (org, app, actor, now) = (principal.org, principal.app, principal.key, self.clock.now());
        let id = WebhookId::from_bits(self.mint());
        let secret = sign::new_secret();
        let sealed_secret = self.vault.seal(&self.store, org, &id.to_string(), SECRET_FIELD, &secret, now).await?;
        let row = WebhookRow {
            id,
            org,
            application: app,
            url: new.url,
            events: new.events,
            description: new.description,
            sealed_secret,
            disabled_at: None,
            created_at: now,
        };
        let secret = String::from_utf8(secret.expose_secret().to_vec()).map_err(Error::internal)?;
        let created = WebhookCreated { view: view_of(row.clone())?, secret };
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
        Page::try_from_list(self.store.list_webhooks(principal.org, principal.app, &page.into()).await?, view_of)
    }

    /// One endpoint.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn get_webhook(&self, principal: &Principal, id: WebhookId) -> Result<WebhookView> {
        principal.require(Scope::WebhooksRead)?;
        view_of(self.visible_webhook(principal, id).await?)
    }

    /// Deletes an endpoint; what was not delivered yet is given up.
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

    /// What was sent to an endpoint, newest first.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an endpoint that is not the caller's.
    pub async fn list_deliveries(
        &self,
        principal: &Principal,
        id: WebhookId,
        page: PageRequest,
    ) -> Result<Page<DeliveryView>> {
        principal.require(Scope::WebhooksRead)?;
        self.visible_webhook(principal, id).await?;
        Page::try_from_list(self.store.list_deliveries(principal.org, id, &page.into()).await?, |row| {
            Ok(delivery_view(row))
        })
    }

    async fn visible_webhook(&self, principal: &Principal, id: WebhookId) -> Result<WebhookRow> {
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

#[expect(clippy::unnecessary_wraps, reason = "a page is made of views that may fail")]
fn view_of(row: WebhookRow) -> Result<WebhookView> {
    Ok(WebhookView {
        id: row.id,
        url: row.url,
        events: row.events,
        description: row.description,
        organization: row.org,
        application: row.application,
        disabled_at: row.disabled_at,
        created_at: row.created_at,
    })
}

fn delivery_view(row: DeliveryRow) -> DeliveryView {
    let pending = row.status == DeliveryStatus::Pending;
    DeliveryView {
        id: row.id,
        event_id: row.event_id,
        event_type: row.event_type,
        run_id: row.run,
        status: row.status.as_str().to_owned(),
        attempts: row.attempt,
        last_status: row.last_status,
        last_error: row.last_error,
        next_attempt_at: pending.then_some(row.next_attempt_at),
        delivered_at: row.delivered_at,
        created_at: row.created_at,
    }
}
