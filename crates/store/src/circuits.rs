//! The circuit of a destination: how long it has failed, and when it may be asked again. A row exists only while the last
//! attempt failed, so a healthy destination costs nothing; all nodes share it.
//!
//! Each change is one statement, so that nodes that fail at the same moment all count.

use livery_core::Timestamp;
use livery_core::id::OrgId;

use crate::error::{Error, Result};
use crate::sql::{FromRow, Row, args, statements};
use crate::store::Store;
use crate::tx::Tx;

/// The columns of [`CircuitRow`], in its order.
macro_rules! circuit_columns {
    () => {
        "failures, failing_since, opened_at, next_probe_at, paused_until"
    };
}

statements! {
    GET = concat!("select ", circuit_columns!(), " from webhook_circuits where org_id = $1 and destination = $2");
    FAIL = concat!("insert into webhook_circuits
            (org_id, destination, failures, failing_since, probe_wait_ms, paused_until) values ($1, $2, 1, $3, $4, $5)
        on conflict (org_id, destination) do update set failures = webhook_circuits.failures + 1,
            opened_at = case when webhook_circuits.opened_at is null and webhook_circuits.failures + 1 >= $6
                then excluded.failing_since else webhook_circuits.opened_at end,
            next_probe_at = case when webhook_circuits.opened_at is null and webhook_circuits.failures + 1 >= $6
                then $7 else webhook_circuits.next_probe_at end,
            paused_until = coalesce(excluded.paused_until, webhook_circuits.paused_until)
        returning ", circuit_columns!());
    FAIL_PROBE = concat!("update webhook_circuits set failures = failures + 1,
            next_probe_at = $3 + 1000 * (case when probe_wait_ms * 2 > $4 then $4 else probe_wait_ms * 2 end),
            probe_wait_ms = case when probe_wait_ms * 2 > $4 then $4 else probe_wait_ms * 2 end,
            paused_until = coalesce($5, paused_until)
        where org_id = $1 and destination = $2 and opened_at is not null returning ", circuit_columns!());
    TAKE_PROBE = "update webhook_circuits set next_probe_at = $4
        where org_id = $1 and destination = $2 and opened_at is not null and next_probe_at <= $3";
    CLOSE = "delete from webhook_circuits where org_id = $1 and destination = $2
        returning case when opened_at is null then 0 else 1 end";
}

/// A destination whose last attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CircuitRow {
    /// Failures since the last success.
    pub failures: u32,
    /// When the first of these was.
    pub failing_since: Timestamp,
    /// Since when only probes are sent; `None`: closed.
    pub opened_at: Option<Timestamp>,
    /// When the next probe may be sent, or the one under way counts as lost.
    pub next_probe_at: Option<Timestamp>,
    /// The receiver asked for time: nothing is sent before.
    pub paused_until: Option<Timestamp>,
}

impl FromRow for CircuitRow {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self {
            failures: row.take()?,
            failing_since: row.take()?,
            opened_at: row.take()?,
            next_probe_at: row.take()?,
            paused_until: row.take()?,
        })
    }
}

/// A failed attempt, as the circuit counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CircuitFailure {
    /// When.
    pub at: Timestamp,
    /// Whether it was the probe of an open circuit.
    pub probe: bool,
    /// Until when the receiver asked to be left alone.
    pub pause_until: Option<Timestamp>,
    /// Failures that open the circuit.
    pub threshold: u32,
    /// The wait before the first probe, in milliseconds; each failed one doubles it.
    pub probe_wait_ms: u32,
    /// The longest, in milliseconds.
    pub probe_wait_max_ms: u32,
}

impl Tx {
    /// Counts a failed attempt at a destination, and opens its circuit or puts its next probe off. What it says then.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn fail_circuit(&mut self, org: OrgId, destination: &str, failure: CircuitFailure) -> Result<CircuitRow> {
        let CircuitFailure { at, probe, pause_until, threshold, probe_wait_ms, probe_wait_max_ms } = failure;
        if probe {
            let args = args![org, destination.to_owned(), at, probe_wait_max_ms, pause_until];
            if let Some(row) = self.fetch_optional(FAIL_PROBE, args).await? {
                return Ok(row);
            }
        }
        let first_probe_at = at.plus_millis(i64::from(probe_wait_ms));
        let args = args![org, destination.to_owned(), at, probe_wait_ms, pause_until, threshold, first_probe_at];
        self.fetch_optional(FAIL, args).await?.ok_or_else(|| Error::bug("a circuit was not returned"))
    }

    /// Forgets a destination's failures. Whether its circuit had been open.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn close_circuit(&mut self, org: OrgId, destination: &str) -> Result<bool> {
        let opened: Option<(bool,)> = self.fetch_optional(CLOSE, args![org, destination.to_owned()]).await?;
        Ok(opened.is_some_and(|(open,)| open))
    }

    pub(crate) async fn circuit(&mut self, org: OrgId, destination: &str) -> Result<Option<CircuitRow>> {
        self.fetch_optional(GET, args![org, destination.to_owned()]).await
    }

    /// Takes the right to probe until `until`; one caller gets it.
    pub(crate) async fn take_probe(
        &mut self,
        org: OrgId,
        destination: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool> {
        Ok(self.execute(TAKE_PROBE, args![org, destination.to_owned(), now, until]).await? == 1)
    }
}

impl Store {
    /// The circuit of a destination; `None`: its last attempt succeeded.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn get_circuit(&self, org: OrgId, destination: &str) -> Result<Option<CircuitRow>> {
        self.fetch_optional(GET, args![org, destination.to_owned()]).await
    }
}
