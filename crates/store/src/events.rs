//! The one ordered log: headers and, apart from them, payloads.
//!
//! A run's stream is written through `runs` and `progress`, always together with the head in `runs.last_seq`; an
//! organization's stream through [`Tx::append_org_event`]. Nothing updates an event; a payload may be deleted, its header
//! and digest stay.

use livery_core::event::{Event, EventType};
use livery_core::id::{OrgId, RunId};
use livery_core::{Timestamp, canonical};
use serde::Serialize;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::event_rows::EventRow;
use crate::json::Json;
use crate::reader::Lane;
use crate::sql::{FromRow, Row, Rows, args, statements};
use crate::store::Store;
use crate::tx::Tx;

/// Most events of one read.
const EVENTS_READ_MAX: u32 = 1000;

statements! {
    READ = "select e.seq, e.type, e.actor, e.on_behalf_of, e.at, e.schema_version, e.digest, p.data
        from events e left join event_payloads p on p.stream = e.stream and p.seq = e.seq
        where e.stream = $1 and e.seq > $2 and e.org_id = $3 order by e.seq limit $4";
    SYSTEM_READ = "select e.seq, e.type, e.actor, e.on_behalf_of, e.at, e.schema_version, e.digest, p.data
        from events e left join event_payloads p on p.stream = e.stream and p.seq = e.seq
        where e.stream = $1 and e.seq > $2 order by e.seq limit $3";
    HEADERS = "select e.seq, e.type, e.actor, e.at, e.digest from events e
        where e.stream = $1 and e.seq > $2 and e.org_id = $3 order by e.seq limit $4";
    ADVANCE_ORG = "insert into org_streams (org_id, last_seq) values ($1, 1)
        on conflict (org_id) do update set last_seq = org_streams.last_seq + 1 returning last_seq";
    DELETE_PAYLOADS = "delete from event_payloads where stream = $1
        and exists (select 1 from runs where runs.id = $1 and runs.org_id = $2)";
}

/// An event to append to a run's stream.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// What happened.
    pub event_type: EventType,
    /// Who did it: `key_…`, `usr_…`, `worker`, `system`.
    pub actor: String,
    /// The end user it was done for.
    pub on_behalf_of: Option<String>,
    /// When.
    pub at: Timestamp,
    /// What is particular to the type; at most [`EVENT_PAYLOAD_BYTES_MAX`](livery_core::run::EVENT_PAYLOAD_BYTES_MAX) bytes.
    pub data: Json,
}

impl NewEvent {
    /// An event of nobody's end user. Its data is stored as canonical JSON, so that the digest means the value.
    ///
    /// # Errors
    /// When `data` cannot be JSON.
    pub fn new(event_type: EventType, actor: impl Into<String>, at: Timestamp, data: &impl Serialize) -> Result<Self> {
        let data = Json::from_text(canonical::text(data))?;
        Ok(Self { event_type, actor: actor.into(), on_behalf_of: None, at, data })
    }

    fn row(&self) -> EventRow<'_> {
        let Self { actor, on_behalf_of, at, data, .. } = self;
        EventRow { event_type: self.event_type.as_str(), actor, on_behalf_of, at: *at, data }
    }
}

/// An event of an organization's own stream.
#[derive(Debug, Clone, PartialEq)]
pub struct OrgEvent {
    /// What happened, a past-tense name such as `api_key.created`.
    pub event_type: String,
    /// Who did it.
    pub actor: String,
    /// The end user it was done for.
    pub on_behalf_of: Option<String>,
    /// When.
    pub at: Timestamp,
    /// What is particular to the type.
    pub data: Json,
}

/// An event as the log holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEvent {
    /// Position in its stream, from 1, without gaps.
    pub seq: u64,
    /// What happened.
    pub event_type: String,
    /// Who did it.
    pub actor: String,
    /// The end user it was done for.
    pub on_behalf_of: Option<String>,
    /// When.
    pub at: Timestamp,
    /// The shape of the payload.
    pub schema_version: u32,
    /// SHA-256 of the payload's bytes as stored, hex.
    pub digest: String,
    /// The payload; `None` once it was deleted.
    pub data: Option<Json>,
}

impl FromRow for StoredEvent {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self {
            seq: row.take()?,
            event_type: row.take()?,
            actor: row.take()?,
            on_behalf_of: row.take()?,
            at: row.take()?,
            schema_version: row.take()?,
            digest: row.take()?,
            data: row.take()?,
        })
    }

    fn weight(&self) -> usize {
        self.data.as_ref().map_or(0, |data| data.as_str().len())
    }
}

/// The header of an event, as far as a run's head covers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventHeader {
    /// Position in its stream, from 1, without gaps.
    pub seq: u64,
    /// What happened.
    pub event_type: String,
    /// Who did it.
    pub actor: String,
    /// When.
    pub at: Timestamp,
    /// SHA-256 of the payload's bytes as stored, hex.
    pub digest: String,
}

impl FromRow for EventHeader {
    fn from_row(row: &mut impl Row) -> Result<Self> {
        Ok(Self { seq: row.take()?, event_type: row.take()?, actor: row.take()?, at: row.take()?, digest: row.take()? })
    }
}

