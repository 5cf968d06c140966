//! Who sends which delivery when: claims, attempts' results, order.
//!
//! `next_attempt_at` is the one clock of a pending delivery: when it is due, and while somebody holds it, when the claim
//! runs out. So what is due is one walk of an index, a claimant that died is replaced without anybody's help, and a change
//! of the value between looking and claiming tells a node that another was faster.
//!
//! Deliveries of one run to one endpoint go out in the order of its log. A later one that is found due behind an earlier one
//! is put off; the earlier one's end calls it back, and where transactions overlap calls once more when it is committed: what
//! was inserted or put off meanwhile by somebody who could not see the end yet. At least once: an attempt's result is fenced by the attempt's number, so a
//! slow claimant cannot overwrite a later one.

use livery_core::Timestamp;
use livery_core::id::{DeliveryId, OrgId, RunId, WebhookId};

use crate::circuits::CircuitRow;
use crate::deliveries::{DeliveryRow, delivery_columns};
use crate::error::Result;
use crate::json::Json;
use crate::queue::lives_of;
use crate::reader::Lane;
use crate::sql::{Arg, FromRow, Row, args, statements};
use crate::store::Store;
use crate::tx::Tx;
use crate::webhooks::WebhookRow;

/// Destinations with pending deliveries that one look sees; the rest wait until some of these have none.
const DESTINATIONS_MAX: u32 = 50_000;
/// Due deliveries of a destination that one claim looks at, beyond those it wants.
const LOOK_AHEAD: u32 = 64;
/// Deliveries of a destination that one claim takes at most.
const CLAIM_MAX: u32 = 64;
/// How long a delivery behind another is put off when nobody calls it back: who should have, died.
const BEHIND_MS: i64 = 60 * 1000;
/// Deliveries that a closing circuit makes due at once.
const CATCH_UP_MAX: u32 = 256;
/// Longest kept description of what went wrong; longer ones are cut.
const ERROR_BYTES_MAX: usize = 500;

statements! {
    /// Hops from destination to destination, so that a long queue of one costs nothing.
    DESTINATIONS = "with recursive place (org_id, destination, due_at) as (
            select org_id, destination, next_attempt_at from (select d.org_id, d.destination, d.next_attempt_at
                from deliveries d where d.status = 'pending'
                order by d.org_id, d.destination, d.next_attempt_at, d.id limit 1) beginning
            union all
            select d.org_id, d.destination, d.next_attempt_at from place join deliveries d on d.id = (
                select x.id from deliveries x
                where x.status = 'pending' and (x.org_id, x.destination) > (place.org_id, place.destination)
                order by x.org_id, x.destination, x.next_attempt_at, x.id limit 1)
        )
        select place.org_id, place.destination, place.due_at,
            coalesce(c.failures, 0), coalesce(c.failing_since, 0), c.opened_at, c.next_probe_at, c.paused_until
        from place left join webhook_circuits c
            on c.org_id = place.org_id and c.destination = place.destination limit $1";
    /// What is due, and whether something earlier of the same run to the same endpoint is still pending.
    LOOK = "select x.id, x.next_attempt_at,
            case when x.redelivery_of is null and exists (select 1 from deliveries e
                where e.run_id = x.run_id and e.org_id = x.org_id and e.webhook_id = x.webhook_id
                and e.status = 'pending' and e.redelivery_of is null and e.seq < x.seq) then 1 else 0 end
        from deliveries x where x.org_id = $1 and x.destination = $2 and x.status = 'pending'
        and x.next_attempt_at <= $3 order by x.next_attempt_at, x.id limit $4";
    PUT_OFF = "update deliveries set next_attempt_at = $4
        where id = $2 and (org_id = $1 and next_attempt_at = $3 and status = 'pending') is true";
    CLAIM = "update deliveries set attempt = attempt + 1, lease_owner = $4, lease_until = $5, next_attempt_at = $5
        where id = $2 and (org_id = $1 and next_attempt_at = $3 and status = 'pending') is true";
    CLAIMED = concat!("select ", delivery_columns!(), ", d.sealed_secret, d.body
        from deliveries d where d.org_id = $1 and d.id = $2");
    DELIVERED = "update deliveries set status = 'delivered', delivered_at = $5, last_status = $6, last_error = null,
        attempt_log = $4, lease_owner = null, lease_until = null
        where id = $2 and (org_id = $1 and attempt = $3 and status = 'pending') is true returning webhook_id, run_id";
    RETRY = "update deliveries set next_attempt_at = $5, last_status = $6, last_error = $7, probes = probes + $8,
        attempt_log = $4, lease_owner = null, lease_until = null
        where id = $2 and (org_id = $1 and attempt = $3 and status = 'pending') is true returning webhook_id, run_id";
    ENDED = "update deliveries set status = $5, last_status = $6, last_error = $7, attempt_log = $4,
        lease_owner = null, lease_until = null
        where id = $2 and (org_id = $1 and attempt = $3 and status = 'pending') is true returning webhook_id, run_id";
    CALL_NEXT = "update deliveries set next_attempt_at = $4 where org_id = $1 and id = (
            select x.id from deliveries x where x.run_id = $3 and x.org_id = $1 and x.webhook_id = $2
            and x.status = 'pending' and x.redelivery_of is null order by x.seq limit 1)
        and status = 'pending' and attempt = 0";
    CATCH_UP = "update deliveries set next_attempt_at = $3 where org_id = $1 and id in (
            select x.id from deliveries x where x.org_id = $1 and x.destination = $2 and x.status = 'pending'
            and x.next_attempt_at > $3 and x.lease_until is null and x.attempt > 0
            order by x.next_attempt_at, x.id limit $4)
        and status = 'pending' and lease_until is null";
    CANCEL = "update deliveries set status = 'cancelled', last_error = $3, lease_owner = null, lease_until = null
        where org_id = $1 and destination = $2 and status = 'pending'";
    EXPIRE_OWN = "update deliveries set lease_owner = null, lease_until = null, next_attempt_at = created_at
        where status = 'pending' and lease_owner like $1";
}

