//! Webhook endpoints of a tenant. Their secrets arrive and leave sealed.

use livery_core::Timestamp;
use livery_core::id::{AppId, OrgId, WebhookId};

use crate::error::{Error, Result};
use crate::page::{List, Page, Position, Scope};
use crate::reader::Lane;
use crate::sql::{FromRow, Row, args, statements};
use crate::store::Store;
use crate::tx::Tx;

/// Endpoints that one event of a run can reach.
const MATCHING_MAX: u32 = 1000;

/// The columns of [`WebhookRow`], in its order.
macro_rules! webhook_columns {
    () => {
        "id, org_id, application_id, url, events, description, signatures, sealed_secret, sealed_signing_key, public_key, \
         old_sealed_secret, old_sealed_signing_key, old_until, disabled_at, disabled_reason, created_at"
    };
}

statements! {
    INSERT = "insert into webhooks
        (id, org_id, application_id, url, events, description, signatures, sealed_secret, sealed_signing_key, public_key,
        old_sealed_secret, old_sealed_signing_key, old_until, disabled_at, disabled_reason, created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";
    GET = concat!("select ", webhook_columns!(), " from webhooks where org_id = $1 and id = $2");
    LIST = concat!("select ", webhook_columns!(), " from webhooks where org_id = $1 and (created_at, id) < ($2, $3)
        and (application_id = $4 or $4 is null) order by created_at desc, id desc limit $5");
    COUNT = "select count(*) from webhooks where org_id = $1 and (application_id = $2 or $2 is null)";
    ENABLED = concat!("select ", webhook_columns!(), " from webhooks where org_id = $1 and disabled_at is null
        and (application_id is null or application_id = $2) order by created_at, id limit $3");
    DELETE = "delete from webhooks where org_id = $1 and id = $2";
    UPDATE = "update webhooks set url = coalesce($3, url), events = coalesce($4, events),
        description = case when cast($5 as bigint) = 1 then $6 else description end, signatures = coalesce($7, signatures),
        sealed_signing_key = coalesce($8, sealed_signing_key), public_key = coalesce($9, public_key)
        where org_id = $1 and id = $2";
    DISABLE = "update webhooks set disabled_at = $3, disabled_reason = $4
        where org_id = $1 and id = $2 and disabled_at is null";
    ENABLE = "update webhooks set disabled_at = null, disabled_reason = null
        where org_id = $1 and id = $2 and disabled_at is not null";
    /// In one statement, so that of two rotations at once the second moves the first one's keys aside.
    ROTATE = concat!("update webhooks set old_sealed_secret = sealed_secret,
            old_sealed_signing_key = case when cast($4 as text) is null then null else sealed_signing_key end,
            old_until = $6, sealed_secret = $3, sealed_signing_key = coalesce($4, sealed_signing_key),
            public_key = coalesce($5, public_key)
        where org_id = $1 and id = $2 returning ", webhook_columns!());
    FORGET_ROTATED = "update webhooks set old_sealed_secret = null, old_sealed_signing_key = null, old_until = null
        where old_until <= $1";
}

/// A webhook endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookRow {
    /// Its id.
    pub id: WebhookId,
    /// The tenant.
    pub org: OrgId,
    /// The application whose runs it hears of; `None`: all of the tenant's.
    pub application: Option<AppId>,
    /// Where to post.
    pub url: String,
    /// Event names: exact, or `GROUP.*`.
    pub events: Vec<String>,
    /// A note for people.
    pub description: Option<String>,
    /// The kinds of signatures it gets: `v1`, `v1a`.
    pub signatures: Vec<String>,
    /// The signing secret, sealed by the vault.
    pub sealed_secret: String,
    /// The seed of its Ed25519 key, sealed by the vault.
    pub sealed_signing_key: Option<String>,
    /// That key's public half, as it is shown.
    pub public_key: Option<String>,
    /// The secret before the last rotation, sealed.
    pub old_sealed_secret: Option<String>,
    /// The Ed25519 seed before the last rotation, sealed.
    pub old_sealed_signing_key: Option<String>,
    /// Until when the old ones sign along.
    pub old_until: Option<Timestamp>,
    /// Since when it gets nothing.
    pub disabled_at: Option<Timestamp>,
    /// Why.
    pub disabled_reason: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
}

impl FromRow for WebhookRow {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self {
            id: row.take()?,
            org: row.take()?,
            application: row.take()?,
            url: row.take()?,
            events: row.json("webhook events")?,
            description: row.take()?,
            signatures: row.json("webhook signatures")?,
            sealed_secret: row.take()?,
            sealed_signing_key: row.take()?,
            public_key: row.take()?,
            old_sealed_secret: row.take()?,
            old_sealed_signing_key: row.take()?,
            old_until: row.take()?,
            disabled_at: row.take()?,
            disabled_reason: row.take()?,
            created_at: row.take()?,
        })
    }
}

impl WebhookRow {
    /// Whether this endpoint wants events of this name.
    pub fn wants(&self, event_type: &str) -> bool {
        self.events.iter().any(|pattern| match pattern.strip_suffix(".*") {
            Some(group) => event_type.strip_prefix(group).is_some_and(|rest| rest.starts_with('.')),
            None => pattern == event_type,
        })
    }
}

impl Tx {
    /// A new endpoint.
    ///
    /// # Errors
    /// `NotFound` for an application that is not of this tenant.
    pub async fn insert_webhook(&mut self, row: &WebhookRow) -> Result<()> {
        let events = serde_json::to_string(&row.events).map_err(Error::bug)?;
        let signatures = serde_json::to_string(&row.signatures).map_err(Error::bug)?;
        let args = args![
            row.id,
            row.org,
            row.application,
            &row.url,
            events,
            &row.description,
            signatures,
            &row.sealed_secret,
            &row.sealed_signing_key,
            &row.public_key,
            &row.old_sealed_secret,
            &row.old_sealed_signing_key,
            row.old_until,
            row.disabled_at,
            &row.disabled_reason,
            row.created_at,
        ];
        self.execute(INSERT, args).await.map(drop)
    }

    /// How many endpoints the tenant has, of one application or in all, for its limit: until the operation ends nobody else
    /// counts.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn count_webhooks(&mut self, org: OrgId, app: Option<AppId>) -> Result<u64> {
        self.lock_organization(org).await?;
        Ok(self.fetch_optional::<(u64,)>(COUNT, args![org, app]).await?.map_or(0, |(count,)| count))
    }

    /// The enabled endpoints that want this event of a run of `app`: for the outbox, in the event's own write.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn matching_webhooks(
        &mut self,
        org: OrgId,
        app: Option<AppId>,
        event_type: &str,
    ) -> Result<Vec<WebhookRow>> {
        let mut rows: Vec<WebhookRow> = self.fetch_all(ENABLED, args![org, app, MATCHING_MAX]).await?;
        rows.retain(|row| row.wants(event_type));
        Ok(rows)
    }

    /// One endpoint of the tenant, in the same write.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn webhook(&mut self, org: OrgId, webhook: WebhookId) -> Result<Option<WebhookRow>> {
        self.fetch_optional(GET, args![org, webhook]).await
    }

    /// Deletes an endpoint; what it had not got yet is cancelled.
    ///
    /// # Errors
    /// `NotFound` without that endpoint in this tenant.
    pub async fn delete_webhook(&mut self, org: OrgId, webhook: WebhookId) -> Result<()> {
        if self.execute(DELETE, args![org, webhook]).await? == 0 {
            return Err(Error::NotFound { what: "webhook" });
        }
        self.cancel_deliveries(org, &webhook.to_string(), "the webhook was deleted").await.map(drop)
    }

    /// Changes an endpoint; a new address starts without the old one's failures.
    ///
    /// # Errors
    /// `NotFound` without that endpoint in this tenant.
    pub async fn update_webhook(&mut self, org: OrgId, webhook: WebhookId, change: WebhookChange) -> Result<()> {
        let json = |list: Vec<String>| serde_json::to_string(&list).map_err(Error::bug);
        let moved = change.url.is_some();
        let (sealed_key, public_key) = change.signing_key.unzip();
        let args = args![
            org,
            webhook,
            change.url,
            change.events.map(json).transpose()?,
            change.description.is_some(),
            change.description.flatten(),
            change.signatures.map(json).transpose()?,
            sealed_key,
            public_key,
        ];
        if self.execute(UPDATE, args).await? == 0 {
            return Err(Error::NotFound { what: "webhook" });
        }
        if moved {
            self.close_circuit(org, &webhook.to_string()).await?;
        }
        Ok(())
    }

    /// Stops deliveries to an endpoint, with a reason for its owner; what it had not got yet is cancelled. `false` when it
    /// is gone or was stopped before.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn disable_webhook(
        &mut self,
        org: OrgId,
        webhook: WebhookId,
        now: Timestamp,
        reason: &str,
    ) -> Result<bool> {
        if self.execute(DISABLE, args![org, webhook, now, reason.to_owned()]).await? == 0 {
            return Ok(false);
        }
        self.cancel_deliveries(org, &webhook.to_string(), &format!("the webhook is disabled: {reason}")).await?;
        Ok(true)
    }

    /// Lets an endpoint have new deliveries again. `false` when it had them already.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn enable_webhook(&mut self, org: OrgId, webhook: WebhookId) -> Result<bool> {
        self.close_circuit(org, &webhook.to_string()).await?;
        Ok(self.execute(ENABLE, args![org, webhook]).await? == 1)
    }

    /// Replaces the signing secret, and the Ed25519 key when there is a new one (sealed seed, public half); the old ones
    /// sign along until `old_until`. The endpoint as it is then.
    ///
    /// # Errors
    /// `NotFound` without that endpoint in this tenant.
    pub async fn rotate_webhook(
        &mut self,
        org: OrgId,
        webhook: WebhookId,
        sealed_secret: String,
        signing_key: Option<(String, String)>,
        old_until: Timestamp,
    ) -> Result<WebhookRow> {
        let (sealed_key, public_key) = signing_key.unzip();
        let args = args![org, webhook, sealed_secret, sealed_key, public_key, old_until];
        self.fetch_optional(ROTATE, args).await?.ok_or(Error::NotFound { what: "webhook" })
    }

    /// Deletes what was rotated out and no longer signs. How many endpoints had such.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_forget_rotated_webhook_keys(&mut self, now: Timestamp) -> Result<u64> {
        self.execute(FORGET_ROTATED, args![now]).await
    }
}

