//! JSON Schemas inside an agent's files: read with their places, and asked which paths an input can have.

use serde_json::{Value, json};

use super::fields::{Cx, did_you_mean};
use crate::finding::quote;
use crate::schema::{Schema, schema_findings};
use crate::yaml::{Data, Node};

/// How many `$ref` are followed and branches entered for one placeholder.
const STEPS_MAX: usize = 200;

/// The input of an agent that says nothing about it: any object.
pub fn any_object() -> Value {
    json!({"type": "object"})
}

/// The output of an agent that says nothing about it: `{text}`.
pub fn text_output() -> Value {
    json!({
        "type": "object",
        "properties": {"text": {"type": "string", "description": "The answer."}},
        "required": ["text"],
        "additionalProperties": false
    })
}

/// Reads a schema that must describe an object; one without `type` gets `type: object`.
pub(super) fn read_object(what: &str, node: &Node, cx: &mut Cx<'_>) -> Option<Value> {
    let Data::Map(_) = &node.data else {
        cx.wrong_type(what, "a JSON Schema (a mapping)", node);
        return None;
    };
    warn_of_typos(what, node, cx);
    let mut schema = node.to_json();
    let problems = schema_findings(&schema);
    for problem in &problems {
        let mark = node.nearest(&problem.pointer).mark;
        let at = if problem.pointer.is_empty() { String::new() } else { format!(" at {}", problem.pointer) };
        cx.error(mark, format!("{what} is not a valid JSON Schema{at}: {}", problem.detail), "");
    }
    if !problems.is_empty() {
        return None;
    }
    match schema.get("type") {
        Some(Value::String(kind)) if kind == "object" => {}
        Some(_) => {
            let mark = node.nearest("/type").mark;
            cx.error(
                mark,
                format!("{what} must describe an object"),
                "type: object, with the value as one of its properties",
            );
            return None;
        }
        None => {
            if let Some(fields) = schema.as_object_mut() {
                fields.insert("type".into(), "object".into());
            }
        }
    }
    if let Err(problem) = Schema::compile_located(&schema) {
        cx.error(node.nearest(&problem.pointer).mark, format!("{what}: {}", problem.detail), "");
        return None;
    }
    Some(schema)
}

/// Keywords of the schema language. Others are allowed and mean nothing, which is why a slip of the pen is worth a warning.
const KEYWORDS: &[&str] = &[
    "type",
    "properties",
    "required",
    "items",
    "prefixItems",
    "enum",
    "const",
    "description",
    "title",
    "default",
    "examples",
    "format",
    "pattern",
    "patternProperties",
    "additionalProperties",
    "unevaluatedProperties",
    "unevaluatedItems",
    "propertyNames",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "contains",
    "minContains",
    "maxContains",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependentRequired",
    "dependentSchemas",
    "deprecated",
    "readOnly",
    "writeOnly",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
];

/// Warns of words that are nearly keywords, where a schema stands.
fn warn_of_typos(what: &str, node: &Node, cx: &mut Cx<'_>) {
    let Data::Map(entries) = &node.data else { return };
    for entry in entries {
        let key = entry.key.as_str();
        match (&entry.value.data, key) {
            (Data::Map(named), "properties" | "patternProperties" | "dependentSchemas" | "$defs" | "definitions") => {
                named.iter().for_each(|part| warn_of_typos(what, &part.value, cx));
            }
            (Data::List(parts), "allOf" | "anyOf" | "oneOf" | "prefixItems") => {
                parts.iter().for_each(|part| warn_of_typos(what, part, cx));
            }
            // What stands here is data.
            (_, "const" | "enum" | "default" | "examples") => {}
            (Data::Map(_), _) if KEYWORDS.contains(&key) => warn_of_typos(what, &entry.value, cx),
            _ if KEYWORDS.contains(&key) || key.starts_with(['$', 'x']) || key == "definitions" => {}
            _ => {
                if let Some(hint) = did_you_mean(key, KEYWORDS.iter().copied()) {
                    cx.warning(entry.mark, format!("{} means nothing in {what}", quote(key)), hint);
                }
            }
        }
    }
}

/// Whether a value that fits `schema` can have something at `path`. `false` only when it certainly cannot.
pub(super) fn can_have(schema: &Value, path: &[String]) -> bool {
    let mut steps = 0;
    descend(schema, schema, path, &mut steps)
}

fn descend(root: &Value, schema: &Value, path: &[String], steps: &mut usize) -> bool {
    *steps += 1;
    if *steps > STEPS_MAX {
        return true;
    }
    let Some(fields) = schema.as_object() else {
        // `true` allows everything, `false` nothing.
        return schema.as_bool().unwrap_or(true);
    };
    let Some((key, rest)) = path.split_first() else { return true };
    let mut closed =
        fields.contains_key("properties") || fields.get("additionalProperties") == Some(&Value::Bool(false));
    for branch in branches(root, fields) {
        if descend(root, branch, path, steps) && mentions(branch) {
            return true;
        }
        closed = closed || mentions(branch);
    }
    if let Some(next) = fields.get("properties").and_then(|properties| properties.get(key)) {
        return descend(root, next, rest, steps);
    }
    if key.bytes().all(|byte| byte.is_ascii_digit())
        && (fields.contains_key("items") || fields.contains_key("prefixItems"))
    {
        let index = key.parse::<usize>().unwrap_or(usize::MAX);
        let item = fields.get("prefixItems").and_then(|items| items.get(index)).or_else(|| fields.get("items"));
        return item.is_none_or(|item| descend(root, item, rest, steps));
    }
    if fields.contains_key("patternProperties") {
        return true;
    }
    match fields.get("additionalProperties") {
        Some(Value::Bool(allowed)) => *allowed,
        Some(next) => descend(root, next, rest, steps),
        None => !closed && may_hold(fields, key),
    }
}

/// Whether a schema without properties can be an object, or for an index a list.
fn may_hold(fields: &serde_json::Map<String, Value>, key: &str) -> bool {
    let index = key.bytes().all(|byte| byte.is_ascii_digit());
    let fits = |kind: &Value| kind == "object" || (index && kind == "array");
    match fields.get("type") {
        None => !fields.contains_key("const") && !fields.contains_key("enum"),
        Some(Value::Array(kinds)) => kinds.iter().any(fits),
        Some(kind) => fits(kind),
    }
}

/// Whether a schema says something about the keys of an object.
fn mentions(schema: &Value) -> bool {
    [
        "properties",
        "patternProperties",
        "additionalProperties",
        "items",
        "prefixItems",
        "$ref",
        "allOf",
        "anyOf",
        "oneOf",
    ]
    .iter()
    .any(|key| schema.get(key).is_some())
}

/// The schemas that hold for the same value: a local `$ref`, and the members of the combining keywords.
fn branches<'s>(root: &'s Value, fields: &'s serde_json::Map<String, Value>) -> Vec<&'s Value> {
    let mut found = Vec::new();
    if let Some(pointer) = fields.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'))
    {
        found.extend(root.pointer(pointer));
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        found.extend(fields.get(key).and_then(Value::as_array).into_iter().flatten());
    }
    for key in ["if", "then", "else"] {
        found.extend(fields.get(key));
    }
    found
}
