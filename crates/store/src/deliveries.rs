//! The webhook outbox: rows written with the event they tell of, claimed by whoever delivers, kept as the record.
//!
//! At least once: a delivery whose claimant dies is claimed again when its lease ends. An attempt's result is fenced by the
//! attempt's number, so a slow claimant cannot overwrite a later one.

use std::fmt;
use std::str::FromStr;

use livery_core::Timestamp;
use livery_core::id::{AppId, DeliveryId, OrgId, RunId, WebhookEventId, WebhookId};

use crate::error::{Error, Result};
use crate::page::{List, Page, Position, Scope};
use crate::queue::lives_of;
use crate::reader::Lane;
use crate::sql::{Arg, Cell, Column, FromRow, Row, args, statements};
use crate::store::Store;
use crate::tx::Tx;

/// Deliveries one claim takes at most.
const CLAIM_MAX: u32 = 256;
/// Longest kept description of what went wrong; longer ones are cut.
const ERROR_BYTES_MAX: usize = 500;
/// Pending deliveries counted at most: beyond it the number is "at least".
const PENDING_COUNTED_MAX: u32 = 100_000;

/// The columns of [`DeliveryRow`], in its order.
macro_rules! delivery_columns {
    () => {
        "d.id, d.org_id, d.webhook_id, d.run_id, d.seq, d.event_id, d.event_type, d.url, d.attempt, d.status, \
         d.next_attempt_at, d.last_status, d.last_error, d.created_at, d.delivered_at"
    };
}

statements! {
    INSERT = "insert into deliveries (id, org_id, webhook_id, run_id, seq, event_id, event_type, url, sealed_secret,
        body, attempt, status, next_attempt_at, created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, 'pending', $11, $11)";
    CLAIM = "update deliveries set attempt = attempt + 1, lease_owner = $1, lease_until = $2
        where id in (select x.id from deliveries x where x.status = 'pending' and x.next_attempt_at <= $3
            and (x.lease_until is null or x.lease_until <= $3) order by x.next_attempt_at, x.id limit $4)
        and status = 'pending' and (lease_until is null or lease_until <= $3) returning id"
        => postgres "with due as materialized (select x.id from deliveries x where x.status = 'pending'
            and x.next_attempt_at <= $3 and (x.lease_until is null or x.lease_until <= $3)
            order by x.next_attempt_at, x.id limit $4 for update skip locked)
        update deliveries set attempt = attempt + 1, lease_owner = $1, lease_until = $2
        where id in (select id from due) returning id";
    /// The endpoint's own address and secret as they are now; a delivery for one run alone brings its own.
    CLAIMED = concat!("select ", delivery_columns!(), ", d.body, coalesce(w.url, d.url), coalesce(w.sealed_secret,
            d.sealed_secret), r.application_id
        from deliveries d left join webhooks w on w.org_id = d.org_id and w.id = d.webhook_id
        left join runs r on r.id = d.run_id where d.id = $1");
    DELIVERED = "update deliveries set status = 'delivered', delivered_at = $4, last_status = $5, last_error = null,
        lease_owner = null, lease_until = null
        where org_id = $1 and id = $2 and attempt = $3 and status = 'pending'";
    RETRY = "update deliveries set next_attempt_at = $4, last_status = $5, last_error = $6, lease_owner = null,
        lease_until = null where org_id = $1 and id = $2 and attempt = $3 and status = 'pending'";
    FAILED = "update deliveries set status = 'failed', last_status = $4, last_error = $5, lease_owner = null,
        lease_until = null where org_id = $1 and id = $2 and attempt = $3 and status = 'pending'";
    GET = concat!("select ", delivery_columns!(), " from deliveries d where d.org_id = $1 and d.id = $2");
    LIST = concat!("select ", delivery_columns!(), " from deliveries d
        where d.org_id = $1 and d.webhook_id = $2 and (d.created_at, d.id) < ($3, $4)
        order by d.created_at desc, d.id desc limit $5");
    LIST_OF_RUN = concat!("select ", delivery_columns!(), " from deliveries d
        where d.org_id = $1 and d.run_id = $2 and (d.created_at, d.id) < ($3, $4)
        order by d.created_at desc, d.id desc limit $5");
    REDELIVER = "insert into deliveries (id, org_id, webhook_id, run_id, seq, event_id, event_type, url, sealed_secret,
        body, attempt, status, next_attempt_at, created_at)
        select $3, d.org_id, d.webhook_id, d.run_id, d.seq, d.event_id, d.event_type, d.url, d.sealed_secret, d.body,
        0, 'pending', $4, $4 from deliveries d where d.org_id = $1 and d.id = $2";
    NEXT_DUE = "select min(next_attempt_at) from deliveries where status = 'pending'";
    COUNT_PENDING = "select count(*) from (select 1 from deliveries where status = 'pending' limit $1) pending";
    EXPIRE_OWN = "update deliveries set lease_owner = null, lease_until = null
        where status = 'pending' and lease_owner like $1";
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryStatus {
    /// To be tried at `next_attempt_at`, or being tried.
    Pending,
    /// The endpoint took it.
    Delivered,
    /// Given up.
    Failed,
}

impl DeliveryStatus {
    /// The name in the API and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for DeliveryStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DeliveryStatus {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "pending" => Ok(Self::Pending),
            "delivered" => Ok(Self::Delivered),
            "failed" => Ok(Self::Failed),
            other => Err(Error::Corrupt { what: "delivery status", detail: other.into() }),
        }
    }
}

