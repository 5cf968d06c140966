//! What a schema may cost: a bound on compiling it, and one on holding a value against it.
//!
//! The validator recurses along references and repeats work wherever two of them lead to the same place: a small hostile
//! schema could overflow its stack or keep it busy for years. Both are worked out here beforehand, in time that is
//! polynomial and limited, by walking schema and value as the validator would and remembering every pair.
//!
//! For that every reference must be one this walk can follow, so those of other documents, dynamic ones and embedded
//! documents (`$id` below the top) are refused.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use crate::FieldError;

/// Most levels of all parts that references lead to, added up: how deep compiling can recurse.
pub const REACH_MAX: usize = 800;
/// Most schemas for the same value, references written out, beside an `unevaluated…` keyword: the library compiles every
/// one of them again for it.
pub const UNEVALUATED_PARTS_MAX: u64 = 60;
/// Deepest recursion of one check.
pub const CHECK_DEPTH_MAX: usize = 400;
/// Most steps of one check.
pub const CHECK_STEPS_MAX: u64 = 2_000_000;
/// Most steps of a check that says what is wrong and where; above, only that something is.
pub const DETAIL_STEPS_MAX: u64 = 100_000;
/// Most pairs of a schema and a value looked at while working out the steps.
const PAIRS_MAX: usize = 500_000;
/// Bytes of text that count as one step of a pattern.
const PATTERN_BYTES: usize = 32;

/// Keywords with one schema.
const ONE: &[&str] = &[
    "not",
    "if",
    "then",
    "else",
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
    "items",
    "contains",
    "unevaluatedItems",
    "additionalItems",
];
/// Keywords with a list of schemas; `items` in older drafts.
const LIST: &[&str] = &["allOf", "anyOf", "oneOf", "prefixItems", "items"];
/// Keywords with named schemas.
const NAMED: &[&str] = &["properties", "patternProperties", "dependentSchemas", "dependencies", "$defs", "definitions"];

type Fields = Map<String, Value>;

fn listed<'s>(fields: &'s Fields, key: &str) -> impl Iterator<Item = &'s Value> {
    fields.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn named<'s>(fields: &'s Fields, key: &str) -> impl Iterator<Item = (&'s String, &'s Value)> {
    fields.get(key).and_then(Value::as_object).into_iter().flatten()
}

/// Every schema directly inside another, with its pointer from there.
fn parts(fields: &Fields) -> impl Iterator<Item = (String, &Value)> {
    let one = ONE.iter().filter_map(|key| Some((format!("/{key}"), fields.get(*key)?)));
    let lists = LIST
        .iter()
        .flat_map(|key| listed(fields, key).enumerate().map(move |(index, part)| (format!("/{key}/{index}"), part)));
    let maps = NAMED.iter().flat_map(|key| {
        named(fields, key)
            .map(move |(name, part)| (format!("/{key}/{}", name.replace('~', "~0").replace('/', "~1")), part))
    });
    one.chain(lists).chain(maps)
}

/// What is the same document and the same part of it.
fn address(value: &Value) -> usize {
    std::ptr::from_ref(value).addr()
}

/// The references of one document.
#[derive(Debug)]
struct References<'s> {
    root: &'s Value,
    /// Parts by `$anchor`; gathered when the first reference asks for one.
    anchors: OnceCell<HashMap<&'s str, &'s Value>>,
}

impl<'s> References<'s> {
    fn of(root: &'s Value) -> Self {
        Self { root, anchors: OnceCell::new() }
    }

    fn anchored(&self) -> HashMap<&'s str, &'s Value> {
        let mut anchors = HashMap::new();
        let mut waiting = vec![self.root];
        while let Some(part) = waiting.pop() {
            let Some(fields) = part.as_object() else { continue };
            if let Some(name) = fields.get("$anchor").and_then(Value::as_str) {
                anchors.insert(name, part);
            }
            waiting.extend(parts(fields).map(|(_, part)| part));
        }
        anchors
    }

