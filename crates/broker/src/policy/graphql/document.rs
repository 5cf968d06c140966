//! A GraphQL document, as far as it says what is asked for: its operations, and the fields of their outermost selections.
//!
//! What lies further in is stepped over by its brackets. A document that a server can read has them where they seem to be,
//! because the words are split exactly as the language says; one that no server can read does nothing. Where servers differ
//! in how they split (block strings with quotes in them, line ends beyond ASCII) it is not read at all.

use std::collections::{BTreeMap, BTreeSet};

use livery_core::connector::GraphqlKind;

use super::Unreadable;

/// Most words and marks of one document.
const TOKENS_MAX: usize = 20_000;
/// Deepest nesting of brackets, and of selections without a field around them.
const DEPTH_MAX: usize = 100;
/// Most operations of one document, and most fragments.
const DEFINITIONS_MAX: usize = 100;
/// Most fields that all operations of one document ask for, those of a fragment counted for each that uses it.
const ASKED_MAX: usize = 20_000;

/// One operation, whether or not it is the one that is executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// What it is.
    pub kind: GraphqlKind,
    /// What it asks for: names of fields, never aliases; those of fragments among them.
    pub fields: BTreeSet<String>,
}

/// All operations of a document, at least one.
///
/// # Errors
/// [`Unreadable`]: it is not a document of operations and fragments, or one that not all servers read in the same way.
pub fn operations(text: &str) -> Result<Vec<Operation>, Unreadable> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0 };
    let (mut operations, mut fragments) = (Vec::new(), BTreeMap::new());
    while parser.at < parser.tokens.len() {
        match parser.definition()? {
            Definition::Operation(kind, asked) => operations.push((kind, asked)),
            Definition::Fragment(name, asked) => {
                if fragments.insert(name, asked).is_some() {
                    return Err(Unreadable("two fragments have one name"));
                }
            }
        }
        if operations.len() > DEFINITIONS_MAX || fragments.len() > DEFINITIONS_MAX {
            return Err(Unreadable("it has too many operations or fragments"));
        }
    }
    if operations.is_empty() {
        return Err(Unreadable("it has no operation"));
    }
    let mut left = ASKED_MAX;
    let whole = |(kind, asked): (GraphqlKind, Asked<'_>)| {
        asked.fields(&fragments, &mut left).map(|fields| Operation { kind, fields })
    };
    operations.into_iter().map(whole).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'t> {
    Name(&'t str),
    /// One of `! $ & ( ) : = @ [ ] { | }`.
    Mark(u8),
    /// `...`
    Spread,
    /// A number or a string: what it says does not matter here.
    Literal,
}

fn tokens(text: &str) -> Result<Vec<Token<'_>>, Unreadable> {
    let strange =
        |c: char| (c.is_control() && !matches!(c, '\t' | '\n' | '\r')) || matches!(c, '\u{2028}' | '\u{2029}');
    if text.contains(strange) {
        return Err(Unreadable("it has control characters"));
    }
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.bytes().next() {
        let length = match first {
            b' ' | b'\t' | b'\n' | b'\r' | b',' => 1,
            b'#' => rest.find(['\n', '\r']).unwrap_or(rest.len()),
            _ => {
                let (token, length) = token(rest, first)?;
                tokens.push(token);
                length
            }
        };
        rest = &rest[length..];
        if tokens.len() > TOKENS_MAX {
            return Err(Unreadable("it is too long"));
        }
    }
    Ok(tokens)
}

