//! What programs write to a terminal, made fit to be shown: as text to a model or a log, or to a person's own terminal.
//!
//! A terminal obeys what it is shown: some sequences make it answer as if its owner typed, read or write the clipboard, or print. So
//! only a list of harmless ones passes to a person's terminal, and none to a text. Pure and bounded: a [`Sieve`] keeps at most one
//! unfinished sequence. What comes out is UTF-8, however the bytes are cut.

/// Longest sequence that passes; a longer one is dropped.
const SEQUENCE_BYTES_MAX: usize = 64;
/// Most digits of a number in one: larger ones only keep a terminal busy.
const NUMBER_DIGITS_MAX: usize = 4;
/// Longest string (a title, a clipboard, a picture) that is waited for; what follows counts as text again.
const STRING_BYTES_MAX: usize = 64 * 1024;
/// What stands for bytes that are no text.
const REPLACEMENT: char = '\u{fffd}';

/// What passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Letters, tabs and line ends. A return to the line's beginning is a line end.
    Text,
    /// Beside those, what moves the cursor, colours and clears: nothing that makes a terminal answer, remember or print.
    Display,
}

/// A filter of one stream. See the module.
#[derive(Debug)]
pub struct Sieve {
    keep: Keep,
    state: State,
    /// The unfinished character or sequence.
    held: Vec<u8>,
    /// Whether the last thing was a return that may be half of a line end.
    returned: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ground,
    /// In a character of several bytes: so many are missing.
    Character(u8),
    /// After ESC, perhaps with intermediate bytes.
    Escape,
    /// After `ESC [`.
    Control,
    /// In a string, of which so many bytes came.
    Text(usize),
    /// After ESC in a string.
    TextEscape(usize),
}

impl Sieve {
    /// An empty one.
    #[must_use]
    pub const fn new(keep: Keep) -> Self {
        Self { keep, state: State::Ground, held: Vec::new(), returned: false }
    }

    /// What passes of `bytes`, which go on where the last ones ended.
    pub fn pass(&mut self, bytes: &[u8]) -> String {
        let mut out = String::with_capacity(bytes.len());
        for byte in bytes {
            self.step(*byte, &mut out);
        }
        out
    }

    /// The stream ended: what of an unfinished thing is to be shown.
    pub fn finish(&mut self) -> String {
        let mut out = String::new();
        if matches!(self.state, State::Character(_)) {
            self.put(REPLACEMENT, &mut out);
        }
        if std::mem::take(&mut self.returned) {
            out.push('\n');
        }
        self.reset();
        out
    }

    fn reset(&mut self) {
        self.state = State::Ground;
        self.held.clear();
    }

    fn step(&mut self, byte: u8, out: &mut String) {
        match self.state {
            State::Ground => self.ground(byte, out),
            State::Character(missing) => self.character(byte, missing, out),
            // Cancelled, or begun anew, wherever it is.
            State::Escape | State::Control if matches!(byte, 0x18 | 0x1a) => self.reset(),
            State::Escape | State::Control if byte == 0x1b => self.begin(),
            State::Escape => self.escape(byte, out),
            State::Control => self.control(byte, out),
            State::Text(count) => self.text(byte, count),
            State::TextEscape(_) if byte == b'\\' => self.reset(),
            State::TextEscape(_) => {
                self.begin();
                self.step(byte, out);
            }
        }
    }

    fn begin(&mut self) {
        self.held.clear();
        self.state = State::Escape;
    }

    fn ground(&mut self, byte: u8, out: &mut String) {
        match byte {
            0x1b => self.begin(),
            0x20..=0x7e => self.put(char::from(byte), out),
            b'\n' | b'\t' => self.put(char::from(byte), out),
            b'\r' if self.keep == Keep::Text => {
                // A second return ends the line of the first.
                out.extend(std::mem::replace(&mut self.returned, true).then_some('\n'));
            }
            // Bell, backspace, return, the two character sets; never ENQ, which a terminal answers.
            0x07 | 0x08 | b'\r' | 0x0e | 0x0f if self.keep == Keep::Display => out.push(char::from(byte)),
            0xc2..=0xf4 => {
                self.held.clear();
                self.held.push(byte);
                self.state = State::Character(match byte {
                    0xc2..=0xdf => 1,
                    0xe0..=0xef => 2,
                    _ => 3,
                });
            }
            0x80.. => self.put(REPLACEMENT, out),
            _ => {}
        }
    }

    fn character(&mut self, byte: u8, missing: u8, out: &mut String) {
        if !(0x80..=0xbf).contains(&byte) {
            self.reset();
            self.put(REPLACEMENT, out);
            return self.step(byte, out);
        }
        self.held.push(byte);
        self.state = State::Character(missing - 1);
        if missing > 1 {
            return;
        }
        let whole = std::str::from_utf8(&self.held).ok().and_then(|text| text.chars().next());
        self.reset();
        match whole {
            // The second set of control characters: some terminals obey them.
            Some('\u{80}'..='\u{9f}') => {}
            character => self.put(character.unwrap_or(REPLACEMENT), out),
        }
    }