    /// Where a reference leads: `#`, `#/a/pointer` or `#anchor`.
    fn target(&self, reference: &str) -> Option<&'s Value> {
        let fragment = reference.strip_prefix('#')?;
        if fragment.is_empty() || fragment.starts_with('/') {
            self.root.pointer(fragment)
        } else {
            self.anchors.get_or_init(|| self.anchored()).get(fragment).copied()
        }
    }

    /// The schemas that hold for the same value as this one.
    fn same(&self, fields: &'s Fields) -> impl Iterator<Item = &'s Value> {
        let reference = fields.get("$ref").and_then(Value::as_str).and_then(|text| self.target(text));
        let one = ["not", "if", "then", "else"].into_iter().filter_map(|key| fields.get(key));
        let lists = ["allOf", "anyOf", "oneOf"].into_iter().flat_map(|key| listed(fields, key));
        let maps =
            ["dependentSchemas", "dependencies"].into_iter().flat_map(|key| named(fields, key).map(|(_, part)| part));
        reference.into_iter().chain(one).chain(lists).chain(maps)
    }

    /// How many schemas hold for the same value when every reference is written out.
    fn written_out(&self, part: &'s Value, known: &mut HashMap<usize, u64>) -> u64 {
        let Some(fields) = part.as_object() else { return 1 };
        if let Some(parts) = known.get(&address(part)) {
            return *parts;
        }
        known.insert(address(part), 0);
        let parts = self.same(fields).fold(1u64, |sum, part| sum.saturating_add(self.written_out(part, known)));
        known.insert(address(part), parts);
        parts
    }
}

/// Checks that every reference can be followed and that compiling stays within [`REACH_MAX`] and [`UNEVALUATED_PARTS_MAX`].
///
/// # Errors
/// The first place where that is not so.
pub(super) fn check_shape(root: &Value) -> Result<(), FieldError> {
    let mut shape =
        Shape { references: References::of(root), waiting: vec![(String::new(), root)], unevaluated: Vec::new() };
    let mut seen = HashSet::new();
    let mut reach = 0;
    while let Some((pointer, part)) = shape.waiting.pop() {
        if seen.insert(address(part)) {
            reach += shape.height(part, &pointer)?;
        }
        if reach > REACH_MAX {
            return Err(refuse(&pointer, "too many nested parts refer to each other"));
        }
    }
    let mut known = HashMap::new();
    for (pointer, part) in &shape.unevaluated {
        if shape.references.written_out(part, &mut known) > UNEVALUATED_PARTS_MAX {
            return Err(refuse(pointer, "unevaluatedProperties and unevaluatedItems stand beside too many parts"));
        }
    }
    Ok(())
}

fn refuse(pointer: &str, detail: &str) -> FieldError {
    FieldError::new(pointer, "schema", detail)
}

/// What a walk over a document has met.
struct Shape<'s> {
    references: References<'s>,
    /// What references lead to, with the pointer of the reference.
    waiting: Vec<(String, &'s Value)>,
    /// Every schema with `unevaluated…`.
    unevaluated: Vec<(String, &'s Value)>,
}

impl<'s> Shape<'s> {
    /// How many levels a part has; notes what it refers to.
    fn height(&mut self, part: &'s Value, pointer: &str) -> Result<usize, FieldError> {
        let Some(fields) = part.as_object() else { return Ok(1) };
        let at = |key: &str| format!("{pointer}/{key}");
        for key in ["$dynamicRef", "$recursiveRef"] {
            if fields.contains_key(key) {
                return Err(refuse(&at(key), &format!("`{key}` is not supported: use $ref")));
            }
        }
        if !std::ptr::eq(part, self.references.root) && fields.get("$id").is_some_and(Value::is_string) {
            return Err(refuse(&at("$id"), "`$id` is not supported below the top of a schema"));
        }
        if let Some(reference) = fields.get("$ref") {
            let Some(target) = reference.as_str().and_then(|text| self.references.target(text)) else {
                let detail = "a $ref cannot be followed: only parts of the same schema can, like #/$defs/name";
                return Err(refuse(&at("$ref"), detail));
            };
            self.waiting.push((at("$ref"), target));
        }
        if looks_twice(fields) {
            self.unevaluated.push((pointer.to_owned(), part));
        }
        let mut deepest = 0;
        for (step, inner) in parts(fields) {
            deepest = deepest.max(self.height(inner, &format!("{pointer}{step}"))?);
        }
        Ok(1 + deepest)
    }
}

/// Whether a schema asks its parts what they have looked at.
fn looks_twice(fields: &Fields) -> bool {
    fields.contains_key("unevaluatedProperties") || fields.contains_key("unevaluatedItems")
}

/// More than one of the limits of a check allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooCostly;

/// The steps of holding `value` against `schema`, at most [`CHECK_STEPS_MAX`].
///
/// # Errors
/// When it would take more steps, or recurse deeper than [`CHECK_DEPTH_MAX`].
pub(super) fn steps(schema: &Value, value: &Value) -> Result<u64, TooCostly> {
    Meter { references: References::of(schema), pairs: HashMap::new(), depth: 0 }.steps(schema, value)
}

struct Meter<'s> {
    references: References<'s>,
    /// Steps by addresses of schema and value; zero while they are being worked out.
    pairs: HashMap<(usize, usize), u64>,
    depth: usize,
}

