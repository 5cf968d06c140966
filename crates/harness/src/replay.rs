//! A finished run once more, from its log alone: every recorded input is decided again, and what is decided is compared with
//! what was written, byte for byte.
//!
//! No socket, no sandbox, no clock: this module gets a [`Setup`](crate::Setup) and events, and gives a [`Report`]. An input
//! is rebuilt from the first record of the decision it led to ([`input`]): an answer from `model.responded`, a result from
//! `tool.finished`, a failure from `model.retried`, and so on. Everything the loop then decides has to stand in the log,
//! in that order. A prompt is compared by its digest in `model.requested`. Events that are not the loop's
//! (`sandbox.started`, `artifact.created`, …) are counted and passed over.
//!
//! Older logs lack fields that later ones have; what they lack is not compared and named in [`Report::unchecked`].
//! Read next: [`difference`] for the place of a difference.

pub mod bundle;
pub mod difference;
mod input;
mod repair;

use std::collections::BTreeSet;

use livery_core::{EventType, canonical};
use serde::Serialize;
use serde_json::Value;

use self::difference::Difference;
use crate::record::Record;
use crate::setup::Loop;
use crate::state::State;

/// Fields that logs of an earlier version lack, by event.
const ADDED_LATER: &[(EventType, &str)] = &[
    (EventType::ModelRequested, "request_digest"),
    (EventType::ModelRetried, "failure"),
    (EventType::RunFailed, "cause"),
    (EventType::RunCancelled, "cause"),
    (EventType::RunTimedOut, "cause"),
];

/// One event of the log, as it is handed to [`replay`].
#[derive(Debug, Clone, PartialEq)]
pub struct Logged {
    /// Position in the run's stream.
    pub seq: u64,
    /// The event's name.
    pub event_type: String,
    /// SHA-256 that `data` has to have, hex; `None` when nobody wrote it down.
    pub digest: Option<String>,
    /// The payload; `None` once it was deleted.
    pub data: Option<String>,
}

/// How a replay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The same records, byte for byte.
    Identical,
    /// Something differs; [`Report::divergence`] says what.
    Diverged,
    /// Payloads were deleted, so nothing can be compared; [`Report::missing_seq`] is the first.
    Incomplete,
}

/// What a replay found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// How it ended.
    pub result: Verdict,
    /// Model turns that were asked for again.
    pub steps: u32,
    /// Inputs that were decided again.
    pub decisions: u32,
    /// Events of the log.
    pub events: u64,
    /// Events whose data was compared with what was decided.
    pub compared_events: u64,
    /// The first event without its payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_seq: Option<u64>,
    /// Fields an older log does not have: `model.requested/request_digest`.
    pub unchecked: BTreeSet<String>,
    /// The first difference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub divergence: Option<Divergence>,
}

/// Why two runs of one log are not the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DivergenceKind {
    /// The payload is not the one its header has the digest of: somebody changed it after it was written.
    PayloadAltered,
    /// The payload is no data of its event.
    PayloadUnreadable,
    /// The model would be asked something else: another prompt, other tools, another input, other results.
    PromptDiffers,
    /// The loop decides something else.
    DecisionDiffers,
}

/// The first difference between a log and its replay.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Divergence {
    /// Why.
    pub kind: DivergenceKind,
    /// The model turn it belongs to; 0 before the first.
    pub step: u32,
    /// The event.
    pub seq: u64,
    /// The event's name in the log.
    pub event_type: String,
    /// JSON pointer to the value that differs; the whole value when empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Offset of the first byte that differs, in the canonical JSON of the event's data. Absent when the event's own data
    /// gives no second copy to compare with: an answer or a result whose digest is not that of its bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub byte: Option<u64>,
    /// What the replay has there; a short piece around the byte.
    pub expected: String,
    /// What the log has there.
    pub found: String,
    /// In words.
    pub detail: String,
}

/// Runs a finished run again from its events, in order from sequence 1.
pub fn replay(rules: &Loop, events: &[Logged]) -> Report {
    let mut report = Report {
        result: Verdict::Identical,
        steps: 0,
        decisions: 0,
        events: events.len() as u64,
        compared_events: 0,
        missing_seq: events.iter().find(|event| event.data.is_none()).map(|event| event.seq),
        unchecked: BTreeSet::new(),
        divergence: None,
    };
    if report.missing_seq.is_some() {
        report.result = Verdict::Incomplete;
        return report;
    }
    let entries: Vec<Entry<'_>> = events.iter().filter_map(Entry::read).collect();
    let mut run = Run { rules, state: State::new(), report: &mut report };
    let divergence = run.decide_all(&entries).err();
    report.divergence = altered(events, divergence.as_deref()).or(divergence).map(|divergence| *divergence);
    if report.divergence.is_some() {
        report.result = Verdict::Diverged;
    }
    report
}

