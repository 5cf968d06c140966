//! Just enough of Rust's lexical grammar to tell code from text and comments: what a rule about words needs, and no more.
//!
//! A word inside a string or a comment must not count as code, and a rule about strings must not read comments. Parsing
//! stops here; a syntax tree would be a dependency as heavy as the rest of the chores together.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A word: keyword, name or number.
    Word,
    /// The inside of a string literal of any sort, escapes left as written.
    Text,
    /// A comment with its slashes.
    Comment,
    /// One character of punctuation, or a whole character literal or lifetime.
    Sign,
}

/// One token and where it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its characters.
    pub text: &'a str,
    /// Line from 1.
    pub line: usize,
}

/// The tokens of a file. Text that ends inside a literal ends the list; the compiler complains about such a file.
pub fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut lexer = Lexer { source, at: 0, line: 1, out: Vec::new() };
    while lexer.step() {}
    lexer.out
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    line: usize,
    out: Vec<Token<'a>>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    /// Takes one token; false at the end.
    fn step(&mut self) -> bool {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return false };
        if first.is_whitespace() {
            self.skip(first.len_utf8());
        } else if rest.starts_with("//") {
            self.take(Kind::Comment, 0, rest.find('\n').unwrap_or(rest.len()), 0);
        } else if rest.starts_with("/*") {
            self.take(Kind::Comment, 0, block_comment(rest), 0);
        } else if let Some((open, inside, close)) = string(rest) {
            self.take(Kind::Text, open, inside, close);
        } else if first == '\'' {
            self.take(Kind::Sign, 0, character_or_lifetime(rest), 0);
        } else if is_word(first) {
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            self.take(Kind::Word, 0, end, 0);
        } else {
            self.take(Kind::Sign, 0, first.len_utf8(), 0);
        }
        true
    }

    /// Emits `inside` bytes after `open` bytes, and moves behind `close` more.
    fn take(&mut self, kind: Kind, open: usize, inside: usize, close: usize) {
        let text = &self.rest()[open..open + inside];
        self.out.push(Token { kind, text, line: self.line });
        self.skip(open + inside + close);
    }

    fn skip(&mut self, bytes: usize) {
        self.line += self.rest()[..bytes].matches('\n').count();
        self.at += bytes;
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Length of a block comment, which nests.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// (opening, inside, closing) lengths of a string literal of any prefix, raw or not.
fn string(rest: &str) -> Option<(usize, usize, usize)> {
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|prefix| {
        let after = rest.strip_prefix(prefix);
        after.is_some_and(|after| after.starts_with('"') || (prefix.ends_with('r') && is_raw_opening(after)))
    })?;
    let after = &rest[prefix.len()..];
    if prefix.ends_with('r') {
        let hashes = after.find('"')?;
        let open = prefix.len() + hashes + 1;
        let closing = format!("\"{}", &after[..hashes]);
        let inside = rest[open..].find(&closing)?;
        return Some((open, inside, closing.len()));
    }
    let open = prefix.len() + 1;
    let mut escaped = false;
    for (at, c) in rest[open..].char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some((open, at, 1)),
            _ => {}
        }
    }
    None
}

/// `#"` with any number of `#`: a raw string, where `r#name` is a raw word.
fn is_raw_opening(after: &str) -> bool {
    after.trim_start_matches('#').starts_with('"')
}

/// Length of `'a'`, `'\n'`, `'\u{1F600}'` or a lifetime.
fn character_or_lifetime(rest: &str) -> usize {
    let inside = &rest[1..];
    if let Some(escape) = inside.strip_prefix('\\') {
        // The escaped character itself may be a quote, so the search starts behind it.
        let skip = escape.chars().next().map_or(0, char::len_utf8);
        return escape[skip..].find('\'').map_or(rest.len(), |end| 2 + skip + end + 1);
    }
    let first = inside.chars().next().map_or(0, char::len_utf8);
    if inside[first..].starts_with('\'') {
        return 1 + first + 1;
    }
    1 + inside.find(|c| !is_word(c)).unwrap_or(inside.len())
}

#[cfg(test)]
mod tests;
