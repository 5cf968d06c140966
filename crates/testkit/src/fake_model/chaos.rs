//! The ways a provider is known to break, as data.
//!
//! Owns what is sent instead of, or out of, a good answer. Refused: chance. What fails is counted, never drawn.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde_json::json;

use super::wire::Wire;
use crate::listener::Step;

/// A fault and how often it strikes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chaos {
    /// What goes wrong.
    pub fault: Fault,
    /// How many requests it strikes before things are as they should be; `u64::MAX` is for ever.
    pub requests: u64,
    /// Counted over what.
    pub per: Per,
}

impl Chaos {
    /// Strikes the first `requests` requests the server gets.
    pub const fn first(requests: u64, fault: Fault) -> Self {
        Self { fault, requests, per: Per::Server }
    }

    /// Strikes each request `requests` times before its repetition is answered: for many conversations at once.
    pub const fn each(requests: u64, fault: Fault) -> Self {
        Self { fault, requests, per: Per::Body }
    }

    /// Strikes each `nth` request, from the `nth` on, for ever.
    pub const fn every(nth: u64, fault: Fault) -> Self {
        Self { fault, requests: nth, per: Per::Every }
    }

    /// Strikes always.
    pub const fn always(fault: Fault) -> Self {
        Self { fault, requests: u64::MAX, per: Per::Server }
    }
}

/// What a fault's requests are counted over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    /// All requests.
    Server,
    /// Requests with the same body.
    Body,
    /// All requests, of which each `requests`th is struck.
    Every,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// An error status in the format's own words.
    Status {
        /// 429, 500, 503, 529, ….
        status: u16,
        /// How it says when to come back.
        delay: Delay,
    },
    /// 429 that does not pass.
    Quota,
    /// 400: the window is full.
    Overflow,
    /// An error event after this many events.
    ErrorEvent {
        /// Events before it.
        after: usize,
    },
    /// The body ends cleanly after this many events.
    Truncate {
        /// Events before it.
        after: usize,
    },
    /// The connection is reset after this many events.
    Reset {
        /// Events before it; 0 still sends the headers.
        after: usize,
    },
    /// Nothing comes any more after this many events.
    Stall {
        /// Events before it.
        after: usize,
    },
    /// The headers come this late.
    SlowHeaders {
        /// Milliseconds; `u64::MAX` is never.
        ms: u64,
    },
    /// The stream begins a second time after this many events.
    DuplicateStart {
        /// Events before it.
        after: usize,
    },
    /// The body comes in pieces of this many bytes.
    Pieces {
        /// Bytes to a piece, at least 1.
        bytes: usize,
    },
    /// The body comes in two pieces, cut at the byte whose number is the count of requests so far: repeated, every byte.
    CutAtEveryByte,
    /// One event of this many bytes comes first.
    HugeEvent {
        /// Bytes.
        bytes: usize,
    },
    /// The stream is right, its content type is not.
    WrongContentType,
    /// 200 with a page.
    Html,
    /// 200 with a body of another format.
    OtherJson,
    /// 200 and nothing.
    Empty,
    /// Comments between the events, as routers send them.
    Comments,
    /// The body is compressed although nobody asked for it.
    Gzip,
}

/// How an error says when to come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delay {
    /// It does not.
    None,
    /// `retry-after`, as it stands here: seconds, or rubbish.
    Header(String),
    /// `retry-after` as a date this many seconds from now, in the past when negative.
    Date(i64),
    /// `retry-after-ms`.
    Milliseconds(u64),
    /// In the message: "try again in …".
    Text(String),
    /// `x-should-retry: false`.
    Never,
}

/// An answer that is no stream of events.
pub(super) struct Failure {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
}

impl Fault {
    /// The whole answer, for faults that leave nothing of a good one.
    pub(super) fn failure(&self, wire: Wire) -> Option<Failure> {
        let json = ("content-type", "application/json".to_owned());
        Some(match self {
            Self::Status { status, delay } => {
                let text = match delay {
                    Delay::Text(when) => format!("Slow down. Please try again in {when}."),
                    _ => format!("a fault was asked for: {status}"),
                };
                let headers = std::iter::once(json).chain(delay.header()).collect();
                Failure { status: *status, headers, body: wire.error(*status, &text) }
            }
            Self::Quota => Failure { status: 429, headers: vec![json], body: wire.quota() },
            Self::Overflow => Failure { status: 400, headers: vec![json], body: wire.overflow() },
            Self::Html => {
                let page =
                    "<!doctype html><html><head><title>Sign in</title></head><body>Please sign in.</body></html>";
                Failure {
                    status: 200,
                    headers: vec![("content-type", "text/html; charset=utf-8".to_owned())],
                    body: page.into(),
                }
            }
            Self::OtherJson => {
                Failure { status: 200, headers: vec![json], body: json!({"hello": "world"}).to_string().into() }
            }
            Self::Empty => Failure {
                status: 200,
                headers: vec![("content-type", "text/event-stream".to_owned())],
                body: Bytes::new(),
            },
            _ => return None,
        })
    }