/// An event of the loop, as far as it can be read.
struct Entry<'e> {
    logged: &'e Logged,
    event_type: EventType,
    /// `None` when it is no JSON.
    data: Option<Value>,
    record: Result<Record, serde_json::Error>,
    /// Whether the payload is not the one that was written.
    changed: bool,
}

impl<'e> Entry<'e> {
    /// `None` for an event that is not the loop's, those of a newer version included.
    fn read(logged: &'e Logged) -> Option<Self> {
        let event_type: EventType = logged.event_type.parse().ok().filter(|event| Record::is_kept_as(*event))?;
        let (data, record) = match serde_json::from_str::<Value>(logged.data.as_deref().unwrap_or_default()) {
            Ok(data) => {
                let record = Record::from_event(event_type, &data).transpose()?;
                (Some(data), record)
            }
            Err(error) => (None, Err(error)),
        };
        let raw = logged.data.as_deref().unwrap_or_default();
        let changed = logged.digest.as_ref().is_some_and(|digest| canonical::sha256_hex(raw) != *digest);
        Some(Self { logged, event_type, data, record, changed })
    }

    /// The text to compare with: canonical, or as it lies there when it was changed after it was written, which was
    /// canonically.
    fn text(&self) -> String {
        match &self.data {
            Some(data) if !self.changed => canonical::text(data),
            _ => self.logged.data.clone().unwrap_or_default(),
        }
    }
}

struct Run<'r> {
    rules: &'r Loop,
    state: State,
    report: &'r mut Report,
}

