//! A run in one file, to be replayed where there is neither server nor network.
//!
//! JSON lines: the first has what the loop is built from, each further one an event with its payload as the text that was
//! stored. Nothing else of the installation is in it; keys never are, because no event has any. Whoever reads one believes
//! nothing: sizes, order and shapes are checked here, and what it claims is what [`super::replay()`] compares. A bundle says
//! nothing about who wrote it; receipts do.

use livery_core::RunStatus;
use livery_core::id::RunId;
use serde::{Deserialize, Serialize};

use super::Logged;
use crate::setup::Setup;

/// Version of the format.
pub const VERSION: u32 = 1;
/// Most events.
pub const EVENTS_MAX: usize = 50_000;
/// Most bytes of payloads, together.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Largest first line: an agent and an input.
const HEAD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// About what an event's line has besides its payload.
const EVENT_BYTES: usize = 256;
/// Largest bundle. In it a payload is a string, whose quotes take a byte more each.
pub const BUNDLE_BYTES_MAX: usize = 120 * 1024 * 1024;
/// Longest name of an event.
const TYPE_BYTES_MAX: usize = 64;
/// Digits of a digest.
const DIGEST_DIGITS: usize = 64;

/// A finished run, as far as a replay needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundle {
    /// The run.
    pub run: RunId,
    /// How it ended.
    pub status: RunStatus,
    /// What its loop is built from.
    pub setup: Setup,
    /// Its events, from sequence 1.
    pub events: Vec<Logged>,
}

/// Why a file is no bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {detail}")]
pub struct Refused {
    /// Counted from 1.
    pub line: usize,
    /// In words, without the file's own.
    pub detail: String,
}

/// The first line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    livery_bundle: u32,
    run: RunId,
    status: RunStatus,
    events: usize,
    setup: Setup,
}

/// The same, as far as every version has it.
#[derive(Deserialize)]
struct AnyHead {
    livery_bundle: u32,
}

/// Any other line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    seq: u64,
    #[serde(rename = "type")]
    event_type: String,
    digest: Option<String>,
    data: Option<String>,
}

impl Bundle {
    /// As a file. Whether it is one that [`Bundle::parse`] takes is for the caller to see: [`BUNDLE_BYTES_MAX`].
    pub fn text(self) -> String {
        let Self { run, status, setup, events } = self;
        let head = Head { livery_bundle: VERSION, run, status, events: events.len(), setup };
        let payloads: usize = events.iter().map(|event| event.data.as_ref().map_or(0, String::len)).sum();
        let mut text = String::with_capacity(payloads + payloads / 4 + events.len() * EVENT_BYTES);
        push(&mut text, &head);
        for Logged { seq, event_type, digest, data } in events {
            push(&mut text, &Line { seq, event_type, digest, data });
        }
        text
    }

    /// Reads a file that anybody may have written.
    ///
    /// # Errors
    /// The first thing about it that is not as it should be.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        let refuse = |line: usize, detail: String| Refused { line, detail };
        if text.len() > BUNDLE_BYTES_MAX {
            return Err(refuse(1, format!("a bundle has at most {BUNDLE_BYTES_MAX} bytes")));
        }
        let mut lines = text.lines();
        let head = head_of(lines.next().unwrap_or_default()).map_err(|detail| refuse(1, detail))?;
        let mut events = Vec::with_capacity(head.events);
        let mut room = PAYLOAD_BYTES_MAX;
        for (index, line) in lines.enumerate() {
            let number = index + 2;
            if index == head.events {
                return Err(refuse(
                    number,
                    format!("there are more than the {} events of its first line", head.events),
                ));
            }
            let event = event_of(line, index as u64 + 1).map_err(|detail| refuse(number, detail))?;
            let bytes = event.data.as_ref().map_or(0, String::len);
            room = room
                .checked_sub(bytes)
                .ok_or_else(|| refuse(number, format!("the payloads are larger than {PAYLOAD_BYTES_MAX} bytes")))?;
            events.push(event);
        }
        if events.len() < head.events {
            let detail = format!("it ends after {} of {} events: it was cut off", events.len(), head.events);
            return Err(refuse(events.len() + 1, detail));
        }
        Ok(Self { run: head.run, status: head.status, setup: head.setup, events })
    }
}

fn head_of(line: &str) -> Result<Head, String> {
    if line.len() > HEAD_BYTES_MAX {
        return Err(format!("the first line has at most {HEAD_BYTES_MAX} bytes"));
    }
    let any: AnyHead = serde_json::from_str(line).map_err(|_| "this is no bundle of a run".to_owned())?;
    if any.livery_bundle != VERSION {
        return Err(format!("the format is of version {}; this program reads version {VERSION}", any.livery_bundle));
    }
    let head: Head = serde_json::from_str(line).map_err(|error| place_of(&error))?;
    if head.events > EVENTS_MAX {
        return Err(format!("a bundle has at most {EVENTS_MAX} events"));
    }
    if !head.status.is_terminal() {
        return Err("the run is not over".to_owned());
    }
    Ok(head)
}

fn event_of(line: &str, seq: u64) -> Result<Logged, String> {
    let event: Line = serde_json::from_str(line).map_err(|error| place_of(&error))?;
    if event.seq != seq {
        return Err(format!("event {seq} stands here, not {}", event.seq));
    }
    let named = (1..=TYPE_BYTES_MAX).contains(&event.event_type.len())
        && event.event_type.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'.' | b'_'));
    if !named {
        return Err("the name of an event has 1 to 64 of a-z, . and _".to_owned());
    }
    let hex = |digest: &String| {
        digest.len() == DIGEST_DIGITS && digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    if event.digest.as_ref().is_some_and(|digest| !hex(digest)) {
        return Err("a digest has 64 digits of 0-9 and a-f".to_owned());
    }
    Ok(Logged { seq, event_type: event.event_type, digest: event.digest, data: event.data })
}

/// Where reading stopped, without what stands there.
fn place_of(error: &serde_json::Error) -> String {
    format!("this cannot be read: {:?} error at byte {}", error.classify(), error.column())
}

fn push(text: &mut String, line: &impl Serialize) {
    // Texts, numbers and maps with text keys: serialisation into memory cannot fail.
    text.push_str(&serde_json::to_string(line).unwrap_or_default());
    text.push('\n');
}
