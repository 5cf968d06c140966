//! The webhook outbox: rows written with the event they tell of, kept as the record. Who sends them when is
//! `delivery_queue`'s business.

use livery_core::Timestamp;
use livery_core::id::{DeliveryId, OrgId, RunId, WebhookEventId, WebhookId};

use crate::error::{Error, Result};
use crate::json::Json;
use crate::page::{List, Page, Position, Scope};
use crate::reader::Lane;
use crate::sql::{Arg, FromRow, Row, args, statements, words};
use crate::store::Store;
use crate::tx::Tx;

/// Pending deliveries counted at most: beyond it the number is "at least".
const PENDING_COUNTED_MAX: u32 = 100_000;

/// The columns of [`DeliveryRow`], in its order.
macro_rules! delivery_columns {
    () => {
        "d.id, d.org_id, d.webhook_id, d.run_id, d.seq, d.event_id, d.event_type, d.url, d.destination, d.redelivery_of, \
         d.attempt, d.probes, d.status, d.next_attempt_at, d.last_status, d.last_error, d.attempt_log, d.created_at, \
         d.delivered_at"
    };
}
pub(crate) use delivery_columns;

statements! {
    INSERT = "insert into deliveries (id, org_id, webhook_id, run_id, seq, event_id, event_type, url, sealed_secret,
        body, attempt, status, next_attempt_at, last_error, created_at, destination)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, $11, $12, $13, $12, $14)";
    GET = concat!("select ", delivery_columns!(), " from deliveries d where d.org_id = $1 and d.id = $2");
    LIST = concat!("select ", delivery_columns!(), " from deliveries d
        where d.org_id = $1 and d.webhook_id = $2 and (d.created_at, d.id) < ($3, $4)
        order by d.created_at desc, d.id desc limit $5");
    LIST_STATUS = concat!("select ", delivery_columns!(), " from deliveries d
        where d.org_id = $1 and d.webhook_id = $2 and d.status = $6 and (d.created_at, d.id) < ($3, $4)
        order by d.created_at desc, d.id desc limit $5");
    /// The rare states have an index of their own.
    LIST_OPEN = concat!("select ", delivery_columns!(), " from deliveries d
        where d.org_id = $1 and d.webhook_id = $2 and d.status = $6 and d.status <> 'delivered'
        and (d.created_at, d.id) < ($3, $4) order by d.created_at desc, d.id desc limit $5");
    LIST_OF_RUN = concat!("select ", delivery_columns!(), " from deliveries d
        where d.org_id = $1 and d.run_id = $2 and (d.webhook_id = $6 or $6 is null) and (d.status = $7 or $7 is null)
        and (d.created_at, d.id) < ($3, $4) order by d.created_at desc, d.id desc limit $5");
    REDELIVER = "insert into deliveries (id, org_id, webhook_id, run_id, seq, event_id, event_type, url, sealed_secret,
        body, attempt, status, next_attempt_at, created_at, destination, redelivery_of)
        select $4, d.org_id, d.webhook_id, d.run_id, d.seq, d.event_id, d.event_type, d.url, d.sealed_secret, d.body,
        0, 'pending', $5, $5, d.destination, d.id from deliveries d
        where d.org_id = $1 and d.webhook_id = $2 and d.id = $3";
    COUNT_PENDING = "select count(*) from (select 1 from deliveries where status = 'pending' limit $1) pending";
}

words! {
    "delivery status";
    /// Where a delivery stands.
    pub enum DeliveryStatus {
        /// To be tried at `next_attempt_at`, or being tried.
        Pending = "pending",
        /// The endpoint took it.
        Delivered = "delivered",
        /// Given up.
        Failed = "failed",
        /// Never to be tried: its endpoint was deleted or switched off.
        Cancelled = "cancelled",
    }
}

impl From<DeliveryStatus> for Arg {
    fn from(status: DeliveryStatus) -> Self {
        Self::from(status.as_str())
    }
}

/// A delivery to put into the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelivery {
    /// Its id.
    pub id: DeliveryId,
    /// The tenant.
    pub org: OrgId,
    /// The endpoint; `None`: the run brought its own address and secret.
    pub webhook: Option<WebhookId>,
    /// The run it tells of.
    pub run: RunId,
    /// The event it tells of.
    pub seq: u64,
    /// The event's name to the receiver (`webhook-id`), the same for every attempt and redelivery.
    pub event_id: WebhookEventId,
    /// The event's type.
    pub event_type: String,
    /// Where to post; for an endpoint its address now, kept for the record.
    pub url: String,
    /// Who shares slots and a circuit: the endpoint's id, or the origin of a run's own address.
    pub destination: String,
    /// The sealed signing secret, when there is no endpoint row to take it from.
    pub sealed_secret: Option<String>,
    /// The body, exactly as it is signed.
    pub body: String,
    /// Why it is cancelled at once: what it is for is gone. `None`: it is to be sent.
    pub cancelled: Option<String>,
    /// When it was made, and from when it may be tried.
    pub created_at: Timestamp,
}

/// A delivery.
#[derive(Debug, Clone, PartialEq)]
pub struct DeliveryRow {
    /// Its id.
    pub id: DeliveryId,
    /// The tenant.
    pub org: OrgId,
    /// The endpoint.
    pub webhook: Option<WebhookId>,
    /// The run it tells of.
    pub run: RunId,
    /// The event it tells of.
    pub seq: u64,
    /// The event's name to the receiver.
    pub event_id: WebhookEventId,
    /// The event's type.
    pub event_type: String,
    /// Where it went when it was made.
    pub url: String,
    /// Who shares slots and a circuit with it.
    pub destination: String,
    /// The delivery this one repeats.
    pub redelivery_of: Option<DeliveryId>,
    /// Attempts begun.
    pub attempt: u32,
    /// Of these, probes of an open circuit.
    pub probes: u32,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// When it is tried next, while pending.
    pub next_attempt_at: Timestamp,
    /// The last answer's HTTP status.
    pub last_status: Option<u16>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// The last attempts, as `platform` writes them down.
    pub attempt_log: Option<Json>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was taken.
    pub delivered_at: Option<Timestamp>,
}

impl FromRow for DeliveryRow {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self {
            id: row.take()?,
            org: row.take()?,
            webhook: row.take()?,
            run: row.take()?,
            seq: row.take()?,
            event_id: row.take()?,
            event_type: row.take()?,
            url: row.take()?,
            destination: row.take()?,
            redelivery_of: row.take()?,
            attempt: row.take()?,
            probes: row.take()?,
            status: row.take()?,
            next_attempt_at: row.take()?,
            last_status: row.take()?,
            last_error: row.take()?,
            attempt_log: row.take()?,
            created_at: row.take()?,
            delivered_at: row.take()?,
        })
    }
}

