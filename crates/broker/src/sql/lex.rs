//! PostgreSQL's lexical rules, for a session in which `standard_conforming_strings` is on and the encoding is UTF-8: both are
//! said at the login, and nothing that changes them is let through.
//!
//! Where versions of the server read a text differently, it is refused: a number that runs into a word, a string that goes on
//! in the next line with escapes.

use super::{Refused, TEXT_BYTES_MAX};

/// One piece of a text. White space and comments are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// A key word or a name without quotes, in lower case.
    Word(String),
    /// A name in double quotes, as it is meant.
    Name(String),
    /// A constant in quotes of any kind. What is in it is data.
    Text,
    /// A number.
    Number,
    /// `$1`
    Parameter,
    /// Any other character.
    Mark(u8),
}

type Result<T> = std::result::Result<T, Refused>;

/// The pieces of a text.
///
/// # Errors
/// [`Refused::Unreadable`]: what the server would not read, or not like this.
pub fn tokens(text: &str) -> Result<Vec<Token>> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Refused::Unreadable("it is too long"));
    }
    // The protocol ends a text at the first one.
    if text.contains('\0') {
        return Err(Refused::Unreadable("it holds a NUL"));
    }
    let mut lexer = Lexer { bytes: text.as_bytes(), text, at: 0 };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next()? {
        tokens.push(token);
    }
    Ok(tokens)
}

struct Lexer<'a> {
    bytes: &'a [u8],
    text: &'a str,
    at: usize,
}