    /// A good answer's frames, broken. `number` is the count of requests so far.
    pub(super) fn steps(&self, wire: Wire, frames: Vec<Bytes>, number: u64) -> Vec<Step> {
        let cut = |after: usize| -> Vec<Step> { frames.iter().take(after).cloned().map(Step::Send).collect() };
        let send = |frames: &[Bytes]| -> Vec<Step> { frames.iter().cloned().map(Step::Send).collect() };
        let flushed = |mut steps: Vec<Step>, last: Step| {
            // What was written must arrive before the fault does.
            steps.push(Step::Pause(Duration::from_millis(1)));
            steps.push(last);
            steps
        };
        match self {
            Self::ErrorEvent { after } => [cut(*after), vec![Step::Send(wire.error_event())]].concat(),
            Self::Truncate { after } => cut(*after),
            Self::Reset { after } => flushed(cut(*after), Step::Reset),
            Self::Stall { after } => flushed(cut(*after), Step::Hang),
            Self::DuplicateStart { after } => [cut(*after), send(&frames)].concat(),
            Self::Pieces { bytes } => {
                let body = frames.concat();
                let piece = |piece: &[u8]| [Step::Send(Bytes::copy_from_slice(piece)), Step::Pause(Duration::ZERO)];
                body.chunks((*bytes).max(1)).flat_map(piece).collect()
            }
            Self::CutAtEveryByte => {
                let body = Bytes::from(frames.concat());
                let at = usize::try_from(number).unwrap_or(0) % body.len().max(1);
                flushed(vec![Step::Send(body.slice(..at))], Step::Send(body.slice(at..)))
            }
            Self::HugeEvent { bytes } => [vec![Step::Send(wire.huge_event(*bytes))], send(&frames)].concat(),
            Self::Comments => {
                let comment = || Step::Send(Bytes::from_static(b": PROCESSING\n\n"));
                frames.iter().flat_map(|frame| [comment(), Step::Send(frame.clone())]).collect()
            }
            Self::Gzip => vec![Step::Send(gzip(&frames.concat()))],
            _ => send(&frames),
        }
    }
}

impl Delay {
    fn header(&self) -> Option<(&'static str, String)> {
        match self {
            Self::None | Self::Text(_) => None,
            Self::Header(value) => Some(("retry-after", value.clone())),
            Self::Date(seconds) => Some(("retry-after", http_date(*seconds))),
            Self::Milliseconds(ms) => Some(("retry-after-ms", ms.to_string())),
            Self::Never => Some(("x-should-retry", "false".to_owned())),
        }
    }
}

/// A gzip file (RFC 1952) of one block of literals in the fixed code (RFC 1951, §3.2.6): no smaller than before, but nothing
/// that a reader of text can read.
fn gzip(body: &[u8]) -> Bytes {
    let mut bits = Bits { out: vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255], held: 0, count: 0 };
    // The last block, in the fixed code; both fields begin at the low end.
    bits.push(0b011, 3);
    for byte in body {
        match u32::from(*byte) {
            literal @ 0..=143 => bits.push_code(0b0011_0000 + literal, 8),
            literal => bits.push_code(0b1_1001_0000 + literal - 144, 9),
        }
    }
    // The end of the block, and what is missing of the last byte.
    bits.push_code(0, 7);
    bits.push(0, 7);
    let mut out = bits.out;
    out.extend(crc32(body).to_le_bytes());
    // Modulo 2^32, as the format has it.
    out.extend(u32::try_from(body.len() & 0xFFFF_FFFF).unwrap_or(0).to_le_bytes());
    out.into()
}

/// Bits on their way into bytes, from the low end.
struct Bits {
    out: Vec<u8>,
    held: u32,
    count: u32,
}

impl Bits {
    fn push(&mut self, bits: u32, count: u32) {
        self.held |= bits << self.count;
        self.count += count;
        while self.count >= 8 {
            self.out.extend_from_slice(&self.held.to_le_bytes()[..1]);
            self.held >>= 8;
            self.count -= 8;
        }
    }

    /// A Huffman code goes in from its high end.
    fn push_code(&mut self, code: u32, count: u32) {
        self.push(code.reverse_bits() >> (32 - count), count);
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// This many seconds from now in the form of RFC 9110, §5.6.7.
fn http_date(seconds_from_now: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let then = i64::try_from(now).unwrap_or(0).saturating_add(seconds_from_now).max(0);
    let shown = livery_core::Timestamp::from_micros(then.saturating_mul(1_000_000)).to_string();
    // `2026-10-01T12:00:00…`, and the first of January 1970 was a Thursday.
    let day = DAYS[usize::try_from(then / 86_400 % 7).unwrap_or(0)];
    let month = shown.get(5..7).and_then(|month| month.parse::<usize>().ok()).unwrap_or(1);
    let part = |range: std::ops::Range<usize>| shown.get(range).unwrap_or_default();
    format!("{day}, {} {} {} {} GMT", part(8..10), MONTHS[(month - 1) % 12], part(0..4), part(11..19))
}

#[cfg(test)]
mod tests {
    //! The two formats written by hand here.

    use super::{crc32, gzip, http_date};

    #[test]
    fn the_check_value_and_a_whole_file() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        // As zlib writes "hi\xff" at its highest level.
        let file = gzip(b"hi\xff");
        assert_eq!(&file[10..], [0xCB, 0xC8, 0xFC, 0x0F, 0x00, 0xE9, 0x7C, 0xB8, 0x20, 0x03, 0x00, 0x00, 0x00]);
    }

    #[test]
    fn a_date_of_the_right_shape() {
        let date = http_date(0);
        assert_eq!((date.len(), &date[3..5], &date[25..]), (29, ", ", " GMT"), "{date}");
    }
}
