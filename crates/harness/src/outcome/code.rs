//! What `run_code` led to, and how the model reads it: one JSON object, whole, with what fits.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::text::{RESULT_BYTES_MAX, shorten};

/// What a program answered, or what went wrong.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CodeOutput {
    /// Its value; `None` where it has none, or went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub value: Option<Value>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<CodeError>,
    /// Possibly already shortened.
    pub stdout: String,
    /// Possibly already shortened.
    pub stderr: String,
    /// Whether something of what it printed is missing here.
    #[serde(default)]
    pub truncated: bool,
    /// Where in the sandbox all of it lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_output: Option<String>,
}

/// Why a program has no value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeError {
    /// Which.
    pub kind: CodeErrorKind,
    /// A sentence.
    pub message: String,
    /// Where, if an error was thrown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
}

/// The ways a program goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodeErrorKind {
    /// It was not understood, and nothing of it ran.
    Syntax,
    /// It threw, or its value is not JSON.
    Exception,
    /// It was stopped at its time limit.
    Timeout,
    /// It needed more memory than there is.
    Memory,
    /// It ended without an answer.
    Crashed,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl CodeOutput {
    pub(super) const fn is_good(&self) -> bool {
        self.error.is_none()
    }

    /// The contract's object. What does not fit is shortened before it is quoted, so that the object stays whole; quoting may make
    /// six bytes of one, so less is kept until it fits.
    pub(super) fn text(&self) -> String {
        let mut room = RESULT_BYTES_MAX;
        loop {
            let text = self.within(room);
            if text.len() <= RESULT_BYTES_MAX {
                return text;
            }
            room -= room / 4;
        }
    }

    fn within(&self, room: usize) -> String {
        let value = self.value.as_ref().map(Value::to_string).unwrap_or_default();
        // A value that does not fit whole is shown in part, as a text; half is left for what was printed.
        let value_fits = value.len() <= room / 2;
        let used = if value_fits { value.len() } else { room / 2 };
        let quarter = room / 4;
        let stderr = shorten(&self.stderr, quarter);
        let stdout = shorten(&self.stdout, room.saturating_sub(used + stderr.len()).max(quarter));
        let truncated = self.truncated || stderr.len() < self.stderr.len() || stdout.len() < self.stdout.len();
        let mut object = json!({"stdout": stdout, "stderr": stderr, "truncated": truncated});
        match &self.value {
            Some(whole) if value_fits => object["value"] = whole.clone(),
            Some(_) => {
                object["value_shortened"] = shorten(&value, used).into();
            }
            None => {}
        }
        if let Some(error) = &self.error {
            object["error"] = json!({"kind": error.kind, "message": shorten(&error.message, quarter)});
            if let Some(stack) = &error.stack {
                object["error"]["stack"] = shorten(stack, quarter).into();
            }
        }
        if let Some(path) = self.full_output.as_deref().filter(|_| truncated) {
            object["full_output"] = shorten(path, super::PATH_BYTES_MAX).into();
        }
        object.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_whole_or_said_to_be_shortened() {
        let output = CodeOutput { value: Some(json!({"n": 1})), stdout: "hi\n".into(), ..CodeOutput::default() };
        assert_eq!(output.text(), r#"{"stderr":"","stdout":"hi\n","truncated":false,"value":{"n":1}}"#);
        let nothing = CodeOutput { value: Some(Value::Null), ..CodeOutput::default() };
        assert!(nothing.text().contains(r#""value":null"#));
        assert!(!CodeOutput::default().text().contains("value"));
        let large = CodeOutput {
            value: Some(json!("\u{1}".repeat(RESULT_BYTES_MAX))),
            stdout: "\u{1}".repeat(RESULT_BYTES_MAX),
            ..CodeOutput::default()
        };
        let text = large.text();
        assert!(text.len() <= RESULT_BYTES_MAX);
        let read: Value = serde_json::from_str(&text).unwrap();
        assert!(read["value"].is_null() && read["value_shortened"].is_string() && read["truncated"] == true);
    }

    #[test]
    fn an_error_says_its_kind() {
        let error = CodeError { kind: CodeErrorKind::Timeout, message: "too long".into(), stack: Some("at x".into()) };
        let output = CodeOutput { error: Some(error), ..CodeOutput::default() };
        let read: Value = serde_json::from_str(&output.text()).unwrap();
        assert_eq!(read["error"], json!({"kind": "timeout", "message": "too long", "stack": "at x"}));
        assert!(!output.is_good());
    }
}
