//! The built-in tools as the model sees them: names, descriptions, JSON Schemas of their arguments.

use std::sync::{Arc, LazyLock};

use livery_core::schema::Schema;
use livery_llm::request::ToolSpec;
use serde_json::{Value, json};

use super::invocation::{SHELL_TIMEOUT_S_DEFAULT, SHELL_TIMEOUT_S_MAX};
use crate::outcome::ENTRIES_MAX;
use crate::text::LINES_DEFAULT;

/// Longest command, in characters.
const COMMAND_CHARS_MAX: usize = 64 * 1024;
/// Longest path or glob, in characters.
const PATH_CHARS_MAX: usize = 4_096;
/// Longest regular expression, in characters.
const PATTERN_CHARS_MAX: usize = 1_000;

/// A tool that every sandbox has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuiltIn {
    /// `shell`
    Shell,
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
}

impl BuiltIn {
    /// All of them.
    pub const ALL: &[Self] =
        &[Self::Shell, Self::ReadFile, Self::WriteFile, Self::EditFile, Self::ListFiles, Self::SearchFiles];

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shell => "shell",
            Self::ReadFile => "read_file",
            Self::WriteFile => "write_file",
            Self::EditFile => "edit_file",
            Self::ListFiles => "list_files",
            Self::SearchFiles => "search_files",
        }
    }

    /// The tool of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|tool| tool.name() == name)
    }

    fn spec(self) -> ToolSpec {
        let (description, properties, required) = match self {
            Self::Shell => shell(),
            Self::ReadFile => read_file(),
            Self::WriteFile => write_file(),
            Self::EditFile => edit_file(),
            Self::ListFiles => list_files(),
            Self::SearchFiles => search_files(),
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

/// Every built-in tool with its compiled schema. The same for all runs, and too dear to compile for each.
pub(super) fn compiled() -> &'static [(BuiltIn, ToolSpec, Arc<Schema>)] {
    static COMPILED: LazyLock<Vec<(BuiltIn, ToolSpec, Arc<Schema>)>> = LazyLock::new(|| {
        let compile = |tool: &BuiltIn| {
            let spec = tool.spec();
            let schema = Schema::compile(&spec.input_schema).expect("the schemas of this file are valid");
            (*tool, spec, Arc::new(schema))
        };
        BuiltIn::ALL.iter().map(compile).collect()
    });
    &COMPILED
}

type Described = (String, Value, &'static [&'static str]);

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
