//! [`Scrubber`]: a body in pieces in, the same body without the key out.

use std::sync::Arc;

use super::decode::{Kind, Unit};
use super::frame::{FrameFinder, Framing, payload, units};
use super::lane::{Cover, Lane};
use super::marks::Marks;
use super::matcher::Matcher;
use super::{FRAME_BYTES_MAX, HOLD_BACK_BYTES};
use crate::{Error, Result};

/// Bytes taken through the lanes at once: bounds what the lanes hold beside the body itself.
const BLOCK: usize = 4096;

/// The ways in which the stream is read.
const LANES: &[&[Kind]] =
    &[&[Kind::Plain], &[Kind::Percent], &[Kind::Json], &[Kind::Html], &[Kind::Json, Kind::Unwrap]];

/// Scrubs one body. Without a matcher it passes everything through.
pub struct Scrubber {
    matcher: Option<Arc<Matcher>>,
    state: State,
}

impl Scrubber {
    /// For one body, framed as its content type says.
    pub fn new(matcher: Option<Arc<Matcher>>, framing: Framing) -> Self {
        Self { matcher, state: State::new(framing) }
    }

    /// Whether anything is searched for.
    pub fn is_active(&self) -> bool {
        self.matcher.is_some()
    }

    /// Takes a piece and appends to `out` what may be delivered now.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when one frame is larger than [`FRAME_BYTES_MAX`].
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<()> {
        match &self.matcher {
            Some(matcher) => self.state.push(matcher, piece, out),
            None => {
                out.extend_from_slice(piece);
                Ok(())
            }
        }
    }

    /// Ends the body: appends everything that was still held back.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if let Some(matcher) = &self.matcher {
            self.state.finish(matcher, out);
        }
    }

    /// Markers written so far.
    pub fn redactions(&self) -> u64 {
        self.state.redactions
    }
}

/// A scrubber without its matcher.
pub(super) struct State {
    framing: Framing,
    frames: FrameFinder,
    lanes: Vec<Lane>,
    /// The same lanes along the joined payloads of events.
    payload_lanes: Vec<Lane>,
    marks: Marks,
    /// Received and not delivered. Its first byte has the stream offset `delivered`.
    pending: Vec<u8>,
    delivered: u64,
    /// How much of `pending` the lanes have read.
    searched: usize,
    /// Offset after the last redacted byte: a mark that goes on there needs no second marker.
    redacted_to: Option<u64>,
    redactions: u64,
    block: Vec<Unit>,
}

impl State {
    pub(super) fn new(framing: Framing) -> Self {
        let lanes = |cover| LANES.iter().map(|kinds| Lane::new(kinds, cover)).collect();
        Self {
            framing,
            frames: FrameFinder::new(framing),
            lanes: lanes(Cover::Stretch),
            payload_lanes: if framing == Framing::Events { lanes(Cover::Bytes) } else { Vec::new() },
            marks: Marks::default(),
            pending: Vec::new(),
            delivered: 0,
            searched: 0,
            redacted_to: None,
            redactions: 0,
            block: Vec::new(),
        }
    }

    pub(super) fn redactions(&self) -> u64 {
        self.redactions
    }

    pub(super) fn push(&mut self, matcher: &Matcher, mut piece: &[u8], out: &mut Vec<u8>) -> Result<()> {
        while let Some(end) = self.frames.next_end(piece) {
            let (head, rest) = piece.split_at(end);
            piece = rest;
            self.hold(head)?;
            self.search(matcher);
            self.deliver(self.pending.len(), matcher, out);
        }
        self.hold(piece)?;
        if self.framing == Framing::None {
            self.search(matcher);
            self.deliver(self.pending.len().saturating_sub(HOLD_BACK_BYTES), matcher, out);
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, matcher: &Matcher, out: &mut Vec<u8>) {
        self.search(matcher);
        for lane in self.lanes.iter_mut().chain(&mut self.payload_lanes) {
            lane.finish(matcher, &mut self.marks);
        }
        self.deliver(self.pending.len(), matcher, out);
    }

    fn hold(&mut self, piece: &[u8]) -> Result<()> {
        if self.framing != Framing::None && self.pending.len() + piece.len() > FRAME_BYTES_MAX {
            return Err(Error::TooLarge { what: "one event of the upstream's answer" });
        }
        self.pending.extend_from_slice(piece);
        Ok(())
    }

    /// Takes what the lanes have not read through them, block by block.
    fn search(&mut self, matcher: &Matcher) {
        let fresh = &self.pending[self.searched..];
        let offset = self.delivered + self.searched as u64;
        feed(&mut self.lanes, units(fresh, offset), &mut self.block, matcher, &mut self.marks);
        if !self.payload_lanes.is_empty() {
            feed(&mut self.payload_lanes, payload(fresh, offset), &mut self.block, matcher, &mut self.marks);
        }
        self.searched = self.pending.len();
    }

    /// Moves the first `count` pending bytes out, each marked range as one marker.
    fn deliver(&mut self, count: usize, matcher: &Matcher, out: &mut Vec<u8>) {
        let end = self.delivered + count as u64;
        let mut bytes = self.pending.drain(..count);
        let mut at = self.delivered;
        while at < end {
            let (mark_start, mark_end) = self.marks.next_after(at).unwrap_or((end, end));
            let plain_to = mark_start.clamp(at, end);
            out.extend(bytes.by_ref().take(distance(at, plain_to)));
            let redact_to = mark_end.min(end);
            if redact_to > plain_to {
                if self.redacted_to != Some(plain_to) {
                    out.extend_from_slice(matcher.marker());
                    self.redactions += 1;
                }
                bytes.by_ref().take(distance(plain_to, redact_to)).for_each(drop);
                self.redacted_to = Some(redact_to);
            }
            at = redact_to.max(plain_to);
        }
        drop(bytes);
        self.delivered = end;
        self.searched -= count;
    }
}

fn feed(
    lanes: &mut [Lane],
    units: impl Iterator<Item = Unit>,
    block: &mut Vec<Unit>,
    matcher: &Matcher,
    marks: &mut Marks,
) {
    let mut units = units.peekable();
    while units.peek().is_some() {
        block.clear();
        block.extend(units.by_ref().take(BLOCK));
        for lane in &mut *lanes {
            lane.feed(block, matcher, marks);
        }
    }
}

/// Bytes between two offsets of one buffer.
fn distance(from: u64, to: u64) -> usize {
    usize::try_from(to - from).unwrap_or(usize::MAX)
}
