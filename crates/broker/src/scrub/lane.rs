//! Readings of a stream: as it stands, and through decoders. [`Reader`] searches the bytes as they stand; its lanes wake only
//! around escapes, because a text without escapes decodes to itself and is found already.

use super::HOLD_BACK_BYTES;
use super::decode::{Decoder, Kind, Unit};
use super::image::RUN_MAX;
use super::marks::Marks;
use super::matcher::{Hit, Matcher};
use super::variant::Variant;

/// Bytes kept from one block to the next: a run that ends in the next block starts in these.
const KEPT: usize = RUN_MAX - 1;
/// Bytes read at once: bounds what the readings hold beside the body itself.
const BLOCK: usize = 16 * 1024;
/// A run may stretch over at most this much of the stream. It is what makes the hold-back enough: 32 units of the longest
/// escape (16 backslashes, `u`, 4 digits) are 672 bytes, and a decoder holds at most 21 more.
pub(super) const SPAN_MAX: u64 = 960;
const _: () = assert!(SPAN_MAX + 64 <= HOLD_BACK_BYTES as u64);

/// The decoders a stream is read through, each a lane. Unwrapping drops line breaks alone, so JSON needs no lane without it.
pub(super) const LANES: &[&[Kind]] = &[&[Kind::Percent], &[Kind::Json, Kind::Unwrap], &[Kind::Html]];

/// What a found run covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cover {
    /// From its first to its last byte, whatever lies between.
    Stretch,
    /// Its own bytes alone: what lies between keeps the framing whole.
    Bytes,
}

/// All readings of one stream.
pub(super) struct Reader {
    lanes: Vec<Lane>,
    cover: Cover,
    /// The kept bytes, and behind them the block being read.
    bytes: Vec<u8>,
    /// Where the kept bytes came from.
    kept: Vec<Unit>,
}

/// A block with what was kept before it.
struct View<'a> {
    bytes: &'a [u8],
    kept: &'a [Unit],
    /// Stream offset of the first byte after the kept ones.
    offset: u64,
}

impl View<'_> {
    fn unit(&self, at: usize) -> Unit {
        match at.checked_sub(self.kept.len()) {
            None => self.kept[at],
            Some(fresh) => {
                let start = self.offset + fresh as u64;
                Unit { byte: self.bytes[at], start, end: start + 1 }
            }
        }
    }
}

impl Reader {
    pub(super) fn new(cover: Cover) -> Self {
        Self { lanes: LANES.iter().map(|kinds| Lane::new(kinds)).collect(), cover, bytes: Vec::new(), kept: Vec::new() }
    }

    /// Reads on. `offset` is where `bytes` stand in the stream; they may follow what came before with a gap.
    pub(super) fn feed(&mut self, bytes: &[u8], offset: u64, matcher: &Matcher, marks: &mut Marks) {
        for (number, block) in bytes.chunks(BLOCK).enumerate() {
            self.feed_block(block, offset + (number * BLOCK) as u64, matcher, marks);
        }
    }

    /// Ends the stream: what was held as a possible escape is read as it is.
    pub(super) fn finish(&mut self, matcher: &Matcher, marks: &mut Marks) {
        for lane in &mut self.lanes {
            let known = lane.units.len();
            lane.flush();
            lane.search(known, self.cover, matcher, marks);
        }
    }

    fn feed_block(&mut self, block: &[u8], offset: u64, matcher: &Matcher, marks: &mut Marks) {
        self.bytes.extend_from_slice(block);
        let view = View { bytes: &self.bytes, kept: &self.kept, offset };
        matcher.find(view.bytes, view.kept.len(), |hit| mark(|at| view.unit(at), self.cover, &hit, None, marks));
        for lane in &mut self.lanes {
            lane.read(&view, self.cover, matcher, marks);
        }
        let surplus = view.bytes.len().saturating_sub(KEPT);
        let kept = (surplus..view.bytes.len()).map(|at| view.unit(at)).collect();
        self.bytes.drain(..surplus);
        self.kept = kept;
    }
}

/// One chain of decoders. Asleep, it holds nothing; awake, it holds the units a run could still begin with.
struct Lane {
    decoders: Vec<Decoder>,
    awake: bool,
    units: Vec<Unit>,
    text: Vec<u8>,
    /// How many of the last units stand in the stream as they are, one after the other.
    plain: usize,
    scratch: [Vec<Unit>; 2],
}

impl Lane {
    fn new(kinds: &[Kind]) -> Self {
        let decoders = kinds.iter().copied().map(Decoder::new).collect();
        Self {
            decoders,
            awake: false,
            units: Vec::new(),
            text: Vec::new(),
            plain: 0,
            scratch: [const { Vec::new() }; 2],
        }
    }

