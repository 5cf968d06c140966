//! A JSON value with `{{path}}` in its texts, filled in from a message.

use serde_json::{Map, Value};

use super::{Message, Path};

/// Largest template, as JSON.
pub const TEMPLATE_BYTES_MAX: usize = 64 * 1024;
/// Placeholders of one template.
pub const PLACEHOLDERS_MAX: usize = 200;

/// A template whose every placeholder was read. `{{body.x}}` as a whole text is the value as it is, null when there is none;
/// inside a text it is inserted as text. `{{body.x | 3}}` has a default: JSON, or else the text as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Template(Node);

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Literal(Value),
    Whole(Placeholder),
    Text(Vec<Piece>),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Literal(String),
    Insert(Placeholder),
}

#[derive(Debug, Clone, PartialEq)]
struct Placeholder {
    path: Path,
    default: Value,
}

/// What was filled in became too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the input would be larger than {limit_bytes} bytes")]
pub struct RenderError {
    /// The limit.
    pub limit_bytes: usize,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// Where (a JSON Pointer into the template), and what is wrong there.
    pub fn new(value: &Value) -> Result<Self, (String, String)> {
        if value.to_string().len() > TEMPLATE_BYTES_MAX {
            return Err((String::new(), format!("at most {TEMPLATE_BYTES_MAX} bytes")));
        }
        let mut left = PLACEHOLDERS_MAX;
        node(value, &mut left).map(Self)
    }

    /// The value for a message, at most `bytes_max` of what is inserted.
    ///
    /// # Errors
    /// [`RenderError`] when it would be more.
    pub fn render(&self, message: &Message, bytes_max: usize) -> Result<Value, RenderError> {
        Rendering { message, left: bytes_max, limit_bytes: bytes_max }.value(&self.0)
    }
}

fn node(value: &Value, left: &mut usize) -> Result<Node, (String, String)> {
    let within = |part: &str, (pointer, error): (String, String)| {
        (format!("/{}{pointer}", part.replace('~', "~0").replace('/', "~1")), error)
    };
    Ok(match value {
        Value::String(text) => pieces(text, left).map_err(|error| (String::new(), error))?,
        Value::Array(items) => {
            let items = items.iter().enumerate();
            let items = items.map(|(index, item)| node(item, left).map_err(|error| within(&index.to_string(), error)));
            Node::List(items.collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, field)| {
                node(field, left).map(|node| (name.clone(), node)).map_err(|error| within(name, error))
            });
            Node::Object(fields.collect::<Result<_, _>>()?)
        }
        literal => Node::Literal(literal.clone()),
    })
}

fn pieces(text: &str, left: &mut usize) -> Result<Node, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, from)) = rest.split_once("{{") {
        let (inside, after) = from.split_once("}}").ok_or("a placeholder has no end: write {{body.field}}")?;
        *left = left.checked_sub(1).ok_or_else(|| format!("at most {PLACEHOLDERS_MAX} placeholders"))?;
        if !before.is_empty() {
            pieces.push(Piece::Literal(before.to_owned()));
        }
        pieces.push(Piece::Insert(placeholder(inside)?));
        rest = after;
    }
    match pieces.as_mut_slice() {
        [] => return Ok(Node::Literal(Value::String(text.to_owned()))),
        [Piece::Insert(_)] if rest.is_empty() => {
            if let Some(Piece::Insert(whole)) = pieces.pop() {
                return Ok(Node::Whole(whole));
            }
        }
        _ => {}
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest.to_owned()));
    }
    Ok(Node::Text(pieces))
}

fn placeholder(inside: &str) -> Result<Placeholder, String> {
    let (path, default) = match inside.split_once('|') {
        None => (inside, Value::Null),
        Some((path, default)) => {
            let default = default.trim();
            (path, serde_json::from_str(default).unwrap_or_else(|_| Value::String(default.to_owned())))
        }
    };
    Ok(Placeholder { path: path.trim().parse()?, default })
}

struct Rendering<'m> {
    message: &'m Message,
    left: usize,
    limit_bytes: usize,
}

impl Rendering<'_> {
    fn value(&mut self, node: &Node) -> Result<Value, RenderError> {
        Ok(match node {
            Node::Literal(value) => value.clone(),
            Node::Whole(placeholder) => {
                let found = placeholder.path.find(self.message);
                let value = found.map_or_else(|| placeholder.default.clone(), super::Found::to_value);
                self.spend(value.to_string().len())?;
                value
            }
            Node::Text(pieces) => {
                let mut text = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Literal(literal) => text.push_str(literal),
                        Piece::Insert(placeholder) => self.insert(placeholder, &mut text)?,
                    }
                }
                Value::String(text)
            }
            Node::List(items) => Value::Array(items.iter().map(|item| self.value(item)).collect::<Result<_, _>>()?),
            Node::Object(fields) => {
                let fields = fields.iter().map(|(name, field)| Ok((name.clone(), self.value(field)?)));
                Value::Object(fields.collect::<Result<Map<_, _>, _>>()?)
            }
        })
    }

    fn insert(&mut self, placeholder: &Placeholder, text: &mut String) -> Result<(), RenderError> {
        let found = placeholder.path.find(self.message);
        let value = found.map_or_else(|| placeholder.default.clone(), super::Found::to_value);
        let inserted = match value {
            Value::Null => String::new(),
            Value::String(inserted) => inserted,
            value => value.to_string(),
        };
        self.spend(inserted.len())?;
        text.push_str(&inserted);
        Ok(())
    }

    fn spend(&mut self, bytes: usize) -> Result<(), RenderError> {
        self.left = self.left.checked_sub(bytes).ok_or(RenderError { limit_bytes: self.limit_bytes })?;
        Ok(())
    }
}
