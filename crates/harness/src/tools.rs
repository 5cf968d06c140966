//! What the model may call: the [`Toolbox`] of a run, and how a call becomes an [`Invocation`] or an answer that says why not.
//!
//! Every argument is checked against the tool's own JSON Schema and then read into a type: nothing unchecked reaches an
//! effect. Refused: running anything. Read next: [`built_in`] for names and schemas, [`invocation`] for the calls.

mod built_in;
mod invocation;
mod output;
mod terminal;

use std::collections::BTreeMap;
use std::sync::Arc;

use livery_core::agent::Tier;
use livery_core::schema::Schema;
use livery_llm::message::{Arguments, ToolCall};
use livery_llm::request::ToolSpec;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use built_in::BuiltIn;
pub use invocation::{
    CODE_TIMEOUT_S_DEFAULT, CallApi, EditFile, Invocation, Language, ListFiles, OwnCall, QuerySql, ReadFile, RunCode,
    SHELL_TIMEOUT_S_DEFAULT, SHELL_TIMEOUT_S_MAX, SearchFiles, SendEmail, Shell, WriteFile,
};
pub use livery_core::agent::tools::FINISH;
pub(crate) use output::Output;
pub use terminal::{Key, TERMINAL_WAIT_S_DEFAULT, TERMINAL_WAIT_S_MAX, Terminal, TerminalAction, key_bytes};

use crate::outcome::findings_text;
use crate::setup::{Setup, compile};
use crate::text::shorten;

/// Tools of one run that work at the same time; the rest wait their turn.
pub const TOOLS_CONCURRENT_MAX: usize = 8;
/// Most calls of one turn that are looked at; the rest are answered with an error.
pub const CALLS_PER_TURN_MAX: usize = 64;
/// Largest arguments of one call, in bytes of text.
pub const ARGUMENTS_BYTES_MAX: usize = 1024 * 1024;

/// The tools of a run, compiled.
#[derive(Debug)]
pub(crate) struct Toolbox {
    tools: BTreeMap<String, Tool>,
    pub(crate) output: Output,
    pub(crate) specs: Arc<[ToolSpec]>,
}

#[derive(Debug)]
struct Tool {
    kind: Kind,
    schema: Arc<Schema>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    BuiltIn(BuiltIn),
    Own,
}

/// A call that was looked at and found good.
#[derive(Debug)]
pub(crate) enum Checked {
    /// To be run.
    Run(Invocation),
    /// The end, with this output.
    Finish(Value),
}

/// Why a call is answered by the harness instead of being run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refused {
    /// No tool has this name.
    UnknownTool,
    /// The arguments do not fit, are no object, or were cut off.
    BadArguments,
    /// More calls in one turn than are looked at.
    TooManyCalls,
    /// `finish` with an output that does not fit its schema.
    BadOutput,
    /// `finish` beside calls that failed, or a second `finish`.
    NotNow,
}

impl Toolbox {
    pub(crate) fn new(setup: &Setup) -> Result<Self, String> {
        let agent = &setup.agent;
        let output = Output::new(agent)?;
        let mut specs = vec![output.tool_spec()];
        let mut tools = BTreeMap::new();
        let wanted = |name: &str| setup.can_sandbox && agent.allows_tool(name);
        // A run may ask for a stronger tier than its agent, but no tier of commands is a tier of programs.
        let tier = agent.sandbox.tier;
        let in_sandbox = |tool: &BuiltIn| tool.is_in(tier) && wanted(tool.name());
        for (built_in, spec, schema) in built_in::compiled().iter().filter(|(tool, ..)| in_sandbox(tool)) {
            tools.insert(spec.name.clone(), Tool { kind: Kind::BuiltIn(*built_in), schema: Arc::clone(schema) });
            specs.push(spec.clone());
        }
        for built_in in
            BuiltIn::ALL.iter().copied().filter(|tool| tool.is_connected() && agent.allows_tool(tool.name()))
        {
            let connections = setup.connections_of(built_in.name());
            if connections.is_empty() {
                continue;
            }
            let (spec, schema) = built_in::compiled_for(built_in, &connections)?;
            tools.insert(spec.name.clone(), Tool { kind: Kind::BuiltIn(built_in), schema });
            specs.push(spec);
        }
        for own in agent.own_tools.iter().filter(|tool| wanted(&tool.name)) {
            if own.name == FINISH || BuiltIn::named(&own.name).is_some() {
                return Err(format!("the agent's tool `{}` is named like a built-in tool", own.name));
            }
            if tier == Tier::Isolate {
                return Err(format!("the agent's tool `{}` is a command, and the tier isolate has none", own.name));
            }
            let schema = Arc::new(compile(&format!("the arguments of the tool `{}`", own.name), &own.input)?);
            if tools.insert(own.name.clone(), Tool { kind: Kind::Own, schema }).is_some() {
                return Err(format!("the agent has two tools named `{}`", own.name));
            }
            specs.push(ToolSpec {
                name: own.name.clone(),
                description: own.description.clone(),
                input_schema: own.input.clone(),
            });
        }
        specs.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(Self { tools, output, specs: specs.into() })
    }

