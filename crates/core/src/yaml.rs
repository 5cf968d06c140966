//! YAML 1.2 as a tree that knows where everything stands, for files people write.
//!
//! Only what JSON can hold comes through: text keys, no tags but the core ones, no infinities. Depth, nodes and expanded text
//! are bounded while reading, so neither deep nesting nor aliases of aliases cost more than the limits below. Duplicate
//! keys are findings, never "the last one wins".
//!
//! [`agent`](crate::agent) reads its files with this; so does anything else that wants line and column in its messages.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use serde_json::{Map, Number, Value};

use crate::finding::{Findings, Mark, quote};

/// Largest YAML text, in bytes.
pub const YAML_BYTES_MAX: usize = 256 * 1024;
/// Deepest nesting.
pub const YAML_DEPTH_MAX: usize = 64;
/// Most nodes, those that aliases repeat included.
pub const YAML_NODES_MAX: usize = 20_000;
/// Most bytes of text in all nodes, those that aliases repeat included.
pub const YAML_TEXT_BYTES_MAX: usize = 4 * YAML_BYTES_MAX;

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it begins.
    pub mark: Mark,
    /// What it is.
    pub data: Data,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`; `yes`, `no`, `on` and `off` are text in YAML 1.2.
    Bool(bool),
    /// A finite number.
    Number(Number),
    /// Text.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file, keys unique.
    Map(Vec<Entry>),
}

/// One key of a mapping with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key begins.
    pub mark: Mark,
    /// The value.
    pub value: Node,
}

impl Node {
    /// What it is, for a message: `a number`, `a list`, …
    pub fn kind(&self) -> &'static str {
        match self.data {
            Data::Null => "nothing",
            Data::Bool(_) => "true or false",
            Data::Number(_) => "a number",
            Data::Text(_) => "text",
            Data::List(_) => "a list",
            Data::Map(_) => "a mapping",
        }
    }

    /// The same as JSON, without places.
    pub fn to_json(&self) -> Value {
        match &self.data {
            Data::Null => Value::Null,
            Data::Bool(value) => Value::Bool(*value),
            Data::Number(number) => Value::Number(number.clone()),
            Data::Text(text) => Value::String(text.clone()),
            Data::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Data::Map(entries) => Value::Object(
                entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect::<Map<_, _>>(),
            ),
        }
    }

    /// The node at a JSON Pointer, or the nearest one above it that exists.
    pub fn nearest(&self, pointer: &str) -> &Self {
        let mut node = self;
        for part in pointer.split('/').skip(1) {
            let part = part.replace("~1", "/").replace("~0", "~");
            let next = match &node.data {
                Data::Map(entries) => entries.iter().find(|entry| entry.key == part).map(|entry| &entry.value),
                Data::List(items) => part.parse::<usize>().ok().and_then(|index| items.get(index)),
                _ => None,
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node
    }
}

/// Reads one document. `lines_before` is added to every line, for YAML inside another file.
///
/// `None` when there is no value to go on with: the text breaks the grammar or a limit. Some findings (a duplicate key, a tag)
/// leave a value, so that the rest can be checked too. An empty text is [`Data::Null`].
pub fn parse(file: &str, text: &str, lines_before: usize, findings: &mut Findings) -> Option<Node> {
    if text.len() > YAML_BYTES_MAX {
        findings.error(
            file,
            Mark::START,
            format!("the YAML is larger than {YAML_BYTES_MAX} bytes"),
            "move long text into files",
        );
        return None;
    }
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        file,
        lines_before,
        findings,
        anchors: HashMap::new(),
        nodes: 0,
        text_bytes: 0,
    };
    reader.document().ok()
}

/// Reading cannot go on; the finding is already noted.
struct Stop;

/// A node with what it costs to repeat it.
struct Anchored {
    node: Node,
    nodes: usize,
    text_bytes: usize,
}

struct Reader<'t, 'f> {
    parser: Parser<'t, StrInput<'t>>,
    file: &'f str,
    lines_before: usize,
    findings: &'f mut Findings,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
    text_bytes: usize,
}

impl<'t> Reader<'t, '_> {
    fn mark(&self, span: Span) -> Mark {
        Mark::new(span.start.line() + self.lines_before, span.start.col() + 1)
    }

    fn stop(&mut self, mark: Mark, message: &str, hint: &str) -> Stop {
        self.findings.error(self.file, mark, message, hint);
        Stop
    }

    fn next(&mut self) -> Result<(Event<'t>, Mark), Stop> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, self.mark(span))),
            Some(Err(error)) => Err(self.grammar(&error)),
            None => Ok((Event::StreamEnd, Mark::START)),
        }
    }

    fn grammar(&mut self, error: &ScanError) -> Stop {
        let mark = Mark::new(error.marker().line() + self.lines_before, error.marker().col() + 1);
        let message = format!("not valid YAML: {}", error.info());
        self.stop(mark, &message, "check indentation, colons and quotes")
    }

    fn document(&mut self) -> Result<Node, Stop> {
        let node = loop {
            match self.next()? {
                (Event::StreamStart | Event::DocumentStart(_) | Event::Nothing, _) => {}
                (Event::StreamEnd | Event::DocumentEnd, mark) => return Ok(Node { mark, data: Data::Null }),
                (event, mark) => break self.node(event, mark, 1)?,
            }
        };
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(node),
                (Event::DocumentStart(_), mark) => {
                    return Err(self.stop(mark, "a second YAML document begins here", "keep one document"));
                }
                _ => {}
            }
        }
    }

    fn node(&mut self, event: Event<'t>, mark: Mark, depth: usize) -> Result<Node, Stop> {
        if depth > YAML_DEPTH_MAX {
            return Err(self.stop(mark, &format!("nested deeper than {YAML_DEPTH_MAX} levels"), "flatten it"));
        }
        let before = (self.nodes, self.text_bytes);
        let (anchor, data) = match event {
            Event::Alias(anchor) => return self.alias(anchor, mark, depth),
            Event::Scalar(text, style, anchor, tag) => {
                self.charge(1, text.len(), mark)?;
                (anchor, self.scalar(text, style, tag.as_deref(), mark))
            }
            Event::SequenceStart(anchor, tag) => {
                self.charge(1, 0, mark)?;
                self.collection_tag(tag.as_deref(), "seq", mark);
                (anchor, self.list(depth)?)
            }
            Event::MappingStart(anchor, tag) => {
                self.charge(1, 0, mark)?;
                self.collection_tag(tag.as_deref(), "map", mark);
                (anchor, self.map(depth)?)
            }
            _ => return Err(self.stop(mark, "not valid YAML: a value is missing here", "")),
        };
        let node = Node { mark, data };
        if anchor != 0 {
            let (nodes, text_bytes) = (self.nodes - before.0, self.text_bytes - before.1);
            self.anchors.insert(anchor, Anchored { node: node.clone(), nodes, text_bytes });
        }
        Ok(node)
    }

    fn charge(&mut self, nodes: usize, text_bytes: usize, mark: Mark) -> Result<(), Stop> {
        self.nodes = self.nodes.saturating_add(nodes);
        self.text_bytes = self.text_bytes.saturating_add(text_bytes);
        if self.nodes > YAML_NODES_MAX || self.text_bytes > YAML_TEXT_BYTES_MAX {
            let message = format!(
                "more than {YAML_NODES_MAX} values or {YAML_TEXT_BYTES_MAX} bytes of text, aliases written out"
            );
            return Err(self.stop(mark, &message, "use fewer aliases"));
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, mark: Mark, depth: usize) -> Result<Node, Stop> {
        let Some(anchored) = self.anchors.get(&anchor) else {
            return Err(self.stop(mark, "this alias is inside the value it names", "write the value out"));
        };
        let (nodes, text_bytes) = (anchored.nodes, anchored.text_bytes);
        let too_deep = depth + height(&anchored.node) > YAML_DEPTH_MAX + 1;
        self.charge(nodes, text_bytes, mark)?;
        if too_deep {
            return Err(self.stop(mark, &format!("nested deeper than {YAML_DEPTH_MAX} levels"), "flatten it"));
        }
        let data = self.anchors.get(&anchor).map_or(Data::Null, |anchored| anchored.node.data.clone());
        Ok(Node { mark, data })
    }

    fn list(&mut self, depth: usize) -> Result<Data, Stop> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Data::List(items)),
                (event, mark) => items.push(self.node(event, mark, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Data, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut lines: HashMap<String, u32> = HashMap::new();
        loop {
            let (event, mark) = self.next()?;
            // A key is its text as written, so that `8080:` and `true:` are keys and not surprises.
            let key = match event {
                Event::MappingEnd => return Ok(Data::Map(entries)),
                Event::Scalar(text, _, _, None) => text.into_owned(),
                _ => return Err(self.stop(mark, "a key must be plain text", "quote it")),
            };
            self.charge(0, key.len(), mark)?;
            let (event, value_mark) = self.next()?;
            let value = self.node(event, value_mark, depth + 1)?;
            match lines.get(&key) {
                Some(line) => {
                    let message = format!("the key {} is here twice", quote(&key));
                    self.findings.error(self.file, mark, message, format!("the first is in line {line}"));
                }
                None => {
                    lines.insert(key.clone(), mark.line);
                    entries.push(Entry { key, mark, value });
                }
            }
        }
    }

    fn scalar(&mut self, text: Cow<'t, str>, style: ScalarStyle, tag: Option<&Tag>, mark: Mark) -> Data {
        match tag {
            Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => return Data::Text(text.into_owned()),
            Some(tag)
                if !(tag.is_yaml_core_schema() && matches!(tag.suffix.as_str(), "int" | "float" | "bool" | "null")) =>
            {
                self.unknown_tag(tag, mark);
                return Data::Text(text.into_owned());
            }
            _ => {}
        }
        if style != ScalarStyle::Plain {
            return Data::Text(text.into_owned());
        }
        match resolve(&text) {
            Ok(Some(data)) => data,
            Ok(None) => Data::Text(text.into_owned()),
            Err(NotFinite) => {
                let hint = "use a number that JSON can hold, or quote it as text";
                self.findings.error(self.file, mark, format!("{} is no usable number", quote(&text)), hint);
                Data::Null
            }
        }
    }

    fn collection_tag(&mut self, tag: Option<&Tag>, expected: &str, mark: Mark) {
        if let Some(tag) = tag
            && !(tag.is_yaml_core_schema() && tag.suffix == expected)
        {
            self.unknown_tag(tag, mark);
        }
    }

    fn unknown_tag(&mut self, tag: &Tag, mark: Mark) {
        let message = format!("the tag {} has no meaning here", quote(&tag.to_string()));
        self.findings.error(self.file, mark, message, "leave it out");
    }
}

/// How many levels a node has, itself included.
fn height(node: &Node) -> usize {
    1 + match &node.data {
        Data::List(items) => items.iter().map(height).max().unwrap_or(0),
        Data::Map(entries) => entries.iter().map(|entry| height(&entry.value)).max().unwrap_or(0),
        _ => 0,
    }
}

/// A number that JSON cannot hold.
struct NotFinite;

/// The core schema of YAML 1.2 (§10.3.2); `None` is text.
fn resolve(text: &str) -> Result<Option<Data>, NotFinite> {
    Ok(Some(match text {
        "" | "~" | "null" | "Null" | "NULL" => Data::Null,
        "true" | "True" | "TRUE" => Data::Bool(true),
        "false" | "False" | "FALSE" => Data::Bool(false),
        _ => return number(text),
    }))
}

fn number(text: &str) -> Result<Option<Data>, NotFinite> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN") {
        return Err(NotFinite);
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix)
            && !digits.is_empty()
            && digits.chars().all(|digit| digit.is_digit(radix))
        {
            return u64::from_str_radix(digits, radix)
                .map(|value| Some(Data::Number(value.into())))
                .map_err(|_| NotFinite);
        }
    }
    let numeric = unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && unsigned.contains(|letter: char| letter.is_ascii_digit())
        && unsigned.chars().all(|letter| matches!(letter, '0'..='9' | '.' | 'e' | 'E' | '+' | '-'));
    if !numeric {
        return Ok(None);
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    if let Ok(value) = text.parse::<u64>() {
        return Ok(Some(Data::Number(value.into())));
    }
    if let Ok(value) = text.parse::<i64>() {
        return Ok(Some(Data::Number(value.into())));
    }
    if unsigned.chars().all(|letter| letter.is_ascii_digit()) {
        // Beyond 64 bits: as a float it would be another number.
        return Err(NotFinite);
    }
    match text.parse::<f64>() {
        Ok(value) => Number::from_f64(value).map(|number| Some(Data::Number(number))).ok_or(NotFinite),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests;
