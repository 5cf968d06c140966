//! A lane: one way of reading the stream (as it is, percent-decoded, …) and the search along it.

use super::HOLD_BACK_BYTES;
use super::decode::{Decoder, Kind, Unit};
use super::image::RUN_MAX;
use super::marks::Marks;
use super::matcher::{Hit, Matcher};

/// Units kept from one block to the next: a run that ends in the next block starts in these.
const KEPT: usize = RUN_MAX - 1;
/// A run may stretch over at most this much of the stream. It is what makes the hold-back enough: 32 units of the longest
/// escape (16 backslashes, `u`, 4 digits) are 672 bytes, and a decoder holds at most 21 more.
const SPAN_MAX: u64 = 960;
const _: () = assert!(SPAN_MAX + 64 <= HOLD_BACK_BYTES as u64);

/// What a found run covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cover {
    /// From its first to its last byte, whatever lies between.
    Stretch,
    /// Its own bytes alone: what lies between keeps the framing whole.
    Bytes,
}

pub(super) struct Lane {
    decoders: Vec<Decoder>,
    cover: Cover,
    /// Decoded bytes still needed, and where each came from.
    text: Vec<u8>,
    units: Vec<Unit>,
    /// Whether `units` are what stood in the stream, without gaps.
    plain: bool,
    /// Room for a block on its way through the decoders.
    scratch: [Vec<Unit>; 2],
}

impl Lane {
    pub(super) fn new(kinds: &[Kind], cover: Cover) -> Self {
        Self {
            decoders: kinds.iter().copied().map(Decoder::new).collect(),
            cover,
            text: Vec::new(),
            units: Vec::new(),
            plain: true,
            scratch: [Vec::new(), Vec::new()],
        }
    }

    /// Reads a block and marks the runs that it completes.
    pub(super) fn feed(&mut self, block: &[Unit], matcher: &Matcher, marks: &mut Marks) {
        let known = self.units.len();
        if self.reads_plainly(block) {
            // What decodes to itself is found by the lane without decoders; here only the beginnings of runs are kept.
            let tail = &block[block.len().saturating_sub(KEPT)..];
            self.take(tail);
        } else {
            self.decode(0, block);
            self.search(known, matcher, marks);
        }
        self.trim();
    }

    /// Ends the stream: what was held as a possible escape is read as it is.
    pub(super) fn finish(&mut self, matcher: &Matcher, marks: &mut Marks) {
        let known = self.units.len();
        for index in 0..self.decoders.len() {
            let mut rest = Vec::new();
            self.decoders[index].finish(&mut rest);
            self.decode(index + 1, &rest);
        }
        self.search(known, matcher, marks);
    }

    /// Whether this block, and what a run could begin with, decodes to itself.
    fn reads_plainly(&self, block: &[Unit]) -> bool {
        let joins = match (self.units.last(), block.first()) {
            (Some(last), Some(first)) => last.end == first.start,
            _ => true,
        };
        self.decoders.iter().any(|decoder| decoder.kind() != Kind::Plain)
            && self.plain
            && joins
            && is_plain(block)
            && !self.decoders.iter().any(Decoder::is_holding)
            && !block.iter().any(|unit| self.decoders.iter().any(|decoder| decoder.kind().leads(unit.byte)))
    }

    /// Sends a block through the decoders from `first` on.
    fn decode(&mut self, first: usize, block: &[Unit]) {
        let [mut input, mut output] = std::mem::take(&mut self.scratch);
        input.clear();
        input.extend_from_slice(block);
        for decoder in self.decoders.iter_mut().skip(first) {
            output.clear();
            for unit in &input {
                decoder.feed(*unit, &mut output);
            }
            std::mem::swap(&mut input, &mut output);
        }
        self.take(&input);
        self.scratch = [input, output];
    }

    fn take(&mut self, units: &[Unit]) {
        self.units.extend_from_slice(units);
        self.text.extend(units.iter().map(|unit| unit.byte));
    }

    fn search(&self, known: usize, matcher: &Matcher, marks: &mut Marks) {
        matcher.find(&self.text, known, |hit| mark(&self.units, self.cover, &hit, marks));
    }

    fn trim(&mut self) {
        let surplus = self.units.len().saturating_sub(KEPT);
        self.units.drain(..surplus);
        self.text.drain(..surplus);
        self.plain = is_plain(&self.units);
    }
}

/// One byte each, one after the other.
fn is_plain(units: &[Unit]) -> bool {
    units.iter().all(|unit| unit.end - unit.start == 1) && units.windows(2).all(|pair| pair[0].end == pair[1].start)
}

/// Marks each window of the hit that lies close enough together.
fn mark(units: &[Unit], cover: Cover, hit: &Hit, marks: &mut Marks) {
    for window in units[hit.start..hit.end].windows(hit.run) {
        let (Some(first), Some(last)) = (window.first(), window.last()) else { continue };
        if last.end - first.start > SPAN_MAX {
            continue;
        }
        match cover {
            Cover::Stretch => marks.add(first.start, last.end),
            Cover::Bytes => window.iter().for_each(|unit| marks.add(unit.start, unit.end)),
        }
    }
}
