//! JSON Schema 2020-12 with limits: compile once, report every finding as a [`FieldError`].
//!
//! Schemas come from tenants, so: no remote `$ref` (the `jsonschema` crate is built without resolvers), bounded size, depth
//! and cost ([`bounds`]), and a regular-expression engine without backtracking.

pub mod bounds;

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

/// Largest compiled pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The types of JSON Schema, for a message.
const TYPES: &str = "array, boolean, integer, null, number, object, string or a list of them";

/// A compiled schema. Cheap to keep, not to build: build once per run.
#[derive(Debug)]
pub struct Schema {
    validator: jsonschema::Validator,
    source: Value,
}

impl Schema {
    /// Compiles `schema`.
    ///
    /// # Errors
    /// A sentence for the author when it is too large, too deep, or no valid 2020-12 schema.
    pub fn compile(schema: &Value) -> Result<Self, String> {
        Self::compile_located(schema).map_err(|finding| finding.detail)
    }

    /// The same with the place of what is wrong, as a pointer into the schema.
    ///
    /// # Errors
    /// The first finding.
    pub fn compile_located(schema: &Value) -> Result<Self, FieldError> {
        let refuse = |detail: String| Err(FieldError::new("", "schema", detail));
        if depth(schema) > SCHEMA_DEPTH_MAX {
            return refuse(format!("the schema is nested deeper than {SCHEMA_DEPTH_MAX} levels"));
        }
        if schema.to_string().len() > SCHEMA_BYTES_MAX {
            return refuse(format!("the schema is larger than {SCHEMA_BYTES_MAX} bytes"));
        }
        bounds::check_shape(schema)?;
        jsonschema::options()
            .with_draft(jsonschema::Draft::Draft202012)
            .with_pattern_options(jsonschema::PatternOptions::regex().size_limit(PATTERN_BYTES_MAX))
            .build(schema)
            .map(|validator| Self { validator, source: schema.clone() })
            .map_err(|error| broken(&error))
    }

    /// Every way in which `value` does not fit, at most [`FINDINGS_MAX`]; empty when it fits. Pointers start with `prefix`.
    ///
    /// A value that would take too long to check does not fit; one that takes long is told only that it does not.
    pub fn findings(&self, value: &Value, prefix: &str) -> Vec<FieldError> {
        let one = |detail: &str| vec![FieldError::new(prefix, "schema", detail)];
        match bounds::steps(&self.source, value) {
            Err(bounds::TooCostly) => one("the value is too large or too deep to check against this schema"),
            Ok(steps) if steps > bounds::DETAIL_STEPS_MAX => match self.validator.is_valid(value) {
                true => Vec::new(),
                false => one("the value does not fit the schema, and is too large to say where"),
            },
            Ok(_) => {
                self.validator.iter_errors(value).take(FINDINGS_MAX).map(|error| finding(prefix, &error)).collect()
            }
        }
    }
}

/// Every way in which `schema` is no JSON Schema 2020-12, at most [`FINDINGS_MAX`], each once. Pointers are into the schema.
///
/// Checks keywords and their types; what only shows when compiling (a broken pattern, a missing `$ref`) is [`Schema::compile`]'s.
pub fn schema_findings(schema: &Value) -> Vec<FieldError> {
    let meta = jsonschema::draft202012::meta::validator();
    let mut findings: Vec<FieldError> = Vec::new();
    for error in meta.iter_errors(schema).take(FINDINGS_MAX) {
        let mut finding = finding("", &error);
        if finding.pointer.ends_with("/type") {
            // The meta-schema only says "none of two alternatives".
            finding.detail = format!("{} is no type: write {TYPES}", error.instance());
        }
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

/// Why a schema does not compile.
fn broken(error: &jsonschema::ValidationError<'_>) -> FieldError {
    let mut finding = finding("", error);
    finding.detail = format!("not a valid JSON Schema: {}", finding.detail);
    finding
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
        let schema =
            Schema::compile(&json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}))
                .unwrap();
        assert!(schema.findings(&json!({"a": 1}), "/input").is_empty());
        assert_eq!(schema.findings(&json!({"a": "x"}), "/input")[0].pointer, "/input/a");
        assert_eq!(schema.findings(&json!({}), "/input")[0].pointer, "/input");
    }

    #[test]
    fn remote_references_and_broken_schemas_are_refused() {
        for schema in [
            json!({"$ref": "https://example.com/schema.json"}),
            json!({"type": "no such type"}),
            json!({"pattern": "("}),
            json!({"$ref": "file:///etc/passwd"}),
        ] {
            assert!(Schema::compile(&schema).is_err(), "{schema}");
        }
    }
}
