//! Readings of a stream: as it stands, and through decoders. [`Reader`] searches the bytes as they stand; its lanes wake only
//! around escapes, because a text without escapes decodes to itself and is found already.
//!
//! A lane copies plain stretches whole and decodes one escape at a time, into [`Traced`] bytes that are searched like any
//! other; where a byte came from is asked about hits alone.

use super::HOLD_BACK_BYTES;
use super::decode::{Kind, Step, UNFINISHED_MAX};
use super::image::RUN_MAX;
use super::marks::Marks;
use super::matcher::{Hit, Matcher};
use super::traced::Traced;
use super::variant::Variant;

/// Bytes kept from one block to the next: a run that ends in the next block starts in these.
const KEPT: usize = RUN_MAX - 1;
/// What a lane has not decided about is read again with the next block.
const _: () = assert!(UNFINISHED_MAX <= KEPT);
/// Bytes read at once: bounds what the readings hold beside the body itself.
const BLOCK: usize = 16 * 1024;
/// A run may stretch over at most this much of the stream. It is what makes the hold-back enough: 32 bytes in the longest
/// escape (16 backslashes, `u`, 4 digits) are 672, and a lane leaves at most 20 more undecided.
pub(super) const SPAN_MAX: u64 = 960;
const _: () = assert!(SPAN_MAX + 64 <= HOLD_BACK_BYTES as u64);

/// The decoders a stream is read through, each a lane. Unwrapping drops line breaks alone, so JSON needs no lane without it.
const LANES: [Kind; 3] = [Kind::Percent, Kind::Json, Kind::Html];

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
    lanes: [Lane; LANES.len()],
    cover: Cover,
    /// The kept bytes, and behind them the block being read.
    text: Traced,
}

/// What is looked for, and where it is noted.
struct Search<'a> {
    matcher: &'a Matcher,
    cover: Cover,
    marks: &'a mut Marks,
}

impl Reader {
    pub(super) fn new(cover: Cover) -> Self {
        Self { lanes: LANES.map(Lane::new), cover, text: Traced::default() }
    }

    /// Reads on. `offset` is where `bytes` stand in the stream; they may follow what came before with a gap.
    pub(super) fn feed(&mut self, bytes: &[u8], offset: u64, matcher: &Matcher, marks: &mut Marks) {
        let mut search = Search { matcher, cover: self.cover, marks };
        for (number, block) in bytes.chunks(BLOCK).enumerate() {
            let fresh = self.text.len();
            self.text.push_plain(block, offset + (number * BLOCK) as u64);
            search.look(&self.text, fresh, None);
            self.lanes.iter_mut().for_each(|lane| lane.read(&self.text, fresh, &mut search));
            self.text.keep_last(KEPT);
        }
    }

    /// Ends the stream: what may have become an escape is read as it is.
    pub(super) fn finish(&mut self, matcher: &Matcher, marks: &mut Marks) {
        let mut search = Search { matcher, cover: self.cover, marks };
        self.lanes.iter_mut().for_each(|lane| lane.finish(&self.text, &mut search));
    }
}

/// One decoder. Asleep, it holds nothing; awake, it holds the bytes a run could still begin with.
struct Lane {
    kind: Kind,
    awake: bool,
    /// Decoded, with the context before the escape it woke at.
    text: Traced,
    /// Decoded bytes since the last escape.
    plain: usize,
    /// Bytes at the end of what was read that may yet become an escape.
    undecided: usize,
}

impl Lane {
    fn new(kind: Kind) -> Self {
        Self { kind, awake: false, text: Traced::default(), plain: 0, undecided: 0 }
    }

    /// Reads the fresh bytes, and before them those it had not decided about.
    fn read(&mut self, view: &Traced, fresh: usize, search: &mut Search<'_>) {
        let mut at = fresh - std::mem::take(&mut self.undecided);
        loop {
            let mut known = self.text.len();
            if !self.awake {
                let Some(lead) = self.next_escape(view.bytes(), at) else { return };
                self.wake(view, lead);
                (known, at) = (0, lead);
            }
            at = self.decode(view, at);
            search.look(&self.text, known, Some(self.kind));
            if !self.is_calm() {
                self.undecided = view.len() - at;
                self.text.keep_last(KEPT);
                return;
            }
            self.awake = false;
        }
    }

    fn finish(&mut self, view: &Traced, search: &mut Search<'_>) {
        let known = self.text.len();
        self.text.push_from(view, view.len() - std::mem::take(&mut self.undecided)..view.len());
        search.look(&self.text, known, Some(self.kind));
    }

