//! Patterns over canonical paths: literal segments, `*` for one, `/**` at the end for the rest.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Malformed;

/// Longest pattern in bytes.
const PATTERN_BYTES_MAX: usize = 1024;
/// Most segments of one pattern.
const SEGMENTS_MAX: usize = 64;

/// Which paths of an origin may be asked for. Matched against the canonical path alone, without its query.
///
/// `/v1/charges` is that path and no other, not even with a slash at its end; `/v1/*/lines` takes exactly one segment
/// that is not empty; `/v1/**` takes `/v1` and everything below it; `/**` takes every path. Case matters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathPattern {
    segments: Vec<Segment>,
    rest: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Segment {
    Literal(String),
    Any,
}

impl Segment {
    fn matches(&self, segment: &str) -> bool {
        match self {
            Self::Literal(literal) => literal == segment,
            Self::Any => !segment.is_empty(),
        }
    }

    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, Self::Literal(literal)) => !literal.is_empty(),
            (Self::Any, Self::Any) => true,
            (Self::Literal(literal), Self::Literal(other)) => literal == other,
            (Self::Literal(_), Self::Any) => false,
        }
    }
}

impl PathPattern {
    /// `/**`
    pub(super) const fn everything() -> Self {
        Self { segments: Vec::new(), rest: true }
    }

    /// Whether a canonical path is meant. What does not begin with `/` is no path and never is.
    pub fn matches(&self, path: &str) -> bool {
        let Some(path) = path.strip_prefix('/') else { return false };
        let mut given = path.split('/');
        let first = self.segments.iter().all(|segment| given.next().is_some_and(|text| segment.matches(text)));
        first && (self.rest || given.next().is_none())
    }

    /// Whether every path this one takes is taken by `outer` too.
    pub fn is_within(&self, outer: &Self) -> bool {
        let enough = match outer.rest {
            true => self.segments.len() >= outer.segments.len(),
            false => !self.rest && self.segments.len() == outer.segments.len(),
        };
        enough && outer.segments.iter().zip(&self.segments).all(|(outer, inner)| outer.covers(inner))
    }
}

impl FromStr for PathPattern {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(Malformed("the path pattern is longer than 1024 bytes"));
        }
        let Some(inner) = text.strip_prefix('/') else { return Err(Malformed("a path pattern starts with /")) };
        let (inner, rest) = match (inner, inner.strip_suffix("/**")) {
            ("**", _) => return Ok(Self { segments: Vec::new(), rest: true }),
            (_, Some(before)) => (before, true),
            (whole, None) => (whole, false),
        };
        let count = inner.split('/').count();
        if count > SEGMENTS_MAX {
            return Err(Malformed("the path pattern has more than 64 segments"));
        }
        let segments = inner
            .split('/')
            .enumerate()
            .map(|(index, text)| match text {
                "*" => Ok(Segment::Any),
                // A path may end in a slash; what is empty elsewhere has two readings.
                "" if index + 1 == count && !rest => Ok(Segment::Literal(String::new())),
                literal if is_canonical(literal) => Ok(Segment::Literal(literal.to_owned())),
                _ => Err(Malformed(
                    "a segment of a path pattern is `*`, or plain text in its canonical form; `**` stands at the end alone",
                )),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { segments, rest })
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => write!(f, "/{text}")?,
                Segment::Any => f.write_str("/*")?,
            }
        }
        if self.rest { f.write_str("/**") } else { Ok(()) }
    }
}

impl TryFrom<String> for PathPattern {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        text.parse()
    }
}

impl From<PathPattern> for String {
    fn from(pattern: PathPattern) -> Self {
        pattern.to_string()
    }
}

/// Whether a segment is spelled as the canonical path spells it; any other literal could never match.
fn is_canonical(segment: &str) -> bool {
    if matches!(segment, "" | "." | "..") {
        return false;
    }
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        let fine = match byte {
            b'%' => match (bytes.next().and_then(hex), bytes.next().and_then(hex)) {
                (Some(high), Some(low)) => must_be_escaped(high << 4 | low),
                _ => false,
            },
            other => is_unreserved(other) || b"!$&'()+,=:@".contains(&other),
        };
        if !fine {
            return false;
        }
    }
    true
}

/// Upper case alone: the canonical path has no other.
fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

fn must_be_escaped(byte: u8) -> bool {
    byte >= 0x20 && byte != 0x7f && !is_unreserved(byte) && !matches!(byte, b'/' | b'\\' | b';' | b'%')
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}