    fn put(&mut self, character: char, out: &mut String) {
        if std::mem::take(&mut self.returned) && character != '\n' {
            out.push('\n');
        }
        out.push(character);
    }

    fn escape(&mut self, byte: u8, out: &mut String) {
        match (self.held.is_empty(), byte) {
            (true, b'[') => self.state = State::Control,
            // Strings: DCS, SOS, OSC, PM, APC.
            (true, b'P' | b'X' | b']' | b'^' | b'_') => self.state = State::Text(0),
            (_, 0x20..=0x2f) if self.held.len() < SEQUENCE_BYTES_MAX => self.held.push(byte),
            (_, 0x30..=0x7e) => {
                let harmless = match self.held.as_slice() {
                    // Saving the cursor, the keypad, lines, tabs.
                    [] => matches!(byte, b'7' | b'8' | b'=' | b'>' | b'D' | b'E' | b'H' | b'M'),
                    // Character sets.
                    [b'(' | b')'] => byte.is_ascii_alphanumeric(),
                    _ => false,
                };
                self.end("\u{1b}", byte, harmless, out);
            }
            _ => self.again(byte, out),
        }
    }

    fn control(&mut self, byte: u8, out: &mut String) {
        match byte {
            0x20..=0x3f if self.held.len() < SEQUENCE_BYTES_MAX => self.held.push(byte),
            0x40..=0x7e => {
                let harmless = is_harmless(&self.held, byte);
                self.end("\u{1b}[", byte, harmless, out);
            }
            _ => self.again(byte, out),
        }
    }

    /// A sequence is whole.
    fn end(&mut self, begin: &str, last: u8, harmless: bool, out: &mut String) {
        if harmless && self.keep == Keep::Display {
            out.push_str(begin);
            out.extend(self.held.iter().copied().map(char::from));
            out.push(char::from(last));
        }
        self.reset();
    }

    /// No sequence after all: its beginning is dropped, and this byte counts by itself.
    fn again(&mut self, byte: u8, out: &mut String) {
        self.reset();
        self.step(byte, out);
    }

    fn text(&mut self, byte: u8, count: usize) {
        match byte {
            0x07 | 0x18 | 0x1a => self.reset(),
            0x1b => self.state = State::TextEscape(count),
            _ if count >= STRING_BYTES_MAX => self.reset(),
            _ => self.state = State::Text(count + 1),
        }
    }
}

/// Whether `ESC [ HELD LAST` only moves, colours, clears or sets a way of showing.
fn is_harmless(held: &[u8], last: u8) -> bool {
    let numbers = |held: &[u8]| {
        let fits = |number: &[u8]| number.len() <= NUMBER_DIGITS_MAX && number.iter().all(u8::is_ascii_digit);
        held.split(|byte| matches!(byte, b';' | b':')).all(fits)
    };
    // Clearing with 3 is to forget what was shown before, which is the person's.
    let forgets =
        |held: &[u8]| held.split(|byte| matches!(byte, b';' | b':')).any(|n| matches!(n, [b'0', .., b'3'] | b"3"));
    match (held, last) {
        // Ways of showing: the cursor, the second screen, brackets around what is pasted. Never reports of mouse or focus, which
        // would outlive the program and be typed into whatever comes next.
        ([b'?', modes @ ..], b'h' | b'l') => modes.split(|byte| *byte == b';').all(|mode| {
            matches!(
                mode,
                b"1" | b"5" | b"6" | b"7" | b"12" | b"25" | b"47" | b"1047" | b"1048" | b"1049" | b"2004" | b"2026"
            )
        }),
        ([b'?', rest @ ..], b'J') => numbers(rest) && !forgets(rest),
        ([b'?', rest @ ..], b'K') => numbers(rest),
        (held, b'J') => numbers(held) && !forgets(held),
        // Of the other modes only inserting: one locks the keyboard, others change what keys and line ends are.
        (b"4", b'h' | b'l') => true,
        // The cursor's form; a soft reset.
        ([rest @ .., b' '], b'q') => numbers(rest),
        (b"!", b'p') => true,
        (
            held,
            b'@'..=b'M'
            | b'P'
            | b'S'
            | b'T'
            | b'X'
            | b'Z'
            | b'`'
            | b'a'
            | b'b'
            | b'd'..=b'g'
            | b'm'
            | b'r'
            | b's'
            | b'u',
        ) => numbers(held),
        _ => false,
    }
}

/// All of `bytes` as text.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    let mut sieve = Sieve::new(Keep::Text);
    let mut text = sieve.pass(bytes);
    text.push_str(&sieve.finish());
    text
}

#[cfg(test)]
mod tests;
