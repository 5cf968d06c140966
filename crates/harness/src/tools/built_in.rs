//! The built-in tools as the model sees them: names, descriptions, JSON Schemas of their arguments.

mod code;
mod email;
mod sql;
mod terminal;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use livery_core::agent::Tier;
use livery_core::schema::Schema;
use livery_llm::request::ToolSpec;
use serde_json::{Value, json};

use super::invocation::{SHELL_TIMEOUT_S_DEFAULT, SHELL_TIMEOUT_S_MAX};
use crate::outcome::ENTRIES_MAX;
use crate::setup::compile;
use crate::text::LINES_DEFAULT;

/// Longest command, in characters.
const COMMAND_CHARS_MAX: usize = 64 * 1024;
/// Longest path or glob, in characters.
const PATH_CHARS_MAX: usize = 4_096;
/// Longest regular expression, in characters.
const PATTERN_CHARS_MAX: usize = 1_000;

/// Longest path of a request, in characters.
const API_PATH_CHARS_MAX: usize = 4_096;
/// Most headers and most parameters of a request.
const API_PAIRS_MAX: usize = 64;
/// Longest header value, in characters.
const API_HEADER_CHARS_MAX: usize = 4_096;

/// A tool that is not the agent's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuiltIn {
    /// `shell`
    Shell,
    /// `run_code`, of the tier isolate, which has no `shell`.
    RunCode,
    /// `terminal`
    Terminal,
    /// `read_file`
    ReadFile,
    /// `write_file`
    WriteFile,
    /// `edit_file`
    EditFile,
    /// `list_files`
    ListFiles,
    /// `search_files`
    SearchFiles,
    /// `call_api`, which needs no sandbox but a connection.
    CallApi,
    /// `send_email`, which needs a connection to a mail server.
    SendEmail,
    /// `query_sql`, which needs a connection to a database.
    QuerySql,
}

impl BuiltIn {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Shell,
        Self::RunCode,
        Self::Terminal,
        Self::ReadFile,
        Self::WriteFile,
        Self::EditFile,
        Self::ListFiles,
        Self::SearchFiles,
        Self::CallApi,
        Self::SendEmail,
        Self::QuerySql,
    ];

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shell => "shell",
            Self::RunCode => "run_code",
            Self::Terminal => "terminal",
            Self::ReadFile => "read_file",
            Self::WriteFile => "write_file",
            Self::EditFile => "edit_file",
            Self::ListFiles => "list_files",
            Self::SearchFiles => "search_files",
            Self::CallApi => "call_api",
            Self::SendEmail => "send_email",
            Self::QuerySql => "query_sql",
        }
    }

    /// Whether a sandbox of this tier has it.
    pub fn is_in(self, tier: Tier) -> bool {
        match self {
            Self::Shell | Self::Terminal => tier != Tier::Isolate,
            Self::RunCode => tier == Tier::Isolate,
            _ => true,
        }
    }

    /// Whether it goes through the run's connections. Without one of its kind it is not offered.
    pub const fn is_connected(self) -> bool {
        matches!(self, Self::CallApi | Self::QuerySql | Self::SendEmail)
    }

    /// The tool of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|tool| tool.name() == name)
    }

    fn spec(self, connections: &BTreeMap<String, String>) -> ToolSpec {
        let (description, properties, required) = match self {
            Self::Shell => shell(),
            Self::RunCode => code::described(),
            Self::Terminal => terminal::described(),
            Self::ReadFile => read_file(),
            Self::WriteFile => write_file(),
            Self::EditFile => edit_file(),
            Self::ListFiles => list_files(),
            Self::SearchFiles => search_files(),
            Self::CallApi => call_api(connections),
            Self::SendEmail => email::described(connections),
            Self::QuerySql => sql::described(connections),
        };
        let input_schema = json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        });
        ToolSpec { name: self.name().to_owned(), description, input_schema }
    }
}

/// Every tool of a sandbox with its compiled schema. The same for all runs, and too dear to compile for each.
pub(super) fn compiled() -> &'static [(BuiltIn, ToolSpec, Arc<Schema>)] {
    static COMPILED: LazyLock<Vec<(BuiltIn, ToolSpec, Arc<Schema>)>> = LazyLock::new(|| {
        let compiled = |tool: &BuiltIn| {
            let spec = tool.spec(&BTreeMap::new());
            let schema = Schema::compile(&spec.input_schema).expect("the schemas of this file are valid");
            (*tool, spec, Arc::new(schema))
        };
        BuiltIn::ALL.iter().filter(|tool| !tool.is_connected()).map(compiled).collect()
    });
    &COMPILED
}

/// A tool that goes through connections, for a run with these of its kind by slot.
pub(super) fn compiled_for(
    tool: BuiltIn,
    connections: &BTreeMap<String, String>,
) -> Result<(ToolSpec, Arc<Schema>), String> {
    let spec = tool.spec(connections);
    let schema = compile(&format!("the arguments of `{}`", tool.name()), &spec.input_schema)?;
    Ok((spec, Arc::new(schema)))
}

pub(super) type Described = (String, Value, &'static [&'static str]);

fn path(description: &str) -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": PATH_CHARS_MAX, "description": description})
}

