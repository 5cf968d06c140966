//! The agent's output: its schema as the arguments of `finish`.

use livery_core::schema::Schema;
use livery_llm::request::ToolSpec;
use serde_json::{Map, Value, json};

use super::FINISH;
use crate::outcome::findings_text;
use crate::setup::compile;

/// Where an output that is no object travels in the arguments of `finish`, which must be one.
const WRAPPED: &str = "output";

/// The output's schema, compiled, and how it travels.
#[derive(Debug)]
pub(crate) struct Output {
    schema: Schema,
    arguments: Value,
    shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// `{text: string}`: plain text will do.
    Text,
    /// Any other object: it is the arguments.
    Object,
    /// Something else: it is the field `output` of the arguments.
    Wrapped,
}

impl Output {
    /// From the agent's schema; `None` is `{text: string}`.
    pub(crate) fn new(schema: Option<&Value>) -> Result<Self, String> {
        let text = json!({
            "type": "object",
            "properties": {"text": {"type": "string", "description": "The whole answer."}},
            "required": ["text"],
            "additionalProperties": false,
        });
        let source = schema.unwrap_or(&text);
        let shape = match schema {
            None => Shape::Text,
            Some(schema) if is_text(schema) => Shape::Text,
            Some(schema) if is_object(schema) => Shape::Object,
            Some(_) => Shape::Wrapped,
        };
        let arguments = match shape {
            Shape::Text | Shape::Object => source.clone(),
            Shape::Wrapped => wrapped(source),
        };
        Ok(Self { schema: compile("the agent's output schema", source)?, arguments, shape })
    }

    /// Whether plain text is an output.
    pub(crate) fn is_text(&self) -> bool {
        self.shape == Shape::Text
    }

    /// `finish` as the model sees it.
    pub(crate) fn tool_spec(&self) -> ToolSpec {
        ToolSpec {
            name: FINISH.to_owned(),
            description: "Ends your work and hands over its output, which must fit this schema. Call it once, when everything \
                          else is done, and not in the same turn as calls it depends on. If the output does not fit you are \
                          told why and may try again."
                .to_owned(),
            input_schema: self.arguments.clone(),
        }
    }

    /// The output in the arguments of `finish`.
    pub(crate) fn read(&self, arguments: &Map<String, Value>) -> Result<Value, String> {
        let output = match self.shape {
            Shape::Text | Shape::Object => Value::Object(arguments.clone()),
            Shape::Wrapped => arguments.get(WRAPPED).cloned().unwrap_or_default(),
        };
        self.check(output)
    }

    /// The output a plain text stands for, where it is one.
    pub(crate) fn from_text(&self, text: &str) -> Result<Value, String> {
        self.check(json!({"text": text}))
    }

    fn check(&self, output: Value) -> Result<Value, String> {
        let findings = self.schema.findings(&output, "");
        if findings.is_empty() {
            return Ok(output);
        }
        Err(format!("The output does not fit its schema:\n{}", findings_text(&findings)))
    }
}

/// Whether the schema describes `{text: string}` and nothing beside it.
fn is_text(schema: &Value) -> bool {
    let only_text = schema["properties"].as_object().is_some_and(|fields| fields.len() == 1 && fields.contains_key("text"));
    only_text && schema["type"] == "object" && schema["properties"]["text"]["type"] == "string"
}

/// Whether every value that fits is an object, as the arguments of a tool must be.
fn is_object(schema: &Value) -> bool {
    schema["type"] == "object" || (schema.get("type").is_none() && schema.get("properties").is_some())
}

/// The schema of `{output: …}`. Definitions move to the top, where their references expect them.
fn wrapped(schema: &Value) -> Value {
    let mut inner = schema.clone();
    let definitions = inner.as_object_mut().and_then(|fields| fields.remove("$defs"));
    let mut outer = json!({
        "type": "object",
        "properties": {WRAPPED: inner},
        "required": [WRAPPED],
        "additionalProperties": false,
    });
    if let Some(definitions) = definitions {
        outer["$defs"] = definitions;
    }
    outer
}
