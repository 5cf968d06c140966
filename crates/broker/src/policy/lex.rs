//! From text to tokens, each with its place.

use super::Fault;

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A name or a keyword.
    Word(String),
    /// A string, its escapes undone; the second is the same as a pattern, when `\*` or `*` is in it.
    Text(String, Vec<Piece>),
    /// A whole number.
    Whole(i64),
    /// Punctuation.
    Mark(&'static str),
    /// The end of the text.
    End,
}

/// One character of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    /// Itself.
    One(char),
    /// Any characters, or none.
    Any,
    /// Itself, which only a pattern can say: `\*`.
    Star,
}

/// A token and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) token: Token,
    pub(super) line: usize,
    pub(super) column: usize,
}

/// Longer marks first: `==` is not two `=`.
const MARKS: &[&str] = &[
    "==", "!=", "<=", ">=", "&&", "||", "::", "(", ")", "{", "}", "[", "]", ",", ";", ":", ".", "@", "<", ">", "!",
    "+", "-", "*", "?",
];

struct Lexer<'t> {
    rest: std::iter::Peekable<std::str::Chars<'t>>,
    line: usize,
    column: usize,
}

/// All tokens of a text, [`Token::End`] last.
pub(super) fn tokens(text: &str) -> Result<Vec<Placed>, Fault> {
    let mut lexer = Lexer { rest: text.chars().peekable(), line: 1, column: 1 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip();
        let (line, column) = (lexer.line, lexer.column);
        let token = lexer.token().map_err(|detail| Fault { line, column, detail })?;
        let end = token == Token::End;
        tokens.push(Placed { token, line, column });
        if end {
            return Ok(tokens);
        }
    }
}

impl Lexer<'_> {
    fn next(&mut self) -> Option<char> {
        let character = self.rest.next()?;
        (self.line, self.column) = if character == '\n' { (self.line + 1, 1) } else { (self.line, self.column + 1) };
        Some(character)
    }

    fn is_ahead(&self, mark: &str) -> bool {
        let mut ahead = self.rest.clone();
        mark.chars().all(|character| ahead.next() == Some(character))
    }

    /// White space and comments.
    fn skip(&mut self) {
        loop {
            if self.is_ahead("//") {
                while self.rest.peek().is_some_and(|next| *next != '\n') {
                    self.next();
                }
            }
            if !self.rest.peek().is_some_and(|next| next.is_whitespace()) {
                return;
            }
            self.next();
        }
    }

    fn token(&mut self) -> Result<Token, String> {
        let Some(first) = self.rest.peek().copied() else { return Ok(Token::End) };
        if first == '"' {
            self.next();
            return self.text();
        }
        if first.is_ascii_digit() {
            let digits = self.run(|next| next.is_ascii_digit());
            return digits.parse().map(Token::Whole).map_err(|_| format!("{digits} is more than a Long holds"));
        }
        if first.is_ascii_alphabetic() || first == '_' {
            return Ok(Token::Word(self.run(|next| next.is_ascii_alphanumeric() || next == '_')));
        }
        let mark =
            MARKS.iter().find(|mark| self.is_ahead(mark)).ok_or_else(|| format!("{first:?} means nothing here"))?;
        for _ in mark.chars() {
            self.next();
        }
        Ok(Token::Mark(mark))
    }

    fn run(&mut self, belongs: impl Fn(char) -> bool) -> String {
        let mut run = String::new();
        while let Some(next) = self.rest.peek().copied().filter(|next| belongs(*next)) {
            run.push(next);
            self.next();
        }
        run
    }

    fn text(&mut self) -> Result<Token, String> {
        let (mut text, mut pattern) = (String::new(), Vec::new());
        loop {
            let piece = match self.next().ok_or("a string has no end")? {
                '"' => return Ok(Token::Text(text, pattern)),
                '*' => {
                    text.push('*');
                    pattern.push(Piece::Any);
                    continue;
                }
                '\\' => self.escape()?,
                character => Piece::One(character),
            };
            if let Piece::One(character) = piece {
                text.push(character);
            }
            pattern.push(piece);
        }
    }

    fn escape(&mut self) -> Result<Piece, String> {
        let unknown =
            || "an escape is \\n, \\r, \\t, \\0, \\\\, \\', \\\", \\x.., \\u{..}, or \\* in a pattern".to_owned();
        let character = match self.next().ok_or_else(unknown)? {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            '0' => '\0',
            same @ ('\\' | '\'' | '"') => same,
            '*' => return Ok(Piece::Star),
            'x' => {
                let digits: String = [self.next(), self.next()].into_iter().flatten().collect();
                let code = u8::from_str_radix(&digits, 16).map_err(|_| unknown())?;
                char::from(code).is_ascii().then_some(char::from(code)).ok_or_else(unknown)?
            }
            'u' if self.next() == Some('{') => {
                let digits = self.run(|next| next.is_ascii_hexdigit());
                let code = u32::from_str_radix(&digits, 16).map_err(|_| unknown())?;
                (self.next() == Some('}')).then(|| char::from_u32(code)).flatten().ok_or_else(unknown)?
            }
            _ => return Err(unknown()),
        };
        Ok(Piece::One(character))
    }
}
