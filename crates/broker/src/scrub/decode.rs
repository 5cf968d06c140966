//! Decoders for the spellings that can be mixed byte by byte: percent-encoding, JSON escapes, HTML entities; line breaks inside
//! a wrapped encoding go with JSON. Each says what the bytes at a lead stand for. They never fail: what is no escape is what it
//! looks like.

/// Longest run of backslashes taken as one escape.
const BACKSLASHES_MAX: usize = 16;
/// Longest entity, `&` and `;` included.
const ENTITY_BYTES_MAX: usize = 12;
/// The most bytes that can leave it open whether they are an escape: all backslashes, `u` and three digits.
pub(super) const UNFINISHED_MAX: usize = BACKSLASHES_MAX + 4;

/// Bytes that are looked at one by one before a search for the next escape pays.
const NEARBY: usize = 8;

/// One of the decoders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `%41`
    Percent,
    /// `\u0041`, `\/`, `\"`, and the same behind several backslashes (JSON inside JSON). CR and LF are dropped, as they stand
    /// and as `\r` and `\n`: what is left is unwrapped.
    Json,
    /// `&#65;`, `&#x41;`, `&amp;`
    Html,
}

/// What the bytes at a lead are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The first `length` are an escape.
    Escape { length: usize, means: Meaning },
    /// So many backslashes that escape each other: two are one, an odd one out stays.
    Slashes { count: usize },
    /// The first is what it looks like.
    Plain,
    /// That takes more bytes to tell; at the end of the stream they are what they look like.
    Unfinished,
}

/// What an escape stands for: at most the three bytes of one UTF-8 character, or nothing. The count lies above them: one word
/// that stays in a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meaning(u32);

impl Meaning {
    const NOTHING: Self = Self(0);

    const fn byte(byte: u8) -> Self {
        Self(u32::from_le_bytes([byte, 0, 0, 1]))
    }

    /// A character that JSON writes with four digits; half a pair is unreadable.
    fn character(code: u32) -> Self {
        let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
        let mut utf8 = [0; 4];
        character.encode_utf8(&mut utf8);
        utf8[3] = u8::try_from(character.len_utf8().min(3)).unwrap_or(3);
        Self(u32::from_le_bytes(utf8))
    }

    /// So many of these bytes.
    pub(super) fn bytes(self) -> ([u8; 3], usize) {
        let [a, b, c, count] = self.0.to_le_bytes();
        ([a, b, c], usize::from(count))
    }

    /// Without a line break.
    fn unwrapped(self) -> Self {
        if self == Self::byte(b'\r') || self == Self::byte(b'\n') { Self::NOTHING } else { self }
    }
}

impl Kind {
    /// Where the next escape may begin; a text without one decodes to itself.
    pub(super) fn next_lead(self, text: &[u8]) -> Option<usize> {
        match self {
            Self::Percent => memchr::memchr(b'%', text),
            Self::Json => memchr::memchr3(b'\\', b'\r', b'\n', text),
            Self::Html => memchr::memchr(b'&', text),
        }
    }

    /// The same where another escape has just been: the next is probably near.
    pub(super) fn lead_nearby(self, text: &[u8]) -> Option<usize> {
        let (near, far) = text.split_at(text.len().min(NEARBY));
        near.iter().position(|byte| self.is_lead(*byte)).or_else(|| self.next_lead(far).map(|at| near.len() + at))
    }

    fn is_lead(self, byte: u8) -> bool {
        match self {
            Self::Percent => byte == b'%',
            Self::Json => matches!(byte, b'\\' | b'\r' | b'\n'),
            Self::Html => byte == b'&',
        }
    }

    /// Reads at a lead: `text` begins with one.
    #[inline]
    pub(super) fn step(self, text: &[u8]) -> Step {
        match self {
            Self::Percent => percent(text),
            Self::Json => json(text),
            Self::Html => html(text),
        }
    }
}

#[inline]
fn percent(text: &[u8]) -> Step {
    let digit = |at: usize| text.get(at).map(|byte| hex(*byte));
    match (digit(1), digit(2)) {
        (Some(Some(high)), Some(Some(low))) => Step::Escape { length: 3, means: Meaning::byte(high << 4 | low) },
        (Some(None), _) | (_, Some(None)) => Step::Plain,
        _ => Step::Unfinished,
    }
}

#[inline]
fn json(text: &[u8]) -> Step {
    let slashes = text.iter().take(BACKSLASHES_MAX).take_while(|byte| **byte == b'\\').count();
    if slashes == 0 {
        let length = text.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        return Step::Escape { length, means: Meaning::NOTHING };
    }
    let Some(next) = text.get(slashes) else { return Step::Unfinished };
    let control = match next {
        b'"' | b'/' | b'\'' => return Step::Escape { length: slashes + 1, means: Meaning::byte(*next) },
        b'u' => return json_digits(text, slashes),
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        _ => return halved(slashes),
    };
    match slashes {
        1 => Step::Escape { length: 2, means: Meaning::byte(control).unwrapped() },
        // `\\\n` is a backslash and a line break.
        odd if odd % 2 == 1 => Step::Slashes { count: odd - 1 },
        even => Step::Slashes { count: even },
    }
}

/// After `\u`: four hex digits, or it is no escape.
#[inline]
fn json_digits(text: &[u8], slashes: usize) -> Step {
    let digits = &text[slashes + 1..];
    let mut code = 0;
    for at in 0..4 {
        match digits.get(at).map(|digit| hex(*digit)) {
            Some(Some(digit)) => code = code << 4 | u32::from(digit),
            Some(None) => return halved(slashes),
            None => return Step::Unfinished,
        }
    }
    Step::Escape { length: slashes + 5, means: Meaning::character(code).unwrapped() }
}

fn halved(slashes: usize) -> Step {
    if slashes == 1 { Step::Plain } else { Step::Slashes { count: slashes } }
}

#[inline]
fn html(text: &[u8]) -> Step {
    let within = &text[..text.len().min(ENTITY_BYTES_MAX)];
    let is_inside = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'#';
    match within.iter().skip(1).position(|byte| !is_inside(byte)).map(|at| at + 1) {
        Some(end) if within[end] == b';' => match entity(&within[1..end]) {
            Some(byte) => Step::Escape { length: end + 1, means: Meaning::byte(byte) },
            None => Step::Plain,
        },
        None if within.len() < ENTITY_BYTES_MAX => Step::Unfinished,
        _ => Step::Plain,
    }
}

#[inline]
fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// The byte of an entity's inside, for the characters that occur in keys.
pub(super) fn entity(name: &[u8]) -> Option<u8> {
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