impl<'s> Meter<'s> {
    fn steps(&mut self, schema: &'s Value, value: &Value) -> Result<u64, TooCostly> {
        let Some(fields) = schema.as_object() else { return Ok(1) };
        let pair = (address(schema), address(value));
        if let Some(known) = self.pairs.get(&pair) {
            return Ok(*known);
        }
        self.depth += 1;
        if self.depth > CHECK_DEPTH_MAX || self.pairs.len() >= PAIRS_MAX {
            return Err(TooCostly);
        }
        self.pairs.insert(pair, 0);
        let mut steps = self.same(fields, value)?;
        if looks_twice(fields) {
            // It asks every part a second time what it has looked at.
            steps = steps.saturating_mul(2);
        }
        steps = steps.saturating_add(leaf(fields, value));
        steps = steps.saturating_add(match value {
            Value::Object(members) => self.members(fields, members)?,
            Value::Array(items) => self.items(fields, items)?,
            _ => 0,
        });
        if steps > CHECK_STEPS_MAX {
            return Err(TooCostly);
        }
        self.pairs.insert(pair, steps);
        self.depth -= 1;
        Ok(steps)
    }

    /// Schemas for the same value.
    fn same(&mut self, fields: &'s Fields, value: &Value) -> Result<u64, TooCostly> {
        let parts: Vec<&'s Value> = self.references.same(fields).collect();
        parts.into_iter().try_fold(0u64, |sum, part| Ok(sum.saturating_add(self.steps(part, value)?)))
    }

    /// Schemas for the members of an object.
    fn members(&mut self, fields: &'s Fields, members: &Fields) -> Result<u64, TooCostly> {
        let mut steps = 0u64;
        let properties = fields.get("properties").and_then(Value::as_object);
        for (name, member) in members {
            steps = steps.saturating_add(1);
            let own = properties.and_then(|properties| properties.get(name));
            let patterns = named(fields, "patternProperties").map(|(_, part)| part);
            let others = if own.is_some() { None } else { fields.get("additionalProperties") };
            let rest = others.into_iter().chain(fields.get("unevaluatedProperties"));
            for part in own.into_iter().chain(patterns).chain(rest) {
                steps = steps.saturating_add(self.steps(part, member)?);
            }
            if let Some(names) = fields.get("propertyNames") {
                steps = steps.saturating_add(self.steps(names, &Value::Null)?);
            }
        }
        Ok(steps)
    }

    /// Schemas for the items of a list.
    fn items(&mut self, fields: &'s Fields, items: &[Value]) -> Result<u64, TooCostly> {
        let mut steps = 0u64;
        let each = ["items", "contains", "unevaluatedItems", "additionalItems"];
        for (index, item) in items.iter().enumerate() {
            steps = steps.saturating_add(1);
            let placed = ["prefixItems", "items"].into_iter().filter_map(|key| fields.get(key)?.get(index));
            let all = each.into_iter().filter_map(|key| fields.get(key)).filter(|part| !part.is_array());
            for part in placed.chain(all) {
                steps = steps.saturating_add(self.steps(part, item)?);
            }
        }
        Ok(steps)
    }
}

/// What a schema costs without its parts.
fn leaf(fields: &Fields, value: &Value) -> u64 {
    let length = |key: &str| fields.get(key).and_then(Value::as_array).map_or(0, Vec::len);
    let pattern = match value {
        Value::String(text) if fields.contains_key("pattern") => text.len() / PATTERN_BYTES,
        _ => 0,
    };
    1 + u64::try_from(length("enum") / 8 + length("required") / 8 + pattern).unwrap_or(u64::MAX - 1)
}

#[cfg(test)]
mod tests;
