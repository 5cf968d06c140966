//! The head of a run's log: one digest that no event can be added to, taken from, moved or changed without changing it.
//!
//! ```text
//! head[0] = SHA-256("livery-log-1" ‖ LF ‖ run id)
//! head[n] = SHA-256(head[n-1] ‖ canonical {"actor", "at", "digest", "seq", "type"} of event n)
//! ```
//!
//! `digest` is that of the event's data, so the head covers the data without holding it: it stays checkable after payloads
//! were deleted. [`LogStatement::marks`] are pieces of the heads between, by which a difference is located.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::canonical;
use crate::id::RunId;

/// Name and version of the scheme.
pub const SCHEME: &str = "livery-log-1";
/// Most marks of a receipt. A log with no more events than this has one for each.
pub const MARKS_MAX: u64 = 256;
/// Hex digits of a mark.
const MARK_DIGITS: usize = 16;
/// Largest file of exported events that is read.
pub const EVENTS_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Most findings that are told.
pub const FINDINGS_MAX: usize = 20;

/// A run's log, in a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogStatement {
    /// [`SCHEME`].
    pub scheme: String,
    /// How many events.
    pub events: u64,
    /// The head after the last of them, hex.
    pub head: String,
    /// The first digits of the head after every `mark_every`th event and after the last.
    pub marks: Vec<String>,
    /// From one mark to the next.
    pub mark_every: u64,
}

/// The header of an event, as the chain takes it in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header<'a> {
    /// Position, from 1.
    pub seq: u64,
    /// What happened.
    pub event_type: &'a str,
    /// Who did it.
    pub actor: &'a str,
    /// When, as it is shown: RFC 3339 with microseconds.
    pub at: &'a str,
    /// Digest of the data.
    pub digest: &'a str,
}

/// The chain in the making.
#[derive(Debug, Clone)]
pub struct Chain {
    head: [u8; 32],
    length: u64,
    every: u64,
    marks: Vec<String>,
}

impl Chain {
    /// Of a run's log of `events` events.
    pub fn new(run: RunId, events: u64) -> Self {
        let head = Sha256::digest(format!("{SCHEME}\n{run}")).into();
        Self { head, length: 0, every: events.div_ceil(MARKS_MAX).max(1), marks: Vec::new() }
    }

    /// Takes the next event in.
    pub fn push(&mut self, header: &Header<'_>) {
        let Header { seq, event_type, actor, at, digest } = *header;
        let header = json!({"actor": actor, "at": at, "digest": digest, "seq": seq, "type": event_type});
        let hash = Sha256::new().chain_update(self.head).chain_update(canonical::text(&header));
        self.head = hash.finalize().into();
        self.length += 1;
        if self.length.is_multiple_of(self.every) {
            self.marks.push(self.mark());
        }
    }

    fn mark(&self) -> String {
        canonical::hex(&self.head)[..MARK_DIGITS].to_owned()
    }

    /// The log as a receipt states it.
    pub fn finish(mut self) -> LogStatement {
        if !self.length.is_multiple_of(self.every) {
            self.marks.push(self.mark());
        }
        LogStatement {
            scheme: SCHEME.to_owned(),
            events: self.length,
            head: canonical::hex(&self.head),
            marks: self.marks,
            mark_every: self.every,
        }
    }
}

/// An event as `GET /v1/runs/{id}/events` and `livery runs events --json` give it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportedEvent {
    /// Position, from 1.
    pub seq: u64,
    /// The run.
    pub run_id: String,
    /// What happened.
    #[serde(rename = "type")]
    pub event_type: String,
    /// When.
    pub at: String,
    /// Who did it.
    pub actor: String,
    /// Digest of the data.
    pub digest: String,
    /// The data; null once it was deleted.
    pub data: Value,
}

/// What an export has of a log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct EventsChecked {
    /// Events in it.
    pub events: u64,
    /// Of them, with their data.
    pub with_data: u64,
    /// What does not fit, with the sequence it begins at; nothing when all does.
    pub findings: Vec<EventFinding>,
}

/// Something in an export that is not as the receipt says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventFinding {
    /// The event.
    pub seq: u64,
    /// What is wrong with it.
    pub detail: String,
}

