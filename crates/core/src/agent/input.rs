//! A run's input against its agent.

use serde_json::Value;

use super::Agent;
use super::prompt::RENDERED_BYTES_MAX;
use crate::FieldError;
use crate::run::INPUT_BYTES_MAX;
use crate::schema::Schema;

impl Agent {
    /// Everything that keeps this input from being a run's; pointers start with `/input`. Empty when it fits.
    pub fn validate_input(&self, input: &Value) -> Vec<FieldError> {
        let refuse = |code: &str, detail: String| vec![FieldError::new("/input", code, detail)];
        if !input.is_object() {
            return refuse("wrong_type", "the input must be an object".into());
        }
        let bytes = input.to_string().len();
        if bytes > INPUT_BYTES_MAX {
            return refuse(
                "too_large",
                format!("the input has {bytes} bytes as JSON, at most {INPUT_BYTES_MAX} fit; upload it as a file"),
            );
        }
        let findings = match Schema::compile(&self.input) {
            Ok(schema) => schema.findings(input, "/input"),
            // Agents are checked when they are made; one that is not says so instead of letting anything through.
            Err(problem) => return refuse("schema", format!("the agent's input schema: {problem}")),
        };
        if findings.is_empty() && self.prompt.rendered_bytes(input) > RENDERED_BYTES_MAX {
            return refuse(
                "too_large",
                format!("the prompt filled with this input is longer than {RENDERED_BYTES_MAX} bytes"),
            );
        }
        findings
    }
}