/// Letters that begin a name: what is not ASCII is a letter.
const fn begins_name(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

const fn goes_on_name(byte: u8) -> bool {
    begins_name(byte) || byte.is_ascii_digit() || byte == b'$'
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0c)
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        // NUL is no part of any text that is read.
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn next(&mut self) -> Result<Option<Token>> {
        self.skip_blank()?;
        let Some(&byte) = self.bytes.get(self.at) else { return Ok(None) };
        let token = match byte {
            b'\'' => self.plain_string(1)?,
            b'"' => self.quoted_name(1, false)?,
            b'$' => self.dollar()?,
            b'0'..=b'9' => self.number()?,
            b'.' if self.peek(1).is_ascii_digit() => self.number()?,
            _ if begins_name(byte) => self.word()?,
            b'(' | b')' | b'[' | b']' | b',' | b';' | b':' | b'.' => self.mark(byte),
            b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' => self.mark(byte),
            b'+' | b'-' | b'*' | b'/' | b'%' | b'<' | b'>' | b'=' => self.mark(byte),
            _ => return Err(Refused::Unreadable("it holds a character that no statement has outside of quotes")),
        };
        Ok(Some(token))
    }

    fn mark(&mut self, byte: u8) -> Token {
        self.at += 1;
        Token::Mark(byte)
    }

    /// White space and comments; comments of the form `/* */` are within each other.
    fn skip_blank(&mut self) -> Result<()> {
        loop {
            match (self.peek(0), self.peek(1)) {
                (byte, _) if is_space(byte) => self.at += 1,
                (b'-', b'-') => {
                    let rest = &self.bytes[self.at..];
                    self.at += memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
                }
                (b'/', b'*') => self.skip_comment()?,
                _ => return Ok(()),
            }
        }
    }

    fn skip_comment(&mut self) -> Result<()> {
        let mut depth = 0_usize;
        loop {
            match (self.peek(0), self.peek(1)) {
                (b'/', b'*') => (depth, self.at) = (depth + 1, self.at + 2),
                (b'*', b'/') => (depth, self.at) = (depth - 1, self.at + 2),
                _ if self.at >= self.bytes.len() => return Err(Refused::Unreadable("a comment has no end")),
                _ => self.at += 1,
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    fn word(&mut self) -> Result<Token> {
        match (self.peek(0).to_ascii_lowercase(), self.peek(1), self.peek(2)) {
            (b'e', b'\'', _) => return self.escape_string(),
            (b'b' | b'x' | b'n', b'\'', _) => return self.plain_string(2),
            (b'u', b'&', b'\'') => return self.plain_string(3),
            (b'u', b'&', b'"') => return self.quoted_name(3, true),
            _ => {}
        }
        let length = self.bytes[self.at..].iter().take_while(|byte| goes_on_name(**byte)).count();
        let word = self.slice(self.at, self.at + length).to_ascii_lowercase();
        // A Turkish database makes a plain `i` of it.
        if word.contains('\u{130}') {
            return Err(Refused::Unreadable("a name has a letter that some databases read as another"));
        }
        self.at += length;
        Ok(Token::Word(word))
    }

    /// `'…'`, behind `opening` characters; `''` is a quote. A backslash is one like any other.
    fn plain_string(&mut self, opening: usize) -> Result<Token> {
        self.at += opening;
        self.skip_past(b'\'')?;
        Ok(Token::Text)
    }

    /// `E'…'`, in which a backslash keeps a quote from closing it. One that goes on behind a line break would still be one.
    fn escape_string(&mut self) -> Result<Token> {
        self.at += 2;
        loop {
            match (self.peek(0), self.peek(1)) {
                _ if self.at >= self.bytes.len() => return Err(Refused::Unreadable("a string has no end")),
                (b'\\', _) | (b'\'', b'\'') => self.at += 2,
                (b'\'', _) => break,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        let end = self.at;
        self.skip_blank()?;
        if self.peek(0) == b'\'' {
            return Err(Refused::Unreadable("two strings stand side by side; write them as one"));
        }
        self.at = end;
        Ok(Token::Text)
    }

    /// `"…"`, behind `opening` characters; with `unicode`, `\0041` and `\+000041` are letters.
    fn quoted_name(&mut self, opening: usize, unicode: bool) -> Result<Token> {
        self.at += opening;
        let begin = self.at;
        self.skip_past(b'"')?;
        let name = self.slice(begin, self.at - 1).replace("\"\"", "\"");
        if !unicode {
            return Ok(Token::Name(name));
        }
        let end = self.at;
        self.skip_blank()?;
        let is_other =
            self.slice(self.at, self.bytes.len()).get(..7).is_some_and(|word| word.eq_ignore_ascii_case("uescape"));
        self.at = end;
        match unescaped(&name) {
            Some(name) if !is_other => Ok(Token::Name(name)),
            _ => Err(Refused::Unreadable("a name is written with escapes that are not read here; write it plainly")),
        }
    }

    /// Up to and with the quote that closes; a doubled one does not.
    fn skip_past(&mut self, quote: u8) -> Result<()> {
        loop {
            let found = memchr::memchr(quote, self.bytes.get(self.at..).unwrap_or_default());
            let found = found.ok_or(Refused::Unreadable("a quote is not closed"))?;
            self.at += found + 1;
            if self.peek(0) != quote {
                return Ok(());
            }
            self.at += 1;
        }
    }

    /// `$1`, or a string in dollar quotes: `$$…$$`, `$tag$…$tag$`.
    fn dollar(&mut self) -> Result<Token> {
        let rest = &self.bytes[self.at + 1..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits > 0 {
            self.at += 1 + digits;
            return self.ended(Token::Parameter);
        }
        let tag = rest.iter().take_while(|byte| goes_on_name(**byte) && **byte != b'$').count();
        if rest.get(tag) != Some(&b'$') {
            return Err(Refused::Unreadable("a dollar sign begins nothing"));
        }
        let delimiter = &self.bytes[self.at..self.at + tag + 2];
        let begin = self.at + delimiter.len();
        let found = memchr::memmem::find(&self.bytes[begin..], delimiter);
        let found = found.ok_or(Refused::Unreadable("a dollar quote is not closed"))?;
        self.at = begin + found + delimiter.len();
        Ok(Token::Text)
    }

    /// `1`, `1.5`, `.5`, `1e-3`: what every version reads as one number.
    fn number(&mut self) -> Result<Token> {
        self.skip_digits();
        if self.peek(0) == b'.' {
            self.at += 1;
            self.skip_digits();
        }
        if matches!(self.peek(0), b'e' | b'E') {
            let sign = usize::from(matches!(self.peek(1), b'+' | b'-'));
            if self.peek(1 + sign).is_ascii_digit() {
                self.at += 1 + sign;
                self.skip_digits();
            }
        }
        self.ended(Token::Number)
    }

    fn skip_digits(&mut self) {
        while self.peek(0).is_ascii_digit() {
            self.at += 1;
        }
    }

    /// A number with nothing behind it that some version reads as a part of it.
    fn ended(&self, token: Token) -> Result<Token> {
        match self.peek(0) {
            byte if goes_on_name(byte) || matches!(byte, b'\'' | b'"') => {
                Err(Refused::Unreadable("a number runs into a word; put a space between"))
            }
            _ => Ok(token),
        }
    }

    /// Its ends are at characters that are ASCII.
    fn slice(&self, from: usize, to: usize) -> &str {
        self.text.get(from..to).unwrap_or_default()
    }
}

/// A name with its escapes resolved; `None` for one that is malformed or half of a pair.
fn unescaped(name: &str) -> Option<String> {
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (skip, digits) = match rest.as_bytes().first()? {
            b'\\' => {
                out.push('\\');
                rest = &rest[1..];
                continue;
            }
            b'+' => (1, 6),
            _ => (0, 4),
        };
        let code = rest.get(skip..skip + digits)?;
        let plain = code.bytes().all(|byte| byte.is_ascii_hexdigit());
        out.push(char::from_u32(u32::from_str_radix(code, 16).ok().filter(|_| plain)?)?);
        rest = &rest[skip + digits..];
    }
    out.push_str(rest);
    Some(out)
}