/// Which deliveries of an endpoint a list is of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// In this state alone.
    pub status: Option<DeliveryStatus>,
    /// Of this run alone.
    pub run: Option<RunId>,
}

impl Tx {
    /// Puts a delivery into the outbox, in the write of the event it tells of.
    ///
    /// # Errors
    /// `Exists` for an id in use.
    pub async fn insert_delivery(&mut self, delivery: &NewDelivery) -> Result<()> {
        let args = args![
            delivery.id,
            delivery.org,
            delivery.webhook,
            delivery.run,
            delivery.seq,
            delivery.event_id,
            &delivery.event_type,
            &delivery.url,
            &delivery.sealed_secret,
            &delivery.body,
            if delivery.cancelled.is_some() { DeliveryStatus::Cancelled } else { DeliveryStatus::Pending },
            delivery.created_at,
            &delivery.cancelled,
            &delivery.destination,
        ];
        self.execute_ahead(INSERT, args).await?;
        self.rings.deliveries = true;
        Ok(())
    }

    /// Makes a new delivery of the same event to the same endpoint, due now, under the same event id.
    ///
    /// # Errors
    /// `NotFound` without that delivery to that endpoint in this tenant.
    pub async fn redeliver(
        &mut self,
        org: OrgId,
        webhook: WebhookId,
        old: DeliveryId,
        new: DeliveryId,
        now: Timestamp,
    ) -> Result<()> {
        match self.execute(REDELIVER, args![org, webhook, old, new, now]).await? {
            0 => Err(Error::NotFound { what: "delivery" }),
            _ => {
                self.rings.deliveries = true;
                Ok(())
            }
        }
    }
}