impl Column for DeliveryStatus {
    fn read(cell: Cell<'_>) -> Result<Self> {
        String::read(cell)?.parse()
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
    /// The sealed signing secret, when there is no endpoint row to take it from.
    pub sealed_secret: Option<String>,
    /// The body, exactly as it is signed.
    pub body: String,
    /// When it was made, and from when it may be tried.
    pub created_at: Timestamp,
}

/// A delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// Attempts begun.
    pub attempt: u32,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// When it is tried next, while pending.
    pub next_attempt_at: Timestamp,
    /// The last answer's HTTP status.
    pub last_status: Option<u16>,
    /// What went wrong last.
    pub last_error: Option<String>,
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
            attempt: row.take()?,
            status: row.take()?,
            next_attempt_at: row.take()?,
            last_status: row.take()?,
            last_error: row.take()?,
            created_at: row.take()?,
            delivered_at: row.take()?,
        })
    }
}

/// A delivery this caller is to attempt now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedDelivery {
    /// The row, attempt counted.
    pub row: DeliveryRow,
    /// The body to sign and send.
    pub body: String,
    /// Where to send it.
    pub url: String,
    /// The sealed signing secret; `None` when the endpoint is gone.
    pub sealed_secret: Option<String>,
    /// The application of the run.
    pub application: Option<AppId>,
}

impl FromRow for ClaimedDelivery {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self {
            row: DeliveryRow::from_row(row)?,
            body: row.take()?,
            url: row.take()?,
            sealed_secret: row.take()?,
            application: row.take()?,
        })
    }
}