fn shell() -> Described {
    let description = "Runs a command with `sh -c` in your sandbox and waits for it. Answers with JSON: exit_code (null when it \
                       was stopped), stdout, stderr, truncated and, when output was cut, full_output, the path of all of it. \
                       Each call is a new shell: a `cd` or a variable does not outlive it, files do. There is no terminal and \
                       no standard input, so use options that ask nothing. Prefer read_file, edit_file and search_files for \
                       what they do.";
    let properties = json!({
        "command": {"type": "string", "minLength": 1, "maxLength": COMMAND_CHARS_MAX,
            "description": "The command; may have several lines."},
        "timeout_s": {"type": "integer", "minimum": 1, "maximum": SHELL_TIMEOUT_S_MAX,
            "description": format!("Seconds until it is stopped. Default {SHELL_TIMEOUT_S_DEFAULT}.")},
        "cwd": path("Folder to run in. Default /workspace."),
        "background": {"type": "boolean",
            "description": "Return at once and leave it running, for servers and the like: answers with its background_pid and with \
                full_output, the file its output goes to. Default false."},
    });
    (description.to_owned(), properties, &["command"])
}

fn read_file() -> Described {
    let description = format!(
        "Reads a text file: each line with its number and a tab before it, up to {LINES_DEFAULT} lines or 32 KiB at a time; the \
         last line says how to read on. PNG, JPEG, GIF and WebP files are shown as images."
    );
    let properties = json!({
        "path": path("The file, relative to /workspace or absolute."),
        "offset": {"type": "integer", "minimum": 1, "description": "First line to show. Default 1."},
        "limit": {"type": "integer", "minimum": 1, "description": format!("Most lines to show. Default {LINES_DEFAULT}.")},
    });
    (description, properties, &["path"])
}

fn write_file() -> Described {
    let description =
        "Writes a file, replacing what was there; missing folders are made. To change part of a file use edit_file.";
    let properties = json!({
        "path": path("The file, relative to /workspace or absolute."),
        "content": {"type": "string", "description": "The whole new content."},
    });
    (description.to_owned(), properties, &["path", "content"])
}

fn edit_file() -> Described {
    let description = "Replaces text in a file. `old` must be found exactly once, white space included and without the line \
                       numbers of read_file; add lines around it until it is unique, or set replace_all. Otherwise nothing is \
                       changed.";
    let properties = json!({
        "path": path("The file, relative to /workspace or absolute."),
        "old": {"type": "string", "minLength": 1, "description": "The text that is there."},
        "new": {"type": "string", "description": "The text to put in its place; may be empty."},
        "replace_all": {"type": "boolean", "description": "Replace every occurrence. Default false."},
    });
    (description.to_owned(), properties, &["path", "old", "new"])
}

fn list_files() -> Described {
    let description = format!(
        "Lists a folder with sizes; folders end with /. With `glob` lists matching files at any depth, like **/*.csv. At most \
         {ENTRIES_MAX} entries."
    );
    let properties = json!({
        "path": path("The folder. Default /workspace."),
        "glob": path("Which files, relative to the folder."),
    });
    (description, properties, &[])
}

fn search_files() -> Described {
    let description = format!(
        "Searches files for a regular expression, line by line, and answers with path:line:text, at most {ENTRIES_MAX} matches. \
         Binary files are passed over."
    );
    let properties = json!({
        "pattern": {"type": "string", "minLength": 1, "maxLength": PATTERN_CHARS_MAX,
            "description": "The regular expression. No look-around and no back-references."},
        "path": path("A folder or file. Default /workspace."),
        "glob": path("Which files, relative to the folder, like **/*.py."),
    });
    (description, properties, &["pattern"])
}

fn call_api(connections: &BTreeMap<String, String>) -> Described {
    let description = "Sends an HTTP request through one of your connections and answers with JSON: status, headers and body. \
                       Give the path alone; the address and the credential are the connection's, and the credential is added on \
                       the way and never shown: leave authentication out. Redirects are not followed. What the connection is \
                       not for is refused with what it is for. GET and HEAD are repeated after an interruption, the others are \
                       not.";
    let slots: Vec<&String> = connections.keys().collect();
    let text = json!({"type": ["string", "number", "boolean"]});
    let properties = json!({
        "connection": {"enum": slots, "description": "Which connection."},
        "method": {"enum": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"], "description": "The method."},
        "path": {"type": "string", "minLength": 1, "maxLength": API_PATH_CHARS_MAX,
            "description": "The path below the connection's address, beginning with /."},
        "query": {"type": "object", "maxProperties": API_PAIRS_MAX,
            "additionalProperties": {"anyOf": [text, {"type": "array", "maxItems": API_PAIRS_MAX, "items": text}]},
            "description": "Parameters, not encoded; a list repeats its name."},
        "headers": {"type": "object", "maxProperties": API_PAIRS_MAX,
            "additionalProperties": {"type": "string", "maxLength": API_HEADER_CHARS_MAX},
            "description": "Further headers."},
        "body": {"description": "The body: text is sent as it is, anything else as JSON."},
    });
    (description.to_owned(), properties, &["connection", "method", "path"])
}
