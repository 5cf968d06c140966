//! Where a stream may be released: after an event, after a line, or only at its end.

use super::decode::Unit;

/// How a body is cut into frames that a reader waits for anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Not at all.
    None,
    /// Server-sent events: a blank line ends one.
    Events,
    /// JSON lines: a line feed ends one.
    Lines,
}

impl Framing {
    /// By the answer's `Content-Type`.
    pub fn of(content_type: Option<&str>) -> Self {
        let essence =
            content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "text/event-stream" => Self::Events,
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => {
                Self::Lines
            }
            _ => Self::None,
        }
    }
}

/// Finds the ends of frames in bytes that come in pieces.
pub(super) struct FrameFinder {
    framing: Framing,
    at_line_start: bool,
    /// The byte before was a CR; whether that CR ended a frame.
    after_cr: Option<bool>,
}

impl FrameFinder {
    pub(super) fn new(framing: Framing) -> Self {
        Self { framing, at_line_start: true, after_cr: None }
    }

    /// The length of the part of `bytes` up to and with the end of a frame, if one ends in it.
    pub(super) fn next_end(&mut self, bytes: &[u8]) -> Option<usize> {
        match self.framing {
            Framing::None => None,
            Framing::Lines => bytes.iter().position(|b| *b == b'\n').map(|at| at + 1),
            Framing::Events => {
                let end = bytes.iter().position(|byte| self.ends_event(*byte)).map(|at| at + 1)?;
                // The LF of a CRLF belongs to the same line end; when it comes later it is released by itself.
                if self.after_cr == Some(true) && bytes.get(end) == Some(&b'\n') {
                    self.after_cr = None;
                    return Some(end + 1);
                }
                Some(end)
            }
        }
    }

    fn ends_event(&mut self, byte: u8) -> bool {
        let after_cr = self.after_cr.take();
        match (byte, after_cr) {
            (b'\n', Some(ended_frame)) => ended_frame,
            (b'\r' | b'\n', _) => {
                let blank = self.at_line_start;
                self.at_line_start = true;
                self.after_cr = (byte == b'\r').then_some(blank);
                blank
            }
            _ => {
                self.at_line_start = false;
                false
            }
        }
    }
}

/// The joined payloads of an event's `data:` lines, as units of the stream.
pub(super) fn payload(event: &[u8], offset: u64) -> impl Iterator<Item = Unit> + '_ {
    let mut position = offset;
    event.split_inclusive(|b| matches!(b, b'\r' | b'\n')).flat_map(move |line| {
        let start = position;
        position += line.len() as u64;
        let line = line.strip_suffix(b"\n").or_else(|| line.strip_suffix(b"\r")).unwrap_or(line);
        let payload =
            line.strip_prefix(b"data:").map(|rest| rest.strip_prefix(b" ").unwrap_or(rest)).unwrap_or_default();
        units(payload, start + (line.len() - payload.len()) as u64)
    })
}

/// Bytes as units of the stream.
pub(super) fn units(bytes: &[u8], offset: u64) -> impl Iterator<Item = Unit> + '_ {
    (offset..).zip(bytes).map(|(start, byte)| Unit { byte: *byte, start, end: start + 1 })
}
