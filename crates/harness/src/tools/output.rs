//! The agent's output: its schema as the arguments of `finish`.

use livery_core::agent::Agent;
use livery_core::schema::Schema;
use livery_llm::request::ToolSpec;
use serde_json::{Map, Value, json};

use super::FINISH;
use crate::outcome::findings_text;
use crate::setup::compile;

/// The output's schema, always of an object.
#[derive(Debug)]
pub(crate) struct Output {
    schema: Schema,
    source: Value,
    is_text: bool,
}

impl Output {
    pub(crate) fn new(agent: &Agent) -> Result<Self, String> {
        let schema = compile("the agent's output schema", &agent.output)?;
        let is_text = agent.answers_in_text() || is_text(&agent.output);
        Ok(Self { schema, source: agent.output.clone(), is_text })
    }

    /// Whether plain text is an output.
    pub(crate) const fn is_text(&self) -> bool {
        self.is_text
    }

    /// `finish` as the model sees it.
    pub(crate) fn tool_spec(&self) -> ToolSpec {
        ToolSpec {
            name: FINISH.to_owned(),
            description: "Ends your work and hands over its output, which must fit this schema. Call it once, when everything \
                          else is done, and not in the same turn as calls it depends on. If the output does not fit you are \
                          told why and may try again."
                .to_owned(),
            input_schema: self.source.clone(),
        }
    }

    /// The output in the arguments of `finish`, or the findings.
    pub(crate) fn read(&self, arguments: &Map<String, Value>) -> Result<Value, String> {
        self.check(Value::Object(arguments.clone()))
    }

    /// The output a plain text stands for, or the findings.
    pub(crate) fn read_text(&self, text: &str) -> Result<Value, String> {
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
    let only_text =
        schema["properties"].as_object().is_some_and(|fields| fields.len() == 1 && fields.contains_key("text"));
    only_text && schema["properties"]["text"]["type"] == "string"
}
