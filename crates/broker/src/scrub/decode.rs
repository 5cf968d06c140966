//! Streaming decoders for the spellings that can be mixed byte by byte: percent-encoding, JSON escapes, HTML entities, and
//! line breaks inside a wrapped encoding. Each turns units into units; a unit is one decoded byte and the stretch of the
//! stream it came from. They never fail: what is no escape passes as it is.

/// Longest run of backslashes taken as one escape.
const BACKSLASHES_MAX: usize = 16;
/// Longest entity, `&` and `;` included.
const ENTITY_BYTES_MAX: usize = 12;

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
pub(super) struct Decoder {
    kind: Kind,
    held: Vec<Unit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
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
    pub(super) fn leads(self) -> &'static [u8] {
        match self {
            Self::Percent => b"%",
            Self::Json => b"\\",
            Self::Html => b"&",
            Self::Unwrap => b"\r\n",
        }
    }
}

impl Decoder {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, held: Vec::new() }
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether it is in the middle of a possible escape.
    pub(super) fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    pub(super) fn feed(&mut self, unit: Unit, out: &mut Vec<Unit>) {
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

    /// At the end of the stream an unfinished escape is what it looks like.
    pub(super) fn finish(&mut self, out: &mut Vec<Unit>) {
        out.append(&mut self.held);
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

/// The byte of an entity's inside, for the characters that occur in keys.
fn entity(name: &[u8]) -> Option<u8> {
    if let [b'#', rest @ ..] = name {
        let (digits, radix) = match rest {
            [b'x' | b'X', digits @ ..] => (digits, 16),
            digits => (digits, 10),
        };
        let code = u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()?;
        return u8::try_from(code).ok().filter(u8::is_ascii);
    }
    Some(match name {
        b"amp" | b"AMP" => b'&',
        b"lt" | b"LT" => b'<',
        b"gt" | b"GT" => b'>',
        b"quot" | b"QUOT" => b'"',
        b"apos" => b'\'',
        b"sol" => b'/',
        b"bsol" => b'\\',
        b"plus" => b'+',
        b"equals" => b'=',
        b"lowbar" | b"UnderBar" => b'_',
        b"period" => b'.',
        b"colon" => b':',
        b"semi" => b';',
        b"comma" => b',',
        b"num" => b'#',
        b"dollar" => b'$',
        b"percnt" => b'%',
        b"ast" | b"midast" => b'*',
        b"excl" => b'!',
        b"quest" => b'?',
        b"commat" => b'@',
        b"lpar" => b'(',
        b"rpar" => b')',
        b"lbrack" | b"lsqb" => b'[',
        b"rbrack" | b"rsqb" => b']',
        b"lbrace" | b"lcub" => b'{',
        b"rbrace" | b"rcub" => b'}',
        b"vert" | b"verbar" => b'|',
        b"Hat" => b'^',
        b"grave" => b'`',
        _ => return None,
    })
}