/// A destination with pending deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The tenant.
    pub org: OrgId,
    /// An endpoint's id, or the origin of an address.
    pub destination: String,
    /// When its earliest delivery is due.
    pub due_at: Timestamp,
    /// Its circuit; a destination without failures has an empty one.
    pub circuit: CircuitRow,
}

impl FromRow for Destination {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self {
            org: row.take()?,
            destination: row.take()?,
            due_at: row.take()?,
            circuit: CircuitRow::from_row(row)?,
        })
    }
}

/// What one claim asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryClaim {
    /// The tenant.
    pub org: OrgId,
    /// Where to.
    pub destination: String,
    /// Most deliveries; of an open circuit, one.
    pub max: u32,
}

/// A delivery this caller is to attempt now.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimedDelivery {
    /// The row, attempt counted.
    pub row: DeliveryRow,
    /// The sealed secret it brought, when it is of no endpoint.
    pub sealed_secret: Option<String>,
    /// The body to sign and send.
    pub body: String,
    /// Its endpoint as it is now; `None`: it has none, or the endpoint is gone.
    pub webhook: Option<WebhookRow>,
    /// Whether the destination's circuit is open and this is its probe.
    pub probe: bool,
}

/// A claimed delivery as its row has it.
struct Claimed(DeliveryRow, Option<String>, String);

impl FromRow for Claimed {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self(DeliveryRow::from_row(row)?, row.take()?, row.take()?))
    }
}

/// How one attempt went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryAttempt {
    /// Taken, at this time, with this HTTP status.
    Delivered(Timestamp, u16),
    /// Not taken; try again at `at`. A probe of an open circuit uses up none of the schedule.
    Retry {
        /// When.
        at: Timestamp,
        /// The answer, if there was one.
        status: Option<u16>,
        /// What went wrong.
        error: String,
        /// Whether it was a probe.
        probe: bool,
    },
    /// Not taken, and not tried again.
    Failed(Option<u16>, String),
    /// Not sent at all: what it is for is gone or switched off.
    Cancelled(String),
}