    /// Where the next escape begins, or what may become one.
    fn next_escape(&self, text: &[u8], from: usize) -> Option<usize> {
        let mut at = from;
        loop {
            at += self.kind.next_lead(&text[at..])?;
            if self.kind.step(&text[at..]) != Step::Plain {
                return Some(at);
            }
            at += 1;
        }
    }

    /// Takes the context of the escape that begins at `lead`.
    fn wake(&mut self, view: &Traced, lead: usize) {
        self.text.clear();
        self.text.push_from(view, lead.saturating_sub(KEPT)..lead);
        self.plain = 0;
        self.awake = true;
    }

    /// Every run with an escape in it has been seen whole; whatever comes next begins in plain text.
    fn is_calm(&self) -> bool {
        self.plain >= KEPT
    }

    /// Decodes until calm or as far as it can be decided; gives the place after.
    fn decode(&mut self, view: &Traced, from: usize) -> usize {
        let bytes = view.bytes();
        let mut at = from;
        let mut here = view.segment(at);
        while at < bytes.len() && !self.is_calm() {
            if at >= here.end() {
                here = view.segment(at);
            }
            let reach = (at + KEPT - self.plain).min(here.end());
            let lead = self.kind.lead_nearby(&bytes[at..reach]).map_or(reach, |lead| at + lead);
            self.text.push_plain(&bytes[at..lead], here.offset(at));
            self.plain += lead - at;
            at = lead;
            if lead == reach {
                continue;
            }
            match self.kind.step(&bytes[lead..]) {
                Step::Plain => {
                    at = lead + 1;
                    self.text.push_plain(&bytes[lead..at], here.offset(lead));
                    self.plain += 1;
                }
                Step::Escape { length, means } => {
                    at = lead + length;
                    let end = if at <= here.end() { here.offset(at) } else { view.stretch(lead..at).end };
                    let (bytes, count) = means.bytes();
                    self.text.push_escape(&bytes[..count], here.offset(lead)..end);
                    self.plain = 0;
                }
                Step::Slashes { count } => {
                    at = lead + count;
                    self.halve(view, lead, at);
                }
                Step::Unfinished => break,
            }
        }
        at
    }

    /// Two backslashes are one; an odd one out stays.
    fn halve(&mut self, view: &Traced, from: usize, to: usize) {
        for pair in (from..to - 1).step_by(2) {
            self.text.push_escape(b"\\", view.stretch(pair..pair + 2));
        }
        let odd = (to - from) % 2;
        self.text.push_from(view, to - odd..to);
        self.plain = odd;
    }
}

impl Search<'_> {
    /// Looks for runs that have a byte at or after `known`.
    fn look(&mut self, text: &Traced, known: usize, decoder: Option<Kind>) {
        self.matcher.find(text.bytes(), known, |hit| mark(text, self.cover, &hit, decoder, self.marks));
    }
}

/// Marks the hit if it lies close enough together, else those of its windows that do.
fn mark(text: &Traced, cover: Cover, hit: &Hit, decoder: Option<Kind>, marks: &mut Marks) {
    let whole = text.stretch(hit.start..hit.end);
    // What a lane reads as it stands was found as it stands too.
    let plain = whole.end - whole.start == (hit.end - hit.start) as u64;
    let spelling = decoder.filter(|_| !plain).map(spelling);
    if let Some(spelling) = spelling {
        marks.variants.insert(spelling);
    }
    if spelling.is_none() || hit.variant != Variant::Raw {
        marks.variants.insert(hit.variant);
    }
    let mut mark_if_close = |start: usize, end: usize| {
        let stretch = text.stretch(start..end);
        let close = stretch.end - stretch.start <= SPAN_MAX;
        match cover {
            _ if !close => {}
            Cover::Stretch => marks.add(stretch.start, stretch.end),
            Cover::Bytes => text.each_piece(start..end, |_, part| marks.add(part.start, part.end)),
        }
        close
    };
    if !mark_if_close(hit.start, hit.end) {
        for start in hit.start..=hit.end - hit.run {
            mark_if_close(start, start + hit.run);
        }
    }
}

/// What the decoder reads.
fn spelling(decoder: Kind) -> Variant {
    match decoder {
        Kind::Percent => Variant::Percent,
        Kind::Json => Variant::Json,
        Kind::Html => Variant::Html,
    }
}
