//! The prompt: text with `{{input.x}}` placeholders.
//!
//! A placeholder names a path into the run's input. Its value is inserted as text and never looked at again, so an input
//! cannot bring placeholders of its own. `\{{` is a literal `{{`. Rendering cannot fail: what could is found while parsing,
//! and the length is checked with the input.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::finding::{Findings, Mark, quote};

/// Most placeholders of one prompt.
pub const PLACEHOLDERS_MAX: usize = 256;
/// Longest prompt after its placeholders are filled, in bytes.
pub const RENDERED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A parsed prompt. JSON shows its source text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prompt {
    source: String,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Input(Vec<String>),
}

/// A placeholder and where it stands, for checks against a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placeholder {
    pub(super) path: Vec<String>,
    pub(super) mark: Mark,
}

impl Prompt {
    /// Parses a prompt that stands alone.
    ///
    /// # Errors
    /// The first thing wrong, as `prompt:line:column message (hint)`.
    pub fn parse(source: &str) -> Result<Self, String> {
        let mut findings = Findings::new();
        let (prompt, _) = parse("prompt", source, 0, &mut findings);
        match findings.into_vec().first() {
            Some(finding) => Err(finding.to_string()),
            None => Ok(prompt),
        }
    }

    /// The text as written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether there is nothing but white space.
    pub fn is_empty(&self) -> bool {
        self.source.trim().is_empty()
    }

    /// The prompt for this input. Text goes in as it is, everything else as JSON, an absent value as nothing.
    ///
    /// [`Agent::check_input`](super::Agent::check_input) refuses an input that makes more than [`RENDERED_BYTES_MAX`] bytes;
    /// one that came past it loses the values that do not fit, visibly.
    pub fn render(&self, input: &Value) -> String {
        const LEFT_OUT: &str = "(left out: the prompt would be too long)";
        let mut out = String::with_capacity(self.source.len());
        self.each_part(input, |part| {
            out.push_str(if out.len() + part.len() > RENDERED_BYTES_MAX { LEFT_OUT } else { part });
        });
        out
    }

    /// How long the prompt would be with every value in it.
    pub(super) fn rendered_bytes(&self, input: &Value) -> usize {
        let mut bytes = 0usize;
        self.each_part(input, |part| bytes = bytes.saturating_add(part.len()));
        bytes
    }

    fn each_part(&self, input: &Value, mut part: impl FnMut(&str)) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => part(text),
                Piece::Input(path) => match lookup(input, path) {
                    None => {}
                    Some(Value::String(text)) => part(text),
                    Some(value) => part(&value.to_string()),
                },
            }
        }
    }
}

fn lookup<'v>(input: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(input, |value, key| match value {
        Value::Object(fields) => fields.get(key),
        Value::Array(items) => key.parse::<usize>().ok().and_then(|index| items.get(index)),
        _ => None,
    })
}

/// Parses the prompt of `file`, which begins after `lines_before` lines; answers with every placeholder of the input.
pub(super) fn parse(
    file: &str,
    source: &str,
    lines_before: usize,
    findings: &mut Findings,
) -> (Prompt, Vec<Placeholder>) {
    let mut pieces = Vec::new();
    let mut placeholders = Vec::new();
    let mut text = String::new();
    for (index, line) in source.split_inclusive('\n').enumerate() {
        let mut rest = line;
        while let Some(start) = rest.find("{{") {
            let before = &rest[..start];
            if let Some(before) = before.strip_suffix('\\') {
                text.push_str(before);
                text.push_str("{{");
                rest = &rest[start + 2..];
                continue;
            }
            let column = line[..line.len() - rest.len() + start].chars().count() + 1;
            let mark = Mark::new(lines_before + index + 1, column);
            text.push_str(before);
            let inner = &rest[start + 2..];
            let Some(end) = inner.find("}}") else {
                findings.error(
                    file,
                    mark,
                    "this placeholder has no `}}` in its line",
                    "close it, or write \\{{ for a literal {{",
                );
                text.push_str("{{");
                rest = inner;
                continue;
            };
            rest = &inner[end + 2..];
            match path(&inner[..end]) {
                Ok(path) => {
                    if !text.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut text)));
                    }
                    pieces.push(Piece::Input(path.clone()));
                    placeholders.push(Placeholder { path, mark });
                }
                Err(problem) => findings.error(file, mark, problem, "write {{input.name}}, or \\{{ for a literal {{"),
            }
        }
        text.push_str(rest);
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    if let Some(extra) = placeholders.get(PLACEHOLDERS_MAX) {
        findings.error(file, extra.mark, format!("more than {PLACEHOLDERS_MAX} placeholders"), "insert whole objects");
        placeholders.truncate(PLACEHOLDERS_MAX);
    }
    (Prompt { source: source.to_owned(), pieces }, placeholders)
}

/// The path of a placeholder below `input`.
fn path(inner: &str) -> Result<Vec<String>, String> {
    let inner = inner.trim();
    let mut parts = inner.split('.');
    if parts.next() != Some("input") {
        return Err(format!("unknown placeholder {}", quote(inner)));
    }
    let path: Vec<String> = parts.map(str::to_owned).collect();
    let word = |part: &String| {
        !part.is_empty() && part.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '_' | '-' | '$'))
    };
    if path.iter().all(word) { Ok(path) } else { Err(format!("{} is no path into the input", quote(inner))) }
}

impl Serialize for Prompt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}

impl<'de> Deserialize<'de> for Prompt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let source = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&source).map_err(serde::de::Error::custom)
    }
}