impl Tx {
    /// Takes up to `claim.max` due deliveries of one destination, oldest first and in each run's order, until `until`.
    /// What waits behind another is put off.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_claim_deliveries(
        &mut self,
        owner: &str,
        claim: &DeliveryClaim,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<ClaimedDelivery>> {
        let (org, destination) = (claim.org, claim.destination.as_str());
        let circuit = self.circuit(org, destination).await?;
        if circuit.and_then(|circuit| circuit.paused_until).is_some_and(|paused| paused > now) {
            return Ok(Vec::new());
        }
        let probe = circuit.is_some_and(|circuit| circuit.opened_at.is_some());
        if probe && !self.take_probe(org, destination, now, until).await? {
            return Ok(Vec::new());
        }
        let max = if probe { 1 } else { claim.max.min(CLAIM_MAX) };
        let args = args![org, destination.to_owned(), now, max + LOOK_AHEAD];
        let due: Vec<(DeliveryId, Timestamp, bool)> = self.fetch_all(LOOK, args).await?;
        let mut claimed: Vec<ClaimedDelivery> = Vec::new();
        for (id, seen, behind) in due {
            if behind {
                self.execute(PUT_OFF, args![org, id, seen, now.plus_millis(BEHIND_MS)]).await?;
            } else if claimed.len() < max as usize
                && self.execute(CLAIM, args![org, id, seen, owner.to_owned(), until]).await? == 1
            {
                claimed.extend(self.claimed(org, id, probe, &claimed).await?);
            }
        }
        Ok(claimed)
    }

    async fn claimed(
        &mut self,
        org: OrgId,
        id: DeliveryId,
        probe: bool,
        others: &[ClaimedDelivery],
    ) -> Result<Option<ClaimedDelivery>> {
        let Some(Claimed(row, sealed_secret, body)) = self.fetch_optional(CLAIMED, args![org, id]).await? else {
            return Ok(None);
        };
        let webhook = match row.webhook {
            None => None,
            Some(webhook) => match others.iter().find(|other| other.row.webhook == Some(webhook)) {
                Some(other) => other.webhook.clone(),
                None => self.webhook(org, webhook).await?,
            },
        };
        Ok(Some(ClaimedDelivery { row, sealed_secret, body, webhook, probe }))
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
        log: Json,
        now: Timestamp,
        result: &DeliveryAttempt,
    ) -> Result<bool> {
        let mut args = args![org, delivery, attempt, Some(log)];
        let (statement, rest): (_, Vec<Arg>) = match result {
            DeliveryAttempt::Delivered(at, status) => (DELIVERED, args![*at, *status]),
            DeliveryAttempt::Retry { at, status, error, probe } => (RETRY, args![*at, *status, cut(error), *probe]),
            DeliveryAttempt::Failed(status, error) => (ENDED, args!["failed", *status, cut(error)]),
            DeliveryAttempt::Cancelled(reason) => (ENDED, args!["cancelled", None::<u16>, cut(reason)]),
        };
        args.extend(rest);
        let settled: Option<(Option<WebhookId>, RunId)> = self.fetch_optional(statement, args).await?;
        let Some((webhook, run)) = settled else { return Ok(false) };
        if let (Some(webhook), false) = (webhook, matches!(result, DeliveryAttempt::Retry { .. })) {
            self.call_next_delivery(org, webhook, run, now).await?;
        }
        self.rings.deliveries = true;
        Ok(true)
    }

    /// Makes the earliest pending delivery of a run to an endpoint due, if it was not tried yet.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn call_next_delivery(
        &mut self,
        org: OrgId,
        webhook: WebhookId,
        run: RunId,
        now: Timestamp,
    ) -> Result<bool> {
        let called = self.execute(CALL_NEXT, args![org, webhook, run, now]).await? > 0;
        self.rings.deliveries |= called;
        Ok(called)
    }

    /// Makes due what failed at a destination that takes deliveries again.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn catch_up_deliveries(&mut self, org: OrgId, destination: &str, now: Timestamp) -> Result<u64> {
        self.rings.deliveries = true;
        self.execute(CATCH_UP, args![org, destination.to_owned(), now, CATCH_UP_MAX]).await
    }

    /// Cancels everything pending for a destination and forgets its failures. How many were cancelled.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn cancel_deliveries(&mut self, org: OrgId, destination: &str, reason: &str) -> Result<u64> {
        self.close_circuit(org, destination).await?;
        self.execute(CANCEL, args![org, destination.to_owned(), cut(reason)]).await
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
    /// Every destination with pending deliveries (up to 50,000), with the time its next one is due: claimed ones count at
    /// their claim's end.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_delivery_destinations(&self) -> Result<Vec<Destination>> {
        self.fetch_all(Lane::Scan, DESTINATIONS, args![DESTINATIONS_MAX]).await
    }
}