/// What changes about an endpoint; `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WebhookChange {
    /// Where to post.
    pub url: Option<String>,
    /// Event names.
    pub events: Option<Vec<String>>,
    /// The note for people; `Some(None)` removes it.
    pub description: Option<Option<String>>,
    /// The kinds of signatures.
    pub signatures: Option<Vec<String>>,
    /// The first Ed25519 key: its sealed seed and its public half.
    pub signing_key: Option<(String, String)>,
}

impl Store {
    /// One endpoint of the tenant.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn get_webhook(&self, org: OrgId, webhook: WebhookId) -> Result<Option<WebhookRow>> {
        self.fetch_optional(GET, args![org, webhook]).await
    }

    /// Endpoints of the tenant, of one application or of all.
    ///
    /// # Errors
    /// `InvalidCursor`, and those of the database.
    pub async fn list_webhooks(&self, org: OrgId, app: Option<AppId>, page: &Page) -> Result<List<WebhookRow>> {
        let scope = Scope::new("webhooks", org).with(&app.map(|app| app.to_string()).unwrap_or_default());
        let (from, rows) = page.start(&scope)?;
        let args = args![org, from.created_at, WebhookId::from_bits(from.id_bits), app, rows];
        let rows = self.fetch_page(Lane::Scan, LIST, args).await?;
        let position = |row: &WebhookRow| Position { created_at: row.created_at, id_bits: row.id.bits() };
        Ok(page.finish(&scope, rows, position))
    }
}
