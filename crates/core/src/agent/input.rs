//! A run's input against its agent.

use serde_json::Value;

use super::Agent;
use super::prompt::RENDERED_BYTES_MAX;
use crate::FieldError;
use crate::run::INPUT_BYTES_MAX;
use crate::schema::Schema;

impl Agent {
    /// Everything that keeps this input from being a run's; pointers start with `/input`. Empty when it fits.
    ///
    /// Compiles the input schema; who checks many inputs keeps it and calls [`check_input`](Self::check_input).
    pub fn validate_input(&self, input: &Value) -> Vec<FieldError> {
        match Schema::compile(&self.input) {
            Ok(schema) => self.check_input(&schema, input),
            // Agents are checked when they are made; one that is not says so instead of letting anything through.
            Err(problem) => refuse("schema", format!("the agent's input schema: {problem}")),
        }
    }

    /// The same with the agent's input schema already compiled.
    pub fn check_input(&self, schema: &Schema, input: &Value) -> Vec<FieldError> {
        if !input.is_object() {
            return refuse("wrong_type", "the input must be an object".into());
        }
        let bytes = input.to_string().len();
        if bytes > INPUT_BYTES_MAX {
            let detail =
                format!("the input has {bytes} bytes as JSON, at most {INPUT_BYTES_MAX} fit; upload it as a file");
            return refuse("too_large", detail);
        }
        let findings = schema.findings(input, "/input");
        if findings.is_empty() && self.prompt.rendered_bytes(input) > RENDERED_BYTES_MAX {
            let detail = format!("the prompt filled with this input is longer than {RENDERED_BYTES_MAX} bytes");
            return refuse("too_large", detail);
        }
        findings
    }
}

fn refuse(code: &str, detail: String) -> Vec<FieldError> {
    vec![FieldError::new("/input", code, detail)]
}