impl Run<'_> {
    fn decide_all(&mut self, entries: &[Entry<'_>]) -> Result<(), Box<Divergence>> {
        // What a run has of another one was decided there.
        let mut at = entries.iter().rposition(|entry| entry.event_type == EventType::RunForked).unwrap_or(0);
        entries[..at].iter().for_each(|entry| self.take(entry));
        while let Some(first) = entries.get(at) {
            let input = match (&first.record, first.event_type) {
                (Ok(record), _) => input::of(&self.state, record, &mut self.report.unchecked),
                // What leads to a request is known without reading it.
                (Err(_), EventType::ModelRequested) => Some(input::before_request(&self.state)),
                (Err(error), _) => return Err(self.unreadable(first, error)),
            };
            let Some(input) = input else {
                // Taken as it stands: its log does not say what led to it.
                self.take(first);
                at += 1;
                continue;
            };
            let decision = self.rules.decide(&self.state, input);
            self.report.decisions += 1;
            if decision.records.is_empty() {
                return Err(self.unexpected(first));
            }
            for expected in &decision.records {
                let Some(entry) = entries.get(at) else {
                    return Err(self.ended_early(entries, expected));
                };
                self.compare(entry, expected)?;
                self.take(entry);
                at += 1;
            }
        }
        Ok(())
    }

    fn unreadable(&self, entry: &Entry<'_>, error: &serde_json::Error) -> Box<Divergence> {
        let byte = (error.line() == 1).then(|| error.column().saturating_sub(1));
        let logged = entry.logged;
        Box::new(Divergence {
            kind: DivergenceKind::PayloadUnreadable,
            step: self.state.step(),
            seq: logged.seq,
            event_type: logged.event_type.clone(),
            pointer: None,
            byte: byte.map(|byte| byte as u64),
            expected: format!("data of {}", logged.event_type),
            found: difference::excerpt(logged.data.as_deref().unwrap_or_default(), byte.unwrap_or(0)),
            detail: format!("the payload cannot be read: {error}"),
        })
    }

    fn take(&mut self, entry: &Entry<'_>) {
        if let Ok(record) = &entry.record {
            self.state.apply(record);
        }
        self.report.steps = self.state.step();
    }

    fn compare(&mut self, entry: &Entry<'_>, expected: &Record) -> Result<(), Box<Divergence>> {
        let event_type = expected.event_type();
        if event_type != entry.event_type {
            return Err(self.other_event(entry, expected));
        }
        let mut wanted = expected.data();
        for (_, field) in ADDED_LATER.iter().filter(|(of, _)| *of == event_type) {
            if !entry.changed
                && entry.data.as_ref().is_some_and(|data| data.get(field).is_none())
                && let Some(fields) = wanted.as_object_mut()
                && fields.remove(*field).is_some()
            {
                self.report.unchecked.insert(format!("{event_type}/{field}"));
            }
        }
        self.report.compared_events += 1;
        let Some(difference) = Difference::between(&wanted, entry.data.as_ref(), &entry.text()) else { return Ok(()) };
        let prompt =
            event_type == EventType::ModelRequested && difference.pointer.as_deref() == Some("/request_digest");
        let detail = if prompt {
            "the prompt differs: the same conversation, instructions, tools and limits do not come out again".to_owned()
        } else {
            format!("the loop decides another value for {}", name_of(difference.pointer.as_deref()))
        };
        Err(Box::new(Divergence {
            kind: if prompt { DivergenceKind::PromptDiffers } else { DivergenceKind::DecisionDiffers },
            step: self.step_with(expected),
            seq: entry.logged.seq,
            event_type: entry.logged.event_type.clone(),
            pointer: difference.pointer,
            byte: Some(difference.byte as u64),
            expected: difference.expected,
            found: difference.found,
            detail,
        }))
    }

    /// The turn a record belongs to.
    fn step_with(&self, record: &Record) -> u32 {
        let mut state = self.state.clone();
        state.apply(record);
        state.step()
    }

    fn other_event(&self, entry: &Entry<'_>, expected: &Record) -> Box<Divergence> {
        let wanted = expected.event_type();
        Box::new(Divergence {
            kind: DivergenceKind::DecisionDiffers,
            step: self.step_with(expected),
            seq: entry.logged.seq,
            event_type: entry.logged.event_type.clone(),
            pointer: Some(String::new()),
            byte: Some(0),
            expected: difference::excerpt(&format!("{wanted} {}", canonical::text(&expected.data())), 0),
            found: difference::excerpt(&format!("{} {}", entry.event_type, entry.text()), 0),
            detail: format!("the loop decides {wanted}, the log has {}", entry.logged.event_type),
        })
    }

    fn unexpected(&self, entry: &Entry<'_>) -> Box<Divergence> {
        Box::new(Divergence {
            kind: DivergenceKind::DecisionDiffers,
            step: self.state.step(),
            seq: entry.logged.seq,
            event_type: entry.logged.event_type.clone(),
            pointer: Some(String::new()),
            byte: Some(0),
            expected: "nothing".to_owned(),
            found: difference::excerpt(&format!("{} {}", entry.event_type, entry.text()), 0),
            detail: format!("nothing that can happen at this point leads to {}", entry.logged.event_type),
        })
    }

    fn ended_early(&self, entries: &[Entry<'_>], expected: &Record) -> Box<Divergence> {
        let last = entries.last().map_or(0, |entry| entry.logged.seq);
        Box::new(Divergence {
            kind: DivergenceKind::DecisionDiffers,
            step: self.step_with(expected),
            seq: last + 1,
            event_type: expected.event_type().as_str().to_owned(),
            pointer: Some(String::new()),
            byte: Some(0),
            expected: difference::excerpt(&canonical::text(&expected.data()), 0),
            found: "nothing".to_owned(),
            detail: format!("the loop decides {} and the log has no more", expected.event_type()),
        })
    }
}

/// The first event whose bytes are not those of its digest, unless a difference that was found stands before it, or is
/// about it and knows the byte.
fn altered(events: &[Logged], found: Option<&Divergence>) -> Option<Box<Divergence>> {
    let mut step = 0;
    for event in events {
        let (Some(data), Some(digest)) = (&event.data, &event.digest) else { continue };
        if found.is_some_and(|found| found.seq < event.seq) {
            return None;
        }
        let value = serde_json::from_str::<Value>(data).ok();
        let asked = value.as_ref().filter(|_| event.event_type == EventType::ModelRequested.as_str());
        step = asked.and_then(|data| u32::try_from(data["step"].as_u64()?).ok()).unwrap_or(step);
        let is = canonical::sha256_hex(data);
        if is == *digest {
            continue;
        }
        let written = repair::before_one_change(data, digest);
        // What is about this event and knows a byte stays, unless a better one is known.
        let changed = written.as_ref().map(|written| difference::first_byte(written, data) as u64);
        if let Some(byte) = found.filter(|found| found.seq == event.seq).and_then(|found| found.byte)
            && changed.is_none_or(|changed| changed == byte)
        {
            return None;
        }
        // White space, escapes and order tell on themselves: the log is written canonically.
        let plain = written.or_else(|| value.map(|value| canonical::text(&value))).filter(|plain| plain != data);
        let byte = plain.as_ref().map(|plain| difference::first_byte(plain, data));
        let at = byte.unwrap_or(0);
        return Some(Box::new(Divergence {
            kind: DivergenceKind::PayloadAltered,
            step,
            seq: event.seq,
            event_type: event.event_type.clone(),
            pointer: None,
            byte: byte.map(|byte| byte as u64),
            expected: plain.map_or_else(|| format!("sha256 {digest}"), |plain| difference::excerpt(&plain, at)),
            found: byte.map_or_else(|| format!("sha256 {is}"), |_| difference::excerpt(data, at)),
            detail: "the payload is not the one that was written: its SHA-256 is not that of the event's header"
                .to_owned(),
        }));
    }
    None
}

fn name_of(pointer: Option<&str>) -> &str {
    pointer.filter(|pointer| !pointer.is_empty()).unwrap_or("the event")
}