/// The token at the beginning, and its bytes.
fn token(rest: &str, first: u8) -> Result<(Token<'_>, usize), Unreadable> {
    let while_any = |is: fn(u8) -> bool| rest.bytes().position(|byte| !is(byte)).unwrap_or(rest.len());
    match first {
        b'A'..=b'Z' | b'a'..=b'z' | b'_' => {
            let length = while_any(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            Ok((Token::Name(&rest[..length]), length))
        }
        b'-' | b'0'..=b'9' => {
            let length = while_any(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'+' | b'-'));
            // JSON and the language write numbers alike.
            let number = serde_json::from_str::<serde_json::Number>(&rest[..length]);
            number.map(|_| (Token::Literal, length)).map_err(|_| Unreadable("a number is malformed"))
        }
        b'"' => Ok((Token::Literal, string(rest)?)),
        b'!' | b'$' | b'&' | b'(' | b')' | b':' | b'=' | b'@' | b'[' | b']' | b'{' | b'|' | b'}' => {
            Ok((Token::Mark(first), 1))
        }
        b'.' if rest.starts_with("...") => Ok((Token::Spread, 3)),
        _ => Err(Unreadable("it has a character that means nothing")),
    }
}

/// The bytes of the string at the beginning.
fn string(rest: &str) -> Result<usize, Unreadable> {
    const BLOCK: &str = "\"\"\"";
    if let Some(inside) = rest.strip_prefix(BLOCK) {
        // A server that knows no block strings sees three strings here, as long as none of the quotes is inside.
        let end = inside.find('"').filter(|end| inside[*end..].starts_with(BLOCK) && !inside[..*end].ends_with('\\'));
        let end = end.filter(|end| !inside[end + BLOCK.len()..].starts_with('"'));
        return end.map(|end| end + 2 * BLOCK.len()).ok_or(Unreadable("a block string has a quote in it, or no end"));
    }
    let mut bytes = rest.bytes().enumerate().skip(1);
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return Ok(at + 1),
            b'\n' | b'\r' => break,
            b'\\' => match bytes.next() {
                Some((_, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't')) => {}
                // Who takes any four characters for digits would see the string end elsewhere.
                Some((at, b'u')) if is_code(&rest[at + 1..]) => {}
                _ => break,
            },
            _ => {}
        }
    }
    Err(Unreadable("a string is malformed or has no end"))
}

/// Whether four hex digits, or some in braces, stand behind a `\u`.
fn is_code(rest: &str) -> bool {
    let is_hex = |digits: &str| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    match rest.strip_prefix('{') {
        Some(inside) => inside.split_once('}').is_some_and(|(digits, _)| is_hex(digits)),
        None => rest.get(..4).is_some_and(is_hex),
    }
}

enum Definition<'t> {
    Operation(GraphqlKind, Asked<'t>),
    Fragment(&'t str, Asked<'t>),
}

/// The outermost fields of a selection, and the fragments that stand among them.
#[derive(Default)]
struct Asked<'t> {
    fields: BTreeSet<&'t str>,
    spreads: BTreeSet<&'t str>,
}

impl<'t> Asked<'t> {
    /// With the fields of the fragments, and of theirs, as long as there are any `left`.
    fn fields(
        &self,
        fragments: &BTreeMap<&'t str, Asked<'t>>,
        left: &mut usize,
    ) -> Result<BTreeSet<String>, Unreadable> {
        let mut fields = BTreeSet::new();
        let mut add = |asked: &Asked<'t>| {
            *left = left.checked_sub(asked.fields.len()).ok_or(Unreadable("it asks for too much"))?;
            fields.extend(asked.fields.iter().map(|field| (*field).to_owned()));
            Ok(())
        };
        add(self)?;
        let mut seen = BTreeSet::new();
        let mut open: Vec<&str> = self.spreads.iter().copied().collect();
        while let Some(name) = open.pop() {
            if seen.insert(name) {
                let fragment = fragments.get(name).ok_or(Unreadable("it uses a fragment that it does not have"))?;
                add(fragment)?;
                open.extend(&fragment.spreads);
            }
        }
        Ok(fields)
    }
}

struct Parser<'t> {
    tokens: Vec<Token<'t>>,
    at: usize,
}

