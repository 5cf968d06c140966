//! JSON Schema 2020-12 with limits: compile once, report every finding as a [`FieldError`].
//!
//! Schemas come from tenants, so: no remote `$ref` (the `jsonschema` crate is built without resolvers), bounded size and
//! depth, and a regular-expression engine without backtracking.

use serde_json::Value;

use crate::FieldError;

/// Largest schema, as JSON text.
pub const SCHEMA_BYTES_MAX: usize = 128 * 1024;
/// Deepest nesting of a schema document.
pub const SCHEMA_DEPTH_MAX: usize = 64;
/// Most findings reported for one value.
pub const FINDINGS_MAX: usize = 20;
/// Longest sentence of one finding, in characters.
pub const DETAIL_CHARS_MAX: usize = 300;

/// A compiled schema. Cheap to keep, not to build: build once per run.
#[derive(Debug)]
pub struct Schema {
    validator: jsonschema::Validator,
}

impl Schema {
    /// Compiles `schema`.
    ///
    /// # Errors
    /// A sentence for the author when it is too large, too deep, or no valid 2020-12 schema.
    pub fn compile(schema: &Value) -> Result<Self, String> {
        if schema.to_string().len() > SCHEMA_BYTES_MAX {
            return Err(format!("the schema is larger than {SCHEMA_BYTES_MAX} bytes"));
        }
        if depth(schema) > SCHEMA_DEPTH_MAX {
            return Err(format!("the schema is nested deeper than {SCHEMA_DEPTH_MAX} levels"));
        }
        jsonschema::options()
            .with_draft(jsonschema::Draft::Draft202012)
            .with_pattern_options(jsonschema::PatternOptions::regex())
            .build(schema)
            .map(|validator| Self { validator })
            .map_err(|error| format!("not a valid JSON Schema: {error}"))
    }

    /// Every way in which `value` does not fit, at most [`FINDINGS_MAX`]; empty when it fits. Pointers start with `prefix`.
    pub fn findings(&self, value: &Value, prefix: &str) -> Vec<FieldError> {
        self.validator
            .iter_errors(value)
            .take(FINDINGS_MAX)
            .map(|error| finding(prefix, &error))
            .collect()
    }
}

/// Every way in which `schema` is no JSON Schema 2020-12, at most [`FINDINGS_MAX`], each once. Pointers are into the schema.
///
/// Checks keywords and their types; what only shows when compiling (a broken pattern, a missing `$ref`) is [`Schema::compile`]'s.
pub fn schema_findings(schema: &Value) -> Vec<FieldError> {
    let meta = jsonschema::draft202012::meta::validator();
    let mut findings: Vec<FieldError> = Vec::new();
    for error in meta.iter_errors(schema).take(FINDINGS_MAX) {
        let finding = finding("", &error);
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    findings
}

/// The library repeats the whole value in its sentence: shortened, it stays readable and bounded.
fn finding(prefix: &str, error: &jsonschema::ValidationError<'_>) -> FieldError {
    let mut detail = error.to_string();
    if detail.chars().nth(DETAIL_CHARS_MAX).is_some() {
        let masked = error.masked().to_string();
        detail = masked.chars().take(DETAIL_CHARS_MAX).collect();
    }
    FieldError::new(format!("{prefix}{}", error.instance_path()), "schema", detail)
}

fn depth(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::Schema;
    use serde_json::json;

    #[test]
    fn findings_name_the_place() {
        let schema = Schema::compile(&json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}})).unwrap();
        assert!(schema.findings(&json!({"a": 1}), "/input").is_empty());
        assert_eq!(schema.findings(&json!({"a": "x"}), "/input")[0].pointer, "/input/a");
        assert_eq!(schema.findings(&json!({}), "/input")[0].pointer, "/input");
    }

    #[test]
    fn remote_references_and_broken_schemas_are_refused() {
        for schema in [json!({"$ref": "https://example.com/schema.json"}), json!({"type": "no such type"}), json!({"pattern": "("}), json!({"$ref": "file:///etc/passwd"})] {
            assert!(Schema::compile(&schema).is_err(), "{schema}");
        }
    }
}