    fn read(&mut self, view: &View<'_>, cover: Cover, matcher: &Matcher, marks: &mut Marks) {
        let mut at = view.kept.len();
        loop {
            if !self.awake {
                let Some(lead) = self.next_lead(view, at, view.bytes.len()) else { return };
                (lead.saturating_sub(KEPT)..lead).for_each(|before| self.take(view.unit(before)));
                // What stands before the escape is context; calm is counted from the escape on.
                self.plain = 0;
                self.awake = true;
                at = lead;
            }
            let known = self.units.len();
            while at < view.bytes.len() && !self.is_calm() {
                at = self.advance(view, at);
            }
            self.search(known, cover, matcher, marks);
            if !self.is_calm() {
                self.trim();
                return;
            }
            self.awake = false;
            self.units.clear();
            self.text.clear();
            self.plain = 0;
        }
    }

    /// Takes the plain text up to the next escape or until calm, or else one byte through the decoders.
    fn advance(&mut self, view: &View<'_>, at: usize) -> usize {
        if !self.decoders.iter().any(Decoder::is_holding) {
            let reach = (at + KEPT).min(view.bytes.len());
            let plain_to = self.next_lead(view, at, reach).unwrap_or(reach);
            if plain_to > at {
                (at..plain_to).for_each(|plain| self.take(view.unit(plain)));
                return plain_to;
            }
        }
        self.decode(0, view.unit(at));
        at + 1
    }

    /// Where the next escape may begin.
    fn next_lead(&self, view: &View<'_>, from: usize, to: usize) -> Option<usize> {
        let mut nearest = None;
        for lead in self.decoders.iter().flat_map(|decoder| decoder.kind().leads()) {
            let end = nearest.unwrap_or(to);
            nearest = memchr::memchr(*lead, &view.bytes[from..end]).map(|at| from + at).or(nearest);
        }
        nearest
    }

    /// Every run with an escape in it has been seen whole; whatever comes next begins in plain text.
    fn is_calm(&self) -> bool {
        self.plain >= KEPT && !self.decoders.iter().any(Decoder::is_holding)
    }

    /// Sends a unit through the decoders from `first` on.
    fn decode(&mut self, first: usize, unit: Unit) {
        let [mut here, mut next] = std::mem::take(&mut self.scratch);
        here.clear();
        here.push(unit);
        for decoder in self.decoders.iter_mut().skip(first) {
            next.clear();
            here.iter().for_each(|unit| decoder.feed(*unit, &mut next));
            std::mem::swap(&mut here, &mut next);
        }
        here.iter().for_each(|unit| self.take(*unit));
        self.scratch = [here, next];
    }

    fn flush(&mut self) {
        for index in 0..self.decoders.len() {
            let mut rest = Vec::new();
            self.decoders[index].finish(&mut rest);
            rest.into_iter().for_each(|unit| self.decode(index + 1, unit));
        }
    }

    fn take(&mut self, unit: Unit) {
        let follows = self.units.last().is_none_or(|last| last.end == unit.start);
        self.plain = match (unit.end - unit.start, follows) {
            (1, true) => self.plain + 1,
            (1, false) => 1,
            _ => 0,
        };
        self.units.push(unit);
        self.text.push(unit.byte);
    }

    fn search(&self, known: usize, cover: Cover, matcher: &Matcher, marks: &mut Marks) {
        matcher.find(&self.text, known, |hit| mark(|at| self.units[at], cover, &hit, self.spelling(), marks));
    }

    /// What its first decoder reads.
    fn spelling(&self) -> Option<Variant> {
        self.decoders.first().map(|decoder| match decoder.kind() {
            Kind::Percent => Variant::Percent,
            Kind::Json | Kind::Unwrap => Variant::Json,
            Kind::Html => Variant::Html,
        })
    }

    fn trim(&mut self) {
        let surplus = self.units.len().saturating_sub(KEPT);
        self.units.drain(..surplus);
        self.text.drain(..surplus);
    }
}

/// Marks the hit if it lies close enough together, else those of its windows that do.
fn mark(unit: impl Fn(usize) -> Unit, cover: Cover, hit: &Hit, spelling: Option<Variant>, marks: &mut Marks) {
    // What a lane reads as it stands was found as it stands too.
    let plain = unit(hit.end - 1).end - unit(hit.start).start == (hit.end - hit.start) as u64;
    if let Some(spelling) = spelling.filter(|_| !plain) {
        marks.variants.insert(spelling);
    }
    if plain || spelling.is_none() || hit.variant != Variant::Raw {
        marks.variants.insert(hit.variant);
    }
    let mut mark_if_close = |start: usize, end: usize| {
        let stretch = (unit(start).start, unit(end - 1).end);
        let close = stretch.1 - stretch.0 <= SPAN_MAX;
        match cover {
            _ if !close => {}
            Cover::Stretch => marks.add(stretch.0, stretch.1),
            Cover::Bytes => (start..end).map(&unit).for_each(|unit| marks.add(unit.start, unit.end)),
        }
        close
    };
    if !mark_if_close(hit.start, hit.end) {
        for start in hit.start..=hit.end - hit.run {
            mark_if_close(start, start + hit.run);
        }
    }
}