impl Store {
    /// One delivery of the tenant.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn get_delivery(&self, org: OrgId, delivery: DeliveryId) -> Result<Option<DeliveryRow>> {
        self.fetch_optional(GET, args![org, delivery]).await
    }

    /// Deliveries to one endpoint of the tenant, in one state, of one run, or all.
    ///
    /// # Errors
    /// `InvalidCursor`, and those of the database.
    pub async fn list_deliveries(
        &self,
        org: OrgId,
        webhook: WebhookId,
        filter: DeliveryFilter,
        page: &Page,
    ) -> Result<List<DeliveryRow>> {
        let DeliveryFilter { status, run } = filter;
        let text = |value: Option<String>| value.unwrap_or_default();
        let scope = Scope::new("deliveries", org)
            .with(&webhook.to_string())
            .with(status.map_or("", DeliveryStatus::as_str))
            .with(&text(run.map(|run| run.to_string())));
        let (from, rows) = page.start(&scope)?;
        let (before, id) = (from.created_at, DeliveryId::from_bits(from.id_bits));
        let rows = match (run, status) {
            (Some(run), status) => {
                let status = Arg::from(status.map(|status| status.as_str().to_owned()));
                let mut args = args![org, run, before, id, rows, Some(webhook)];
                args.push(status);
                self.fetch_page(Lane::Scan, LIST_OF_RUN, args).await?
            }
            (None, None) => self.fetch_page(Lane::Point, LIST, args![org, webhook, before, id, rows]).await?,
            (None, Some(DeliveryStatus::Delivered)) => {
                let args = args![org, webhook, before, id, rows, DeliveryStatus::Delivered];
                self.fetch_page(Lane::Scan, LIST_STATUS, args).await?
            }
            (None, Some(status)) => {
                self.fetch_page(Lane::Point, LIST_OPEN, args![org, webhook, before, id, rows, status]).await?
            }
        };
        Ok(page.finish(&scope, rows, position))
    }

    /// Deliveries that tell of one run of the tenant.
    ///
    /// # Errors
    /// `InvalidCursor`, and those of the database.
    pub async fn list_run_deliveries(&self, org: OrgId, run: RunId, page: &Page) -> Result<List<DeliveryRow>> {
        let scope = Scope::new("run_deliveries", org).with(&run.to_string());
        let (from, rows) = page.start(&scope)?;
        let args = args![
            org,
            run,
            from.created_at,
            DeliveryId::from_bits(from.id_bits),
            rows,
            None::<WebhookId>,
            None::<String>,
        ];
        let rows = self.fetch_page(Lane::Point, LIST_OF_RUN, args).await?;
        Ok(page.finish(&scope, rows, position))
    }

    /// Deliveries that are not settled, of all tenants; counted up to a hundred thousand.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_count_pending_deliveries(&self) -> Result<u64> {
        let counted = self.fetch_all::<(u64,)>(Lane::Scan, COUNT_PENDING, args![PENDING_COUNTED_MAX]).await?;
        Ok(counted.first().map_or(0, |(count,)| *count))
    }
}

fn position(row: &DeliveryRow) -> Position {
    Position { created_at: row.created_at, id_bits: row.id.bits() }
}
