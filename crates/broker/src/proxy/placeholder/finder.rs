//! Finds placeholders in a stream of bytes, however they are written: as they are, with any of their bytes percent-encoded, or
//! inside base64 at any alignment, either alphabet, wrapped or not.
//!
//! Pure, one byte at a time, so that where a stream is cut makes no difference. It knows no run: whatever has the shape counts.

use super::{PLACEHOLDER_CHARS, PREFIX, RANDOM_CHARS};

/// More bytes than any spelling of a placeholder takes: three for each percent-encoded character, or base64 with a line break
/// after each. Who holds back this many has let nothing of one pass when it is found.
pub const HOLD_BYTES: usize = 3 * (PLACEHOLDER_CHARS * 4 / 3 + 4) + 36;
/// Line breaks that may stand between two characters of base64.
const BREAK_BYTES_MAX: u8 = 2;

/// The prefix as a number, its first character highest.
const PREFIX_WORD: u32 = match PREFIX.as_bytes() {
    [a, b, c, d] => u32::from_be_bytes([*a, *b, *c, *d]),
    _ => panic!("the prefix has four characters"),
};

/// Recognises the shape in one reading of the bytes. Whoever sends bodies has every byte of them pass five of these, so outside of
/// one a byte costs a shift and two comparisons.
#[derive(Debug, Clone)]
struct Shape {
    /// The last four characters read.
    recent: u32,
    /// Random characters since a prefix ended.
    random: [u8; RANDOM_CHARS],
    /// How many there are, or `None` outside of one.
    count: Option<usize>,
}

impl Shape {
    const fn new() -> Self {
        Self { recent: 0, random: [0; RANDOM_CHARS], count: None }
    }

    fn push(&mut self, byte: u8) -> Option<[u8; PLACEHOLDER_CHARS]> {
        self.recent = self.recent << 8 | u32::from(byte);
        // The prefix ends in a character that is not random, so no placeholder can begin within another unnoticed.
        if self.recent == PREFIX_WORD {
            self.count = Some(0);
            return None;
        }
        let count = self.count.take().filter(|_| byte.is_ascii_alphanumeric())?;
        self.random[count] = byte;
        if count + 1 < RANDOM_CHARS {
            self.count = Some(count + 1);
            return None;
        }
        let mut found = [0; PLACEHOLDER_CHARS];
        found[..PREFIX.len()].copy_from_slice(PREFIX.as_bytes());
        found[PREFIX.len()..].copy_from_slice(&self.random);
        Some(found)
    }
}

/// Reads `%XX` as the byte it stands for; anything else as it is.
#[derive(Debug, Clone)]
struct Percent {
    shape: Shape,
    pending: Option<Option<u8>>,
}

impl Percent {
    fn push(&mut self, byte: u8, found: &mut Vec<[u8; PLACEHOLDER_CHARS]>) {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        match (self.pending.take(), digit(byte)) {
            (Some(None), Some(high)) => {
                self.pending = Some(Some(high));
                return;
            }
            (Some(Some(high)), Some(low)) => {
                found.extend(self.shape.push(high << 4 | low));
                return;
            }
            // A broken escape: no placeholder holds a `%`, so what was pending only ends one.
            (Some(_), None) => {
                self.shape.push(b'%');
            }
            (None, _) => {}
        }
        if byte == b'%' {
            self.pending = Some(None);
        } else {
            found.extend(self.shape.push(byte));
        }
    }
}

/// Decodes base64 that began at one of the four places a group of characters can begin.
#[derive(Debug, Clone)]
struct Base64 {
    shape: Shape,
    /// Characters to let pass before the first group.
    skip: u8,
    bits: u32,
    count: u32,
}

impl Base64 {
    const fn new(skip: u8) -> Self {
        Self { shape: Shape::new(), skip, bits: 0, count: 0 }
    }

    fn push(&mut self, value: u8, found: &mut Vec<[u8; PLACEHOLDER_CHARS]>) {
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        self.bits = (self.bits << 6 | u32::from(value)) & 0xffff;
        self.count += 6;
        if self.count >= 8 {
            self.count -= 8;
            let [.., byte] = (self.bits >> self.count).to_be_bytes();
            found.extend(self.shape.push(byte));
        }
    }
}

/// Finds placeholders in bytes that come in any pieces.
#[derive(Debug, Clone)]
pub struct Finder {
    percent: Percent,
    base64: [Base64; 4],
    /// Bytes of line breaks since the last character of base64, or `None` outside of it.
    breaks: Option<u8>,
}

impl Default for Finder {
    fn default() -> Self {
        Self {
            percent: Percent { shape: Shape::new(), pending: None },
            base64: [0, 1, 2, 3].map(Base64::new),
            breaks: None,
        }
    }
}

impl Finder {
    /// Reads more bytes and answers the placeholders that end in them; one that is found in two readings comes twice.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<[u8; PLACEHOLDER_CHARS]> {
        let mut found = Vec::new();
        for byte in bytes {
            self.percent.push(*byte, &mut found);
            match sextet(*byte) {
                Some(value) => {
                    self.breaks = Some(0);
                    self.base64.iter_mut().for_each(|lane| lane.push(value, &mut found));
                }
                None => self.leave_base64(*byte),
            }
        }
        found
    }

    /// Long base64 is wrapped; anything else ends it.
    fn leave_base64(&mut self, byte: u8) {
        let Some(breaks) = self.breaks else { return };
        if matches!(byte, b'\r' | b'\n') && breaks < BREAK_BYTES_MAX {
            self.breaks = Some(breaks + 1);
        } else {
            self.breaks = None;
            self.base64 = [0, 1, 2, 3].map(Base64::new);
        }
    }

    /// Every placeholder in one text.
    pub fn all_in(bytes: &[u8]) -> Vec<[u8; PLACEHOLDER_CHARS]> {
        Self::default().push(bytes)
    }
}

fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}