impl<'t> Parser<'t> {
    fn definition(&mut self) -> Result<Definition<'t>, Unreadable> {
        if self.peek() == Some(Token::Mark(b'{')) {
            return Ok(Definition::Operation(GraphqlKind::Query, self.selection()?));
        }
        let kind = match self.name()? {
            "query" => GraphqlKind::Query,
            "mutation" => GraphqlKind::Mutation,
            "subscription" => GraphqlKind::Subscription,
            "fragment" => {
                let name = self.name()?;
                if name == "on" || self.name()? != "on" {
                    return Err(Unreadable("a fragment is malformed"));
                }
                self.name()?;
                self.directives()?;
                return Ok(Definition::Fragment(name, self.selection()?));
            }
            _ => return Err(Unreadable("it has something other than operations and fragments")),
        };
        if matches!(self.peek(), Some(Token::Name(_))) {
            self.at += 1;
        }
        self.step_over(b'(')?;
        self.directives()?;
        Ok(Definition::Operation(kind, self.selection()?))
    }

    fn selection(&mut self) -> Result<Asked<'t>, Unreadable> {
        let mut asked = Asked::default();
        self.select(&mut asked, 0)?;
        Ok(asked)
    }

    /// `{ field alias: field(…) @if(…) { … } ...name ... on Type { … } }`
    fn select(&mut self, asked: &mut Asked<'t>, depth: usize) -> Result<(), Unreadable> {
        if depth > DEPTH_MAX || self.next() != Some(Token::Mark(b'{')) {
            return Err(Unreadable("a selection is missing or nested too deeply"));
        }
        let begun = self.at;
        loop {
            match self.next() {
                Some(Token::Mark(b'}')) if self.at > begun + 1 => return Ok(()),
                Some(Token::Name(name)) => {
                    asked.fields.insert(self.field(name)?);
                }
                Some(Token::Spread) => self.spread(asked, depth)?,
                _ => return Err(Unreadable("a selection is malformed")),
            }
        }
    }

    /// Behind a field's first word: its name, which stands second where there is an alias.
    fn field(&mut self, first: &'t str) -> Result<&'t str, Unreadable> {
        let mut name = first;
        if self.peek() == Some(Token::Mark(b':')) {
            self.at += 1;
            name = self.name()?;
        }
        self.step_over(b'(')?;
        self.directives()?;
        self.step_over(b'{')?;
        Ok(name)
    }

    /// Behind `...`.
    fn spread(&mut self, asked: &mut Asked<'t>, depth: usize) -> Result<(), Unreadable> {
        match self.peek() {
            Some(Token::Name("on")) => {
                self.at += 1;
                self.name()?;
            }
            Some(Token::Name(name)) => {
                self.at += 1;
                asked.spreads.insert(name);
                return self.directives();
            }
            _ => {}
        }
        self.directives()?;
        self.select(asked, depth + 1)
    }

    fn directives(&mut self) -> Result<(), Unreadable> {
        while self.peek() == Some(Token::Mark(b'@')) {
            self.at += 1;
            self.name()?;
            self.step_over(b'(')?;
        }
        Ok(())
    }

    /// Steps over what this bracket opens, if it is next.
    fn step_over(&mut self, opening: u8) -> Result<(), Unreadable> {
        if self.peek() != Some(Token::Mark(opening)) {
            return Ok(());
        }
        let mut open = Vec::new();
        loop {
            match self.next() {
                Some(Token::Mark(b'(')) => open.push(b')'),
                Some(Token::Mark(b'[')) => open.push(b']'),
                Some(Token::Mark(b'{')) => open.push(b'}'),
                Some(Token::Mark(closing @ (b')' | b']' | b'}'))) if open.pop() != Some(closing) => break,
                None => break,
                Some(_) => {}
            }
            if open.is_empty() {
                return Ok(());
            }
            if open.len() > DEPTH_MAX {
                break;
            }
        }
        Err(Unreadable("its brackets do not match, or are nested too deeply"))
    }

    fn name(&mut self) -> Result<&'t str, Unreadable> {
        match self.next() {
            Some(Token::Name(name)) => Ok(name),
            _ => Err(Unreadable("a name is missing")),
        }
    }

    fn peek(&self) -> Option<Token<'t>> {
        self.tokens.get(self.at).copied()
    }

    fn next(&mut self) -> Option<Token<'t>> {
        let token = self.peek()?;
        self.at += 1;
        Some(token)
    }
}
