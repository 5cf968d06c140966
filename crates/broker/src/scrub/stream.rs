//! [`Scrubber`]: a body in pieces in, the same body without the key out.

use std::sync::Arc;

use super::frame::{FrameFinder, Framing, payloads};
use super::lane::{Cover, Reader};
use super::marks::Marks;
use super::matcher::Matcher;
use super::variant::Variants;
use super::{FRAME_BYTES_MAX, HOLD_BACK_BYTES};
use crate::{Error, Result};

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

    /// What is searched for.
    pub(crate) fn matcher(&self) -> Option<&Matcher> {
        self.matcher.as_deref()
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

    /// Takes one whole message of several and appends it to `out`, with nothing held back for the next: what a reader waits for
    /// is a message. All are searched as one text, so a key that is cut in two by their border is found in the second.
    pub fn message(&mut self, message: &[u8], out: &mut Vec<u8>) {
        match &self.matcher {
            Some(matcher) => self.state.message(matcher, message, out),
            None => out.extend_from_slice(message),
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

    /// The spellings found so far.
    pub fn variants(&self) -> Variants {
        self.state.variants()
    }
}

/// A scrubber without its matcher.
pub(super) struct State {
    framing: Framing,
    frames: FrameFinder,
    reader: Reader,
    /// The joined payloads of events, read as a stream of their own.
    payload_reader: Option<Reader>,
    marks: Marks,
    /// Received and not delivered. Its first byte has the stream offset `delivered`.
    pending: Vec<u8>,
    delivered: u64,
    /// How much of `pending` has been read.
    searched: usize,
    /// Offset after the last redacted byte: a mark that goes on there needs no second marker.
    redacted_to: Option<u64>,
    redactions: u64,
}

impl State {
    pub(super) fn new(framing: Framing) -> Self {
        Self {
            framing,
            frames: FrameFinder::new(framing),
            reader: Reader::new(Cover::Stretch),
            payload_reader: (framing == Framing::Events).then(|| Reader::new(Cover::Bytes)),
            marks: Marks::default(),
            pending: Vec::new(),
            delivered: 0,
            searched: 0,
            redacted_to: None,
            redactions: 0,
        }
    }

    pub(super) fn redactions(&self) -> u64 {
        self.redactions
    }

    pub(super) fn variants(&self) -> Variants {
        self.marks.variants
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

    fn message(&mut self, matcher: &Matcher, message: &[u8], out: &mut Vec<u8>) {
        // Each message has a marker of its own.
        self.redacted_to = None;
        self.pending.extend_from_slice(message);
        self.finish(matcher, out);
    }

    pub(super) fn finish(&mut self, matcher: &Matcher, out: &mut Vec<u8>) {
        self.search(matcher);
        self.reader.finish(matcher, &mut self.marks);
        if let Some(reader) = &mut self.payload_reader {
            reader.finish(matcher, &mut self.marks);
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

    /// Reads what has not been read yet.
    fn search(&mut self, matcher: &Matcher) {
        let fresh = &self.pending[self.searched..];
        let offset = self.delivered + self.searched as u64;
        self.reader.feed(fresh, offset, matcher, &mut self.marks);
        if let Some(reader) = &mut self.payload_reader {
            for (payload, offset) in payloads(fresh, offset) {
                reader.feed(payload, offset, matcher, &mut self.marks);
            }
        }
        self.searched = self.pending.len();
    }

    /// Moves the first `count` pending bytes out, each marked range as one marker.
    fn deliver(&mut self, count: usize, matcher: &Matcher, out: &mut Vec<u8>) {
        let end = self.delivered + count as u64;
        let mut at = self.delivered;
        while at < end {
            let (mark_start, mark_end) = self.marks.next_after(at).unwrap_or((end, end));
            let plain_to = mark_start.clamp(at, end);
            let plain = distance(self.delivered, at)..distance(self.delivered, plain_to);
            out.extend_from_slice(&self.pending[plain]);
            let redact_to = mark_end.clamp(plain_to, end);
            if redact_to > plain_to {
                if self.redacted_to != Some(plain_to) {
                    out.extend_from_slice(matcher.marker());
                    self.redactions += 1;
                }
                self.redacted_to = Some(redact_to);
            }
            at = redact_to;
        }
        self.pending.drain(..count);
        self.delivered = end;
        self.searched -= count;
    }
}

/// Bytes between two offsets of one buffer.
fn distance(from: u64, to: u64) -> usize {
    usize::try_from(to - from).unwrap_or(usize::MAX)
}