/// How one attempt went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryAttempt {
    /// Taken, at this time, with this HTTP status.
    Delivered(Timestamp, u16),
    /// Not taken; try again at this time.
    Retry(Timestamp, Option<u16>, String),
    /// Not taken, and not tried again.
    Failed(Option<u16>, String),
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
            delivery.created_at,
        ];
        self.execute_ahead(INSERT, args).await?;
        self.rings.deliveries = true;
        Ok(())
    }

    /// Takes up to `max` due deliveries (and at most 256) until `lease_until`, oldest first.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_claim_deliveries(
        &mut self,
        owner: &str,
        now: Timestamp,
        lease_until: Timestamp,
        max: u32,
    ) -> Result<Vec<ClaimedDelivery>> {
        let args = args![owner.to_owned(), lease_until, now, max.min(CLAIM_MAX)];
        let ids: Vec<(DeliveryId,)> = self.fetch_all(CLAIM, args).await?;
        let mut claimed: Vec<ClaimedDelivery> = Vec::with_capacity(ids.len());
        for (id,) in ids {
            claimed.extend(self.fetch_optional::<ClaimedDelivery>(CLAIMED, args![id]).await?);
        }
        claimed.sort_unstable_by_key(|delivery| (delivery.row.next_attempt_at, delivery.row.id));
        Ok(claimed)
    }

    /// Writes down how attempt number `attempt` went. `false` when a later attempt or somebody else settled it first.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn settle_delivery(
        &mut self,
        org: OrgId,
        delivery: DeliveryId,
        attempt: u32,
        result: &DeliveryAttempt,
    ) -> Result<bool> {
        let mut args = args![org, delivery, attempt];
        let statement = match result {
            DeliveryAttempt::Delivered(at, status) => {
                args.extend(args![*at, *status]);
                DELIVERED
            }
            DeliveryAttempt::Retry(at, status, error) => {
                args.extend([Arg::from(*at), Arg::from(*status), Arg::from(cut(error))]);
                self.rings.deliveries = true;
                RETRY
            }
            DeliveryAttempt::Failed(status, error) => {
                args.extend(args![*status, cut(error)]);
                FAILED
            }
        };
        Ok(self.execute(statement, args).await? == 1)
    }

    /// Makes a new delivery of the same event, due now, under the same event id.
    ///
    /// # Errors
    /// `NotFound` without that delivery in this tenant.
    pub async fn redeliver(&mut self, org: OrgId, old: DeliveryId, new: DeliveryId, now: Timestamp) -> Result<()> {
        match self.execute(REDELIVER, args![org, old, new, now]).await? {
            0 => Err(Error::NotFound { what: "delivery" }),
            _ => {
                self.rings.deliveries = true;
                Ok(())
            }
        }
    }

    /// Voids the claims that earlier lives of this node held; `owner` is `NODE/LIFE`. How many.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_expire_own_delivery_claims(&mut self, owner: &str) -> Result<u64> {
        self.rings.deliveries = true;
        self.execute(EXPIRE_OWN, args![lives_of(owner)]).await
    }
}

fn cut(text: &str) -> String {
    text.chars()
        .scan(0, |bytes, letter| {
            *bytes += letter.len_utf8();
            (*bytes <= ERROR_BYTES_MAX).then_some(letter)
        })
        .collect()
}

impl Store {
    /// One delivery of the tenant.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn get_delivery(&self, org: OrgId, delivery: DeliveryId) -> Result<Option<DeliveryRow>> {
        self.fetch_optional(GET, args![org, delivery]).await
    }

    /// Deliveries to one endpoint of the tenant.
    ///
    /// # Errors
    /// `InvalidCursor`, and those of the database.
    pub async fn list_deliveries(&self, org: OrgId, webhook: WebhookId, page: &Page) -> Result<List<DeliveryRow>> {
        let scope = Scope::new("deliveries", org).with(&webhook.to_string());
        let (from, rows) = page.start(&scope)?;
        let args = args![org, webhook, from.created_at, DeliveryId::from_bits(from.id_bits), rows];
        let rows = self.fetch_page(Lane::Point, LIST, args).await?;
        Ok(page.finish(&scope, rows, position))
    }

    /// Deliveries that tell of one run of the tenant.
    ///
    /// # Errors
    /// `InvalidCursor`, and those of the database.
    pub async fn list_run_deliveries(&self, org: OrgId, run: RunId, page: &Page) -> Result<List<DeliveryRow>> {
        let scope = Scope::new("run_deliveries", org).with(&run.to_string());
        let (from, rows) = page.start(&scope)?;
        let args = args![org, run, from.created_at, DeliveryId::from_bits(from.id_bits), rows];
        let rows = self.fetch_page(Lane::Point, LIST_OF_RUN, args).await?;
        Ok(page.finish(&scope, rows, position))
    }

    /// When the earliest pending delivery may be tried: how long the deliverer may sleep.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_next_delivery_at(&self) -> Result<Option<Timestamp>> {
        let next: Option<(Option<Timestamp>,)> = self.fetch_optional(NEXT_DUE, args![]).await?;
        Ok(next.and_then(|(at,)| at))
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
