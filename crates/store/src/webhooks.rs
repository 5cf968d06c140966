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

statements! {
    INSERT = "insert into webhooks
        (id, org_id, application_id, url, events, description, sealed_secret, disabled_at, created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    GET = "select id, org_id, application_id, url, events, description, sealed_secret, disabled_at, created_at
        from webhooks where org_id = $1 and id = $2";
    LIST = "select id, org_id, application_id, url, events, description, sealed_secret, disabled_at, created_at
        from webhooks where org_id = $1 and (created_at, id) < ($2, $3)
        and (application_id = $4 or $4 is null) order by created_at desc, id desc limit $5";
    COUNT = "select count(*) from webhooks where org_id = $1 and (application_id = $2 or $2 is null)";
    ENABLED = "select id, org_id, application_id, url, events, description, sealed_secret, disabled_at, created_at
        from webhooks where org_id = $1 and disabled_at is null
        and (application_id is null or application_id = $2) order by created_at, id limit $3";
    DELETE = "delete from webhooks where org_id = $1 and id = $2";
    ABANDON = "update deliveries set status = 'failed', last_error = 'the webhook was deleted', lease_owner = null,
        lease_until = null where org_id = $1 and webhook_id = $2 and status = 'pending'";
    SET_DISABLED = "update webhooks set disabled_at = $3 where org_id = $1 and id = $2";
    ROTATE = "update webhooks set sealed_secret = $3 where org_id = $1 and id = $2";
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
    /// The signing secret, sealed by the vault.
    pub sealed_secret: String,
    /// Since when it gets nothing.
    pub disabled_at: Option<Timestamp>,
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
            sealed_secret: row.take()?,
            disabled_at: row.take()?,
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
        let args = args![
            row.id,
            row.org,
            row.application,
            &row.url,
            events,
            &row.description,
            &row.sealed_secret,
            row.disabled_at,
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

    /// Deletes an endpoint; what it had not got yet fails.
    ///
    /// # Errors
    /// `NotFound` without that endpoint in this tenant.
    pub async fn delete_webhook(&mut self, org: OrgId, webhook: WebhookId) -> Result<()> {
        if self.execute(DELETE, args![org, webhook]).await? == 0 {
            return Err(Error::NotFound { what: "webhook" });
        }
        self.execute(ABANDON, args![org, webhook]).await.map(drop)
    }

    /// Stops or resumes deliveries of new events to an endpoint.
    ///
    /// # Errors
    /// `NotFound` without that endpoint in this tenant.
    pub async fn set_webhook_disabled(&mut self, org: OrgId, webhook: WebhookId, at: Option<Timestamp>) -> Result<()> {
        match self.execute(SET_DISABLED, args![org, webhook, at]).await? {
            0 => Err(Error::NotFound { what: "webhook" }),
            _ => Ok(()),
        }
    }

    /// Replaces the signing secret.
    ///
    /// # Errors
    /// `NotFound` without that endpoint in this tenant.
    pub async fn rotate_webhook_secret(&mut self, org: OrgId, webhook: WebhookId, sealed: &str) -> Result<()> {
        match self.execute(ROTATE, args![org, webhook, sealed.to_owned()]).await? {
            0 => Err(Error::NotFound { what: "webhook" }),
            _ => Ok(()),
        }
    }
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
