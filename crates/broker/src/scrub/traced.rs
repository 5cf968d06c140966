//! [`Traced`]: decoded bytes that remember where in the stream they stood.
//!
//! The bytes are plain memory, for searching at full speed. Where they came from is a list with one entry per escape and per
//! stretch between escapes, asked only about what was found.

use std::ops::Range;

/// Bytes, and which stretch of the stream each stands for.
#[derive(Default)]
pub(super) struct Traced {
    bytes: Vec<u8>,
    /// In the order of the bytes; the first begins at 0.
    pieces: Vec<Piece>,
}

/// Bytes from `at` to the next piece. As many as the stretch is long stand for one byte of it each; an escape is always longer
/// than what it stands for, and each of its bytes stands for all of it.
#[derive(Clone, Copy)]
struct Piece {
    at: usize,
    start: u64,
    end: u64,
}

/// Neighbouring bytes that stand in the stream as they are.
#[derive(Clone, Copy)]
pub(super) struct Segment {
    from: usize,
    end: usize,
    offset: u64,
}

impl Segment {
    /// Where it ends among the bytes.
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// Where one of its places is in the stream; its end is one of them.
    pub(super) fn offset(&self, at: usize) -> u64 {
        self.offset + (at - self.from) as u64
    }
}

impl Traced {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.pieces.clear();
    }

    /// Appends bytes as they stand in the stream from `start` on.
    pub(super) fn push_plain(&mut self, bytes: &[u8], start: u64) {
        if bytes.is_empty() {
            return;
        }
        let end = start + bytes.len() as u64;
        let at = self.bytes.len();
        match self.pieces.last_mut() {
            Some(last) if last.end == start && last.end - last.start == (at - last.at) as u64 => last.end = end,
            _ => self.pieces.push(Piece { at, start, end }),
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends what an escape stands for.
    pub(super) fn push_escape(&mut self, bytes: &[u8], stretch: Range<u64>) {
        if !bytes.is_empty() {
            self.pieces.push(Piece { at: self.bytes.len(), start: stretch.start, end: stretch.end });
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// Appends these bytes of another, with where they stood.
    pub(super) fn push_from(&mut self, other: &Self, range: Range<usize>) {
        other.each_piece(range, |bytes, stretch| {
            if stretch.end - stretch.start == bytes.len() as u64 {
                self.push_plain(bytes, stretch.start);
            } else {
                self.push_escape(bytes, stretch);
            }
        });
    }

    /// The stretch from the first of these bytes to the last. There is at least one.
    pub(super) fn stretch(&self, range: Range<usize>) -> Range<u64> {
        let (first, last) = (self.piece_of(range.start), self.piece_of(range.end - 1));
        self.part(first, range.start..range.start + 1).start..self.part(last, range.end - 1..range.end).end
    }

    /// The segment the byte is of, in a text that has nothing but plain bytes; an empty one behind the last.
    pub(super) fn segment(&self, at: usize) -> Segment {
        let Some(piece) = self.pieces.get(self.piece_of(at)).filter(|_| at < self.bytes.len()) else {
            return Segment { from: at, end: at, offset: 0 };
        };
        Segment { from: piece.at, end: self.end_of(self.piece_of(at)), offset: piece.start }
    }

    /// The stretches these bytes stand for themselves, with the bytes, in order.
    pub(super) fn each_piece(&self, range: Range<usize>, mut report: impl FnMut(&[u8], Range<u64>)) {
        let mut at = range.start;
        let mut index = self.piece_of(at);
        while at < range.end {
            let end = self.end_of(index).min(range.end);
            report(&self.bytes[at..end], self.part(index, at..end));
            (at, index) = (end, index + 1);
        }
    }

    /// Forgets all but the last `count` bytes.
    pub(super) fn keep_last(&mut self, count: usize) {
        let surplus = self.bytes.len().saturating_sub(count);
        if surplus == 0 {
            return;
        }
        if surplus == self.bytes.len() {
            return self.clear();
        }
        let first = self.piece_of(surplus);
        let part = self.part(first, surplus..self.end_of(first));
        self.pieces.drain(..first);
        self.pieces[0] = Piece { at: surplus, start: part.start, end: part.end };
        self.pieces.iter_mut().for_each(|piece| piece.at -= surplus);
        self.bytes.drain(..surplus);
    }

    /// Which piece the byte is of.
    fn piece_of(&self, at: usize) -> usize {
        self.pieces.partition_point(|piece| piece.at <= at).saturating_sub(1)
    }

    /// Where the piece's bytes end.
    fn end_of(&self, index: usize) -> usize {
        self.pieces.get(index + 1).map_or(self.bytes.len(), |next| next.at)
    }

    /// What these bytes of one piece stand for.
    fn part(&self, index: usize, range: Range<usize>) -> Range<u64> {
        let piece = self.pieces[index];
        if piece.end - piece.start != (self.end_of(index) - piece.at) as u64 {
            return piece.start..piece.end;
        }
        piece.start + (range.start - piece.at) as u64..piece.start + (range.end - piece.at) as u64
    }
}