impl StoredEvent {
    /// The event as readers of a run see it; a deleted payload reads as null.
    ///
    /// # Errors
    /// `Corrupt` for a type this version does not know.
    pub fn into_event(self, run_id: RunId) -> Result<Event> {
        let event_type = self
            .event_type
            .parse()
            .map_err(|_| Error::Corrupt { what: "event type", detail: self.event_type.clone() })?;
        let deleted = self.data.is_none();
        let data = self.data.map_or(Ok(Value::Null), |data| data.parse())?;
        let (actor, digest) = (self.actor, self.digest);
        Ok(Event { seq: self.seq, run_id, event_type, at: self.at, actor, digest, data, deleted })
    }
}

impl Tx {
    /// Writes events `first_seq`, `first_seq + 1`, … of a run whose head was moved in the same operation.
    pub(crate) async fn insert_run_events(
        &mut self,
        org: OrgId,
        run: RunId,
        first_seq: u64,
        events: &[NewEvent],
    ) -> Result<()> {
        let rows: Vec<EventRow<'_>> = events.iter().map(NewEvent::row).collect();
        self.insert_events(org, &run.to_string(), first_seq, &rows).await?;
        self.rings.runs.push(run);
        Ok(())
    }

    /// Appends to the organization's own stream; the event's sequence.
    ///
    /// # Errors
    /// `NotFound` without that organization, `TooLarge` for the payload.
    pub async fn append_org_event(&mut self, org: OrgId, event: &OrgEvent) -> Result<u64> {
        let (seq,): (u64,) = self
            .fetch_optional(ADVANCE_ORG, args![org])
            .await?
            .ok_or_else(|| Error::bug("the head of an organization's stream was not returned"))?;
        let row = EventRow {
            event_type: &event.event_type,
            actor: &event.actor,
            on_behalf_of: &event.on_behalf_of,
            at: event.at,
            data: &event.data,
        };
        self.insert_events(org, &org.to_string(), seq, &[row]).await?;
        Ok(seq)
    }

    /// Deletes the payloads of a run's events; headers and digests stay. How many went.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn delete_run_payloads(&mut self, org: OrgId, run: RunId) -> Result<u64> {
        self.execute(DELETE_PAYLOADS, args![run, org]).await
    }
}

impl Store {
    /// Events of a run after `seq`, in order, at most `limit` (and a thousand, and 4 MiB of payloads). Empty at the end, and
    /// for another tenant's run.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn events_after(&self, org: OrgId, run: RunId, seq: u64, limit: u32) -> Result<Vec<Event>> {
        let stored = self.stored_events_after(org, run, seq, limit).await?;
        stored.into_iter().map(|event| event.into_event(run)).collect()
    }

    /// The same with the header's other fields and the payload unparsed.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn stored_events_after(&self, org: OrgId, run: RunId, seq: u64, limit: u32) -> Result<Vec<StoredEvent>> {
        self.events_page(org, run, seq, limit).await.map(|page| page.rows)
    }

    /// [`Store::events_after`], and whether these are all there were when it began.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn newest_events_after(
        &self,
        org: OrgId,
        run: RunId,
        seq: u64,
        limit: u32,
    ) -> Result<(Vec<Event>, bool)> {
        let page = self.events_page(org, run, seq, limit).await?;
        let all = !page.cut && page.rows.len() < limit.min(EVENTS_READ_MAX) as usize;
        let events = page.rows.into_iter().map(|event| event.into_event(run)).collect::<Result<_>>()?;
        Ok((events, all))
    }

    async fn events_page(&self, org: OrgId, run: RunId, seq: u64, limit: u32) -> Result<Rows<StoredEvent>> {
        let args = args![run.to_string(), seq, org, limit.min(EVENTS_READ_MAX)];
        self.fetch_page(Lane::Point, READ, args).await
    }

    /// Headers of a run's events after `seq`, in order, at most `limit` (and a thousand): without their payloads.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn event_headers_after(&self, org: OrgId, run: RunId, seq: u64, limit: u32) -> Result<Vec<EventHeader>> {
        let args = args![run.to_string(), seq, org, limit.min(EVENTS_READ_MAX)];
        self.fetch_all(Lane::Point, HEADERS, args).await
    }

    /// Events of the organization's own stream after `seq`, in order, at most `limit` (and a thousand, and 4 MiB of
    /// payloads).
    ///
    /// # Errors
    /// Those of the database.
    pub async fn org_events_after(&self, org: OrgId, seq: u64, limit: u32) -> Result<Vec<StoredEvent>> {
        let args = args![org.to_string(), seq, org, limit.min(EVENTS_READ_MAX)];
        self.fetch_page(Lane::Point, READ, args).await.map(|page| page.rows)
    }

    /// The next piece of a run's stream after `seq`, for a worker that takes the run over and folds it; empty at the end.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_events_after(&self, run: RunId, seq: u64) -> Result<Vec<StoredEvent>> {
        let args = args![run.to_string(), seq, EVENTS_READ_MAX];
        self.fetch_page(Lane::Scan, SYSTEM_READ, args).await.map(|page| page.rows)
    }

    /// A run's whole stream. A long one is better folded piece by piece, with [`Store::system_events_after`].
    ///
    /// # Errors
    /// Those of the database.
    pub async fn system_events_of(&self, run: RunId) -> Result<Vec<StoredEvent>> {
        let mut all: Vec<StoredEvent> = Vec::new();
        loop {
            let after = all.last().map_or(0, |event| event.seq);
            let page = self.system_events_after(run, after).await?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }
}