    pub(crate) fn has_sandbox_tools(&self) -> bool {
        self.tools.values().any(|tool| !matches!(tool.kind, Kind::BuiltIn(built_in) if built_in.is_connected()))
    }

    pub(crate) fn has(&self, tool: BuiltIn) -> bool {
        self.tools.contains_key(tool.name())
    }

    /// Looks at one call. The error is the answer to the model.
    pub(crate) fn check(&self, call: &ToolCall) -> Result<Checked, (Refused, String)> {
        if call.name == FINISH {
            let arguments = usable(call).map_err(|text| (Refused::BadOutput, text))?;
            return self.output.read(arguments).map(Checked::Finish).map_err(|text| (Refused::BadOutput, text));
        }
        let Some(tool) = self.tools.get(&call.name) else {
            let names: Vec<&str> = self.specs.iter().map(|spec| spec.name.as_str()).collect();
            let name = shorten(&call.name, 64);
            return Err((
                Refused::UnknownTool,
                format!("There is no tool named `{name}`. Tools: {}.", names.join(", ")),
            ));
        };
        let arguments = usable(call).map_err(|text| (Refused::BadArguments, text))?;
        tool.read(&call.name, arguments).map(Checked::Run).map_err(|text| (Refused::BadArguments, text))
    }
}

impl Tool {
    fn read(&self, name: &str, arguments: &Map<String, Value>) -> Result<Invocation, String> {
        let value = Value::Object(arguments.clone());
        let findings = self.schema.findings(&value, "");
        if !findings.is_empty() {
            let findings = findings_text(&findings);
            return Err(format!("The arguments do not fit the schema of `{name}`; nothing was run:\n{findings}"));
        }
        match self.kind {
            Kind::BuiltIn(_) if has_nul(arguments) => {
                Err(format!("The arguments do not fit `{name}`; nothing was run: text must not contain NUL."))
            }
            Kind::BuiltIn(tool) => Invocation::read(tool, value)
                .map_err(|cause| format!("The arguments do not fit `{name}`; nothing was run: {cause}")),
            Kind::Own => Ok(Invocation::Own(OwnCall { name: name.to_owned(), arguments: arguments.clone() })),
        }
    }
}

/// The arguments, when they are a whole object of bearable size.
fn usable(call: &ToolCall) -> Result<&Map<String, Value>, String> {
    match &call.arguments {
        Arguments::Unusable { reason, .. } => Err(format!(
            "The arguments cannot be used; nothing was run: {}. Send one whole JSON object.",
            shorten(reason.trim_end_matches('.'), 300)
        )),
        Arguments::Object(fields) if text_bytes(fields) > ARGUMENTS_BYTES_MAX => Err(format!(
            "The arguments are larger than {ARGUMENTS_BYTES_MAX} bytes; nothing was run. Split the work up."
        )),
        Arguments::Object(fields) => Ok(fields),
    }
}

/// Whether a text has a NUL, which no path and no command line can carry.
fn has_nul(arguments: &Map<String, Value>) -> bool {
    arguments.values().any(|value| value.as_str().is_some_and(|text| text.contains('\0')))
}

/// Roughly the bytes of the object as JSON, without writing it.
fn text_bytes(fields: &Map<String, Value>) -> usize {
    fn of(value: &Value) -> usize {
        match value {
            Value::String(text) => text.len() + 2,
            Value::Array(items) => items.iter().map(|item| of(item) + 1).sum::<usize>() + 2,
            Value::Object(fields) => text_bytes(fields),
            Value::Null | Value::Bool(_) | Value::Number(_) => 5,
        }
    }
    fields.iter().map(|(key, value)| key.len() + 4 + of(value)).sum::<usize>() + 2
}
