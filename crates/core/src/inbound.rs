//! What a stranger posts, and how it becomes an agent's input: the body read, values looked up by path, conditions, a
//! template filled in.
//!
//! Everything here is fed by whoever knows an address, before and after a signature was checked. So every size has a limit, and
//! what is inserted is never read again as a template.

mod form;
mod template;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use template::{PLACEHOLDERS_MAX, RenderError, TEMPLATE_BYTES_MAX, Template};

/// Parts of one path.
pub const PATH_PARTS_MAX: usize = 32;
/// Longest path.
pub const PATH_BYTES_MAX: usize = 256;
/// Conditions of one filter.
pub const CONDITIONS_MAX: usize = 32;
/// Values one condition allows.
pub const CONDITION_VALUES_MAX: usize = 100;
/// Fields of one form.
pub const FORM_FIELDS_MAX: usize = 1_000;

/// A message that came in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message {
    /// The body as JSON; null when there was none.
    pub body: Value,
    /// Header fields, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Query parameters.
    pub query: BTreeMap<String, String>,
}

/// Why a body cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Neither JSON nor a form.
    #[error("the body is neither JSON nor a form")]
    Type,
    /// It says it is JSON, or a form, and is not.
    #[error("the body cannot be read: {0}")]
    Malformed(String),
}

/// Reads a body by its media type: JSON, or a form. A form with a field `payload` that is JSON is that JSON, as several
/// services send it. Without a media type it has to be JSON.
///
/// # Errors
/// Another media type, or bytes that are not what it says.
pub fn read_body(media_type: Option<&str>, bytes: &[u8]) -> Result<Value, BodyError> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let media_type =
        media_type.unwrap_or("application/json").split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    match media_type.as_str() {
        "application/x-www-form-urlencoded" => {
            let form = form::read(bytes)?;
            let payload = form.get("payload").and_then(Value::as_str).map(serde_json::from_str);
            Ok(match payload {
                Some(Ok(payload)) => payload,
                _ => Value::Object(form),
            })
        }
        json if json == "application/json" || (json.starts_with("application/") && json.ends_with("+json")) => {
            // Deeply nested bodies are refused by the reader itself.
            serde_json::from_slice(bytes).map_err(|error| BodyError::Malformed(error.to_string()))
        }
        _ => Err(BodyError::Type),
    }
}

/// A query string as parameters; of several with one name the last counts, and what cannot be read is left out.
pub fn read_query(query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).take(FORM_FIELDS_MAX);
    let decoded = pairs.filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((form::decode(name.as_bytes()).ok()?, form::decode(value.as_bytes()).ok()?))
    });
    decoded.collect()
}

/// A place in a message: `body`, `body.a.b`, `body.list.0`, `headers.x-name`, `query.name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    root: Root,
    parts: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Root {
    Body,
    Headers,
    Query,
}

impl std::str::FromStr for Path {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            let shown: String = text.chars().take(40).collect();
            format!("`{shown}` {what}; a path is body, body.field.0, headers.name or query.name")
        };
        if text.len() > PATH_BYTES_MAX {
            return Err(wrong("is too long"));
        }
        let mut parts = text.split('.').map(str::to_owned);
        let root = match parts.next().as_deref() {
            Some("body") => Root::Body,
            Some("headers") => Root::Headers,
            Some("query") => Root::Query,
            _ => return Err(wrong("begins with none of body, headers and query")),
        };
        let mut parts: Vec<String> = parts.collect();
        if parts.len() > PATH_PARTS_MAX {
            return Err(wrong("has too many parts"));
        }
        if parts.iter().any(|part| part.is_empty() || part.contains(['{', '}', '|', ' '])) {
            return Err(wrong("has an empty part, or one with a blank, brace or bar"));
        }
        if root != Root::Body && parts.len() != 1 {
            return Err(wrong("names no single field"));
        }
        if root == Root::Headers {
            parts.iter_mut().for_each(|part| part.make_ascii_lowercase());
        }
        Ok(Self { root, parts })
    }
}

impl Path {
    /// What is there; nothing where there is no such place.
    pub fn find<'m>(&self, message: &'m Message) -> Option<Found<'m>> {
        let named =
            |fields: &'m BTreeMap<String, String>| fields.get(self.parts.first()?).map(|text| Found::Text(text));
        match self.root {
            Root::Headers => named(&message.headers),
            Root::Query => named(&message.query),
            Root::Body => {
                let found = self.parts.iter().try_fold(&message.body, |value, part| match value {
                    Value::Object(fields) => fields.get(part),
                    Value::Array(items) => items.get(part.parse::<usize>().ok()?),
                    _ => None,
                });
                found.map(Found::Value)
            }
        }
    }
}

/// A value of a message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Found<'m> {
    /// Part of the body.
    Value(&'m Value),
    /// A header field or query parameter.
    Text(&'m str),
}

impl Found<'_> {
    /// It as JSON of its own.
    pub fn to_value(self) -> Value {
        match self {
            Self::Value(value) => value.clone(),
            Self::Text(text) => Value::String(text.to_owned()),
        }
    }

    fn equals(self, other: &Value) -> bool {
        match self {
            Self::Value(value) => value == other,
            Self::Text(text) => other.as_str() == Some(text),
        }
    }
}

/// Conditions a message has to meet, by path: each allows some values.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Filter(pub BTreeMap<String, Vec<Value>>);

impl Filter {
    /// Looks at every path and count.
    ///
    /// # Errors
    /// The path, and what is wrong with it.
    pub fn check(&self) -> Result<(), (String, String)> {
        if self.0.len() > CONDITIONS_MAX {
            return Err((String::new(), format!("at most {CONDITIONS_MAX} conditions")));
        }
        for (path, allowed) in &self.0 {
            path.parse::<Path>().map_err(|error| (path.clone(), error))?;
            if allowed.is_empty() || allowed.len() > CONDITION_VALUES_MAX {
                return Err((path.clone(), format!("1 to {CONDITION_VALUES_MAX} values")));
            }
        }
        Ok(())
    }

    /// Whether the message meets every condition.
    pub fn matches(&self, message: &Message) -> bool {
        self.0.iter().all(|(path, allowed)| {
            let found = path.parse::<Path>().ok();
            let found = found.as_ref().and_then(|path| path.find(message));
            found.is_some_and(|found| allowed.iter().any(|value| found.equals(value)))
        })
    }
}

#[cfg(test)]
mod tests;