/// Reads exported events: a page (`{"data": […]}`), a list, or one event a line.
///
/// # Errors
/// What cannot be read, in words.
pub fn parse_events(text: &str) -> Result<Vec<ExportedEvent>, String> {
    if text.len() > EVENTS_BYTES_MAX {
        return Err(format!("more than {EVENTS_BYTES_MAX} bytes of events"));
    }
    #[derive(Deserialize)]
    struct Page {
        data: Vec<ExportedEvent>,
    }
    let text = text.trim_ascii();
    if text.starts_with('[') {
        return serde_json::from_str(text).map_err(|error| error.to_string());
    }
    match serde_json::from_str::<Page>(text) {
        Ok(page) => Ok(page.data),
        Err(page_error) => {
            let lines = text.lines().filter(|line| !line.trim_ascii().is_empty()).enumerate();
            lines
                .map(|(index, line)| {
                    serde_json::from_str(line).map_err(|error| {
                        // One line that is no event was meant to be a page.
                        let cause = if text.lines().nth(1).is_none() { &page_error } else { &error };
                        format!("line {}: {cause}", index + 1)
                    })
                })
                .collect()
        }
    }
}

impl LogStatement {
    /// Holds exported events against the statement: every event that is missing, too many, moved or changed is named.
    pub fn check(&self, run: RunId, events: &[ExportedEvent]) -> EventsChecked {
        let mut checked = EventsChecked { events: events.len() as u64, ..EventsChecked::default() };
        let mut found = |seq: u64, detail: String| {
            if checked.findings.len() < FINDINGS_MAX {
                checked.findings.push(EventFinding { seq, detail });
            }
        };
        let own = run.to_string();
        let mut in_order = true;
        for (place, event) in (1_u64..).zip(events) {
            if event.run_id != own {
                found(event.seq, format!("belongs to {}, not to {own}", event.run_id));
            }
            // One that is missing or too many moves all that follow: only the first is named.
            if in_order && event.seq != place {
                in_order = false;
                found(place, order_of(place, event.seq, events));
            }
            if !event.data.is_null() && canonical::sha256_hex(canonical::text(&event.data)) != event.digest {
                found(event.seq, "its data is not what its digest is of".to_owned());
            }
        }
        let count = events.len() as u64;
        if in_order && count < self.events {
            found(count + 1, format!("is missing, with all that follow: the log has {} events", self.events));
        } else if in_order && count > self.events {
            found(self.events + 1, format!("is too many: the log has {} events", self.events));
        }
        if let Some((first, last)) = self.parted(run, events).filter(|_| in_order) {
            let which = if first == last { String::new() } else { format!(" (or one of those up to {last})") };
            found(
                first,
                format!("{which} its type, time, actor or digest is not the one in the log").trim().to_owned(),
            );
        }
        checked.with_data = events.iter().filter(|event| !event.data.is_null()).count() as u64;
        checked
    }

    /// Where the heads part: the first and the last event that may be the cause.
    fn parted(&self, run: RunId, events: &[ExportedEvent]) -> Option<(u64, u64)> {
        let every = self.mark_every.max(1);
        let mut chain = Chain::new(run, self.events);
        chain.every = every;
        for event in events.iter().take(usize::try_from(self.events).unwrap_or(usize::MAX)) {
            let ExportedEvent { seq, event_type, actor, at, digest, .. } = event;
            chain.push(&Header { seq: *seq, event_type, actor, at, digest });
        }
        let own = chain.finish();
        let differs = own.marks.iter().zip(&self.marks).position(|(own, signed)| own != signed);
        match differs {
            Some(index) => {
                let index = index as u64;
                Some((index * every + 1, ((index + 1) * every).min(self.events)))
            }
            None if own.events == self.events && own.head != self.head => Some((1, self.events)),
            None => None,
        }
    }
}

/// What is wrong at a place where another event stands.
fn order_of(place: u64, seq: u64, events: &[ExportedEvent]) -> String {
    let here = events.iter().filter(|event| event.seq == place).count();
    if seq < place {
        format!("event {seq} stands in its place, a second time or too late")
    } else if here == 0 {
        format!("is missing: event {seq} follows")
    } else {
        format!("stands in another place: event {seq} is here")
    }
}
