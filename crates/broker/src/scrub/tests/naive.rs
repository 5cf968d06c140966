//! The decoders once more, one byte at a time and without a thought about speed: what the fast ones are compared with.

use super::super::decode::entity;

const BACKSLASHES_MAX: usize = 16;
const ENTITY_BYTES_MAX: usize = 12;

/// The decoders of each reading beside the one as it stands.
const READINGS: [&[Kind]; 3] = [&[Kind::Percent], &[Kind::Json, Kind::Unwrap], &[Kind::Html]];

/// All readings of a whole text.
pub(super) fn readings(text: &[u8]) -> Vec<Vec<Unit>> {
    let units: Vec<Unit> = (0..).zip(text).map(|(start, byte)| Unit { byte: *byte, start, end: start + 1 }).collect();
    let decoded = READINGS.iter().map(|kinds| decode_whole(kinds, &units)).collect::<Vec<_>>();
    std::iter::once(units).chain(decoded).collect()
}

fn decode_whole(kinds: &[Kind], units: &[Unit]) -> Vec<Unit> {
    kinds.iter().fold(units.to_vec(), |units, kind| {
        let mut decoder = Decoder { kind: *kind, held: Vec::new() };
        let mut out = Vec::new();
        units.iter().for_each(|unit| decoder.feed(*unit, &mut out));
        out.append(&mut decoder.held);
        out
    })
}

/// One decoded byte and where it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) byte: u8,
    /// First stream offset.
    pub(super) start: u64,
    /// Offset after the last.
    pub(super) end: u64,
}

/// One of the decoders, with the units it has not decided about yet.
struct Decoder {
    kind: Kind,
    held: Vec<Unit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `%41`
    Percent,
    /// `\u0041`, `\/`, `\"`, and the same behind several backslashes (JSON inside JSON).
    Json,
    /// `&#65;`, `&#x41;`, `&amp;`
    Html,
    /// CR and LF are dropped.
    Unwrap,
}

impl Kind {
    /// The bytes an escape can start with; a text without them decodes to itself.
    fn leads(self) -> &'static [u8] {
        match self {
            Self::Percent => b"%",
            Self::Json => b"\\",
            Self::Html => b"&",
            Self::Unwrap => b"\r\n",
        }
    }
}

impl Decoder {
    fn feed(&mut self, unit: Unit, out: &mut Vec<Unit>) {
        match self.kind {
            Kind::Percent => self.percent(unit, out),
            Kind::Json => self.json(unit, out),
            Kind::Html => self.html(unit, out),
            Kind::Unwrap => {
                if !self.kind.leads().contains(&unit.byte) {
                    out.push(unit);
                }
            }
        }
    }

    fn percent(&mut self, unit: Unit, out: &mut Vec<Unit>) {
        if self.held.is_empty() {
            self.start_or_pass(unit, out);
            return;
        }
        if hex(unit.byte).is_none() {
            out.append(&mut self.held);
            self.start_or_pass(unit, out);
            return;
        }
        self.held.push(unit);
        if let [_, high, low] = self.held[..] {
            let byte = hex(high.byte).unwrap_or(0) << 4 | hex(low.byte).unwrap_or(0);
            self.replace(&[byte], out);
        }
    }

    fn json(&mut self, unit: Unit, out: &mut Vec<Unit>) {
        let slashes = self.held.iter().take_while(|held| held.byte == b'\\').count();
        if slashes == 0 {
            self.start_or_pass(unit, out);
        } else if self.held.len() > slashes {
            self.json_digit(unit, slashes, out);
        } else {
            self.json_after_slashes(unit, slashes, out);
        }
    }

    fn json_after_slashes(&mut self, unit: Unit, slashes: usize, out: &mut Vec<Unit>) {
        let control = match unit.byte {
            b'b' => Some(8),
            b'f' => Some(12),
            b'n' => Some(b'\n'),
            b'r' => Some(b'\r'),
            b't' => Some(b'\t'),
            _ => None,
        };
        match (unit.byte, control) {
            (b'\\', _) if slashes < BACKSLASHES_MAX => self.held.push(unit),
            (b'u', _) => self.held.push(unit),
            (quoted @ (b'"' | b'/' | b'\''), _) => {
                self.held.push(unit);
                self.replace(&[quoted], out);
            }
            (_, Some(control)) if slashes % 2 == 1 => {
                // `\\\n` is a backslash and a line break.
                let escape = self.held.split_off(slashes - 1);
                self.halve_slashes(out);
                self.held = escape;
                self.held.push(unit);
                self.replace(&[control], out);
            }
            _ => {
                self.halve_slashes(out);
                self.start_or_pass(unit, out);
            }
        }
    }

    /// After `\u`: four hex digits, or it was no escape.
    fn json_digit(&mut self, unit: Unit, slashes: usize, out: &mut Vec<Unit>) {
        if hex(unit.byte).is_none() {
            let rest = self.held.split_off(slashes);
            self.halve_slashes(out);
            out.extend(rest);
            self.start_or_pass(unit, out);
            return;
        }
        self.held.push(unit);
        let digits = &self.held[slashes + 1..];
        if digits.len() == 4 {
            let code = digits.iter().fold(0u32, |code, digit| code << 4 | u32::from(hex(digit.byte).unwrap_or(0)));
            let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
            let mut utf8 = [0; 4];
            let length = character.encode_utf8(&mut utf8).len();
            self.replace(&utf8[..length], out);
        }
    }

    /// Backslashes that escape each other: two are one, an odd one out stays.
    fn halve_slashes(&mut self, out: &mut Vec<Unit>) {
        out.extend(self.held.chunks(2).filter_map(|pair| {
            let (first, last) = (pair.first()?, pair.last()?);
            Some(Unit { byte: b'\\', start: first.start, end: last.end })
        }));
        self.held.clear();
    }

    fn html(&mut self, unit: Unit, out: &mut Vec<Unit>) {
        if self.held.is_empty() || unit.byte == b'&' {
            out.append(&mut self.held);
            self.start_or_pass(unit, out);
            return;
        }
        self.held.push(unit);
        if unit.byte == b';' {
            let mut name = [0u8; ENTITY_BYTES_MAX];
            let inner = &self.held[1..self.held.len() - 1];
            for (slot, held) in name.iter_mut().zip(inner) {
                *slot = held.byte;
            }
            match entity(&name[..inner.len().min(ENTITY_BYTES_MAX)]) {
                Some(byte) => self.replace(&[byte], out),
                None => out.append(&mut self.held),
            }
        } else if self.held.len() >= ENTITY_BYTES_MAX || !(unit.byte.is_ascii_alphanumeric() || unit.byte == b'#') {
            out.append(&mut self.held);
        }
    }

    fn start_or_pass(&mut self, unit: Unit, out: &mut Vec<Unit>) {
        if self.kind.leads().contains(&unit.byte) {
            self.held.push(unit);
        } else {
            out.push(unit);
        }
    }

    /// The held units stood for these bytes; each of the bytes stands for the whole stretch.
    fn replace(&mut self, bytes: &[u8], out: &mut Vec<Unit>) {
        if let (Some(first), Some(last)) = (self.held.first(), self.held.last()) {
            let (start, end) = (first.start, last.end);
            out.extend(bytes.iter().map(|byte| Unit { byte: *byte, start, end }));
        }
        self.held.clear();
    }
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
