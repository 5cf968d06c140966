//! How events get into their two tables: several rows in one statement, so that a step of a run costs a server two
//! statements and not two for each event.

use livery_core::id::OrgId;
use livery_core::run::EVENT_PAYLOAD_BYTES_MAX;
use livery_core::{Timestamp, canonical};

use crate::error::{Error, Result};
use crate::json::Json;
use crate::sql::{Arg, Statement, args, statements};
use crate::tx::Tx;

/// The shape of payloads this version writes.
const SCHEMA_VERSION: u32 = 1;
/// Events of one statement.
const ROWS_MAX: usize = 4;

/// Stream, tenant and shape are those of all rows; six values are a row's own.
macro_rules! headers {
    ($($more:literal),*) => {
        concat!("insert into events (stream, seq, org_id, type, actor, on_behalf_of, at, schema_version, digest)
        values ($1, $4, $2, $5, $6, $7, $8, $3, $9)", $($more),*)
    };
}

macro_rules! payloads {
    ($($more:literal),*) => {
        concat!("insert into event_payloads (stream, seq, data) values ($1, $2, $3)", $($more),*)
    };
}

statements! {
    HEADERS_1 = headers!();
    HEADERS_2 = headers!(", ($1, $10, $2, $11, $12, $13, $14, $3, $15)");
    HEADERS_3 = headers!(", ($1, $10, $2, $11, $12, $13, $14, $3, $15)", ", ($1, $16, $2, $17, $18, $19, $20, $3, $21)");
    HEADERS_4 = headers!(", ($1, $10, $2, $11, $12, $13, $14, $3, $15)", ", ($1, $16, $2, $17, $18, $19, $20, $3, $21)",
        ", ($1, $22, $2, $23, $24, $25, $26, $3, $27)");
    PAYLOADS_1 = payloads!();
    PAYLOADS_2 = payloads!(", ($1, $4, $5)");
    PAYLOADS_3 = payloads!(", ($1, $4, $5)", ", ($1, $6, $7)");
    PAYLOADS_4 = payloads!(", ($1, $4, $5)", ", ($1, $6, $7)", ", ($1, $8, $9)");
}

/// The statements for one to [`ROWS_MAX`] rows.
const BY_ROWS: [(Statement, Statement); ROWS_MAX] =
    [(HEADERS_1, PAYLOADS_1), (HEADERS_2, PAYLOADS_2), (HEADERS_3, PAYLOADS_3), (HEADERS_4, PAYLOADS_4)];

/// An event of either kind of stream.
pub(crate) struct EventRow<'a> {
    pub(crate) event_type: &'a str,
    pub(crate) actor: &'a str,
    pub(crate) on_behalf_of: &'a Option<String>,
    pub(crate) at: Timestamp,
    pub(crate) data: &'a Json,
}

/// The digest an event carries for this payload: SHA-256 over its bytes, hex.
pub(crate) fn digest(data: &Json) -> String {
    canonical::sha256_hex(data.as_str())
}

impl Tx {
    /// Writes events `first_seq`, `first_seq + 1`, … of a stream whose head was moved in the same operation.
    pub(crate) async fn insert_events(
        &mut self,
        org: OrgId,
        stream: &str,
        first_seq: u64,
        events: &[EventRow<'_>],
    ) -> Result<()> {
        if events.iter().any(|event| event.data.as_str().len() > EVENT_PAYLOAD_BYTES_MAX) {
            return Err(Error::TooLarge { what: "event payload", limit_bytes: EVENT_PAYLOAD_BYTES_MAX as u64 });
        }
        let mut seq = first_seq;
        for rows in events.chunks(ROWS_MAX) {
            let Some((headers, payloads)) = BY_ROWS.get(rows.len() - 1) else {
                return Err(Error::bug("more events than a statement has rows"));
            };
            self.execute_ahead(*headers, header_args(org, stream, seq, rows)).await?;
            self.execute_ahead(*payloads, payload_args(stream, seq, rows)).await?;
            seq += rows.len() as u64;
        }
        Ok(())
    }
}

fn header_args(org: OrgId, stream: &str, first_seq: u64, rows: &[EventRow<'_>]) -> Vec<Arg> {
    let mut all = args![stream.to_owned(), org, SCHEMA_VERSION];
    for (seq, row) in (first_seq..).zip(rows) {
        let (event_type, actor) = (row.event_type.to_owned(), row.actor.to_owned());
        all.extend(args![seq, event_type, actor, row.on_behalf_of, row.at, digest(row.data)]);
    }
    all
}

fn payload_args(stream: &str, first_seq: u64, rows: &[EventRow<'_>]) -> Vec<Arg> {
    let mut all = args![stream.to_owned()];
    for (seq, row) in (first_seq..).zip(rows) {
        all.extend(args![seq, row.data]);
    }
    all
}
