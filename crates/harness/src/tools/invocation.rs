//! Calls as values: arguments that were checked, with their defaults filled in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{BuiltIn, Terminal};
use crate::text::LINES_DEFAULT;

/// Seconds a command may run when the call does not say.
pub const SHELL_TIMEOUT_S_DEFAULT: u32 = 120;
/// Most seconds a call may ask for.
pub const SHELL_TIMEOUT_S_MAX: u32 = 3_600;

/// Seconds a program may run when the call does not say.
pub const CODE_TIMEOUT_S_DEFAULT: u32 = 60;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "tool", rename_all = "snake_case")]
pub enum Invocation {
    /// Run a command.
    Shell(Shell),
    /// Run a program.
    RunCode(RunCode),
    /// Do something with a terminal.
    Terminal(Terminal),
    /// Read a file.
    ReadFile(ReadFile),
    /// Write a file.
    WriteFile(WriteFile),
    /// Replace text in a file.
    EditFile(EditFile),
    /// List files.
    ListFiles(ListFiles),
    /// Search in files.
    SearchFiles(SearchFiles),
    /// Send a request through a connection.
    CallApi(CallApi),
    /// Send a message through a connection.
    SendEmail(SendEmail),
    /// Send a statement to a database.
    QuerySql(QuerySql),
    /// Run a tool of the agent's own.
    Own(OwnCall),
}

/// `sh -c command`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shell {
    /// For `sh -c`.
    pub command: String,
    /// Seconds, 1..=[`SHELL_TIMEOUT_S_MAX`].
    #[serde(default = "timeout_s_default")]
    pub timeout_s: u32,
    /// Where; `/workspace` when absent.
    #[serde(default)]
    pub cwd: Option<String>,
    /// Whether to return at once and leave it running.
    #[serde(default)]
    pub background: bool,
}

/// A program in an isolate of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunCode {
    /// The program.
    pub source: String,
    /// What it is written in.
    #[serde(default)]
    pub language: Language,
    /// Seconds, 1..=[`SHELL_TIMEOUT_S_MAX`].
    #[serde(default = "code_timeout_s_default")]
    pub timeout_s: u32,
}

/// What a program is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// JavaScript.
    #[default]
    Js,
    /// TypeScript.
    Ts,
}

/// Lines of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadFile {
    /// Relative to `/workspace`, or absolute.
    pub path: String,
    /// First line, from 1.
    #[serde(default = "offset_default")]
    pub offset: u64,
    /// Most lines.
    #[serde(default = "limit_default")]
    pub limit: u64,
}

/// A whole new content; folders on the way are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteFile {
    /// Relative to `/workspace`, or absolute.
    pub path: String,
    /// The content.
    pub content: String,
}

/// One text replaced by another; [`crate::text::apply_edit`] does it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditFile {
    /// Relative to `/workspace`, or absolute.
    pub path: String,
    /// What is there.
    pub old: String,
    /// What is to be there.
    pub new: String,
    /// Whether to replace every occurrence.
    #[serde(default)]
    pub replace_all: bool,
}

/// Files below a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListFiles {
    /// The folder; `/workspace` when absent.
    #[serde(default)]
    pub path: Option<String>,
    /// Which of them, relative to the folder; absent: its direct entries.
    #[serde(default)]
    pub glob: Option<String>,
}

/// Lines that match, in files below a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchFiles {
    /// A regular expression.
    pub pattern: String,
    /// A folder or file; `/workspace` when absent.
    #[serde(default)]
    pub path: Option<String>,
    /// Which files, relative to the folder; absent: all.
    #[serde(default)]
    pub glob: Option<String>,
}

/// A request through a connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallApi {
    /// The slot of the connection.
    pub connection: String,
    /// `GET`, `HEAD`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: String,
    /// A path below the connection's address.
    pub path: String,
    /// Parameters: texts, numbers, truths, or lists of them.
    #[serde(default)]
    pub query: Map<String, Value>,
    /// Further headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A text as it is, anything else as JSON.
    #[serde(default)]
    pub body: Option<Value>,
}

/// A message through a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendEmail {
    /// The slot of the connection.
    pub connection: String,
    /// Addresses, as they were written.
    pub to: Vec<String>,
    /// Further ones.
    #[serde(default)]
    pub cc: Vec<String>,
    /// Further ones that nobody sees.
    #[serde(default)]
    pub bcc: Vec<String>,
    /// One line.
    pub subject: String,
    /// The message as plain text.
    pub text: String,
    /// The same as HTML.
    #[serde(default)]
    pub html: Option<String>,
    /// Files, relative to `/workspace`, or absolute.
    #[serde(default)]
    pub attachments: Vec<String>,
    /// The `Message-ID` it answers.
    #[serde(default)]
    pub in_reply_to: Option<String>,
}

/// A statement for a database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QuerySql {
    /// The slot of the connection.
    pub connection: String,
    /// One statement.
    pub sql: String,
    /// Its values.
    #[serde(default)]
    pub parameters: Vec<Value>,
}

/// A tool from the agent's folder; the arguments go to its standard input as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OwnCall {
    /// The tool.
    pub name: String,
    /// Fit the tool's schema.
    pub arguments: Map<String, Value>,
}

impl Invocation {
    /// The tool's name.
    pub fn tool(&self) -> &str {
        match self {
            Self::Shell(_) => BuiltIn::Shell.name(),
            Self::RunCode(_) => BuiltIn::RunCode.name(),
            Self::Terminal(_) => BuiltIn::Terminal.name(),
            Self::ReadFile(_) => BuiltIn::ReadFile.name(),
            Self::WriteFile(_) => BuiltIn::WriteFile.name(),
            Self::EditFile(_) => BuiltIn::EditFile.name(),
            Self::ListFiles(_) => BuiltIn::ListFiles.name(),
            Self::SearchFiles(_) => BuiltIn::SearchFiles.name(),
            Self::CallApi(_) => BuiltIn::CallApi.name(),
            Self::SendEmail(_) => BuiltIn::SendEmail.name(),
            Self::QuerySql(_) => BuiltIn::QuerySql.name(),
            Self::Own(call) => &call.name,
        }
    }

    /// Whether doing it twice does no harm, so that it may be repeated after a crash.
    pub fn is_safe(&self) -> bool {
        match self {
            Self::ReadFile(_) | Self::ListFiles(_) | Self::SearchFiles(_) => true,
            Self::Terminal(call) => call.action.is_safe(),
            Self::CallApi(call) => matches!(call.method.as_str(), "GET" | "HEAD"),
            // What a statement does is not read here: any may change something.
            Self::QuerySql(_) | Self::SendEmail(_) => false,
            Self::Shell(_) | Self::RunCode(_) | Self::WriteFile(_) | Self::EditFile(_) | Self::Own(_) => false,
        }
    }

    /// Reads arguments that fit the tool's schema.
    pub(super) fn read(tool: BuiltIn, arguments: Value) -> Result<Self, serde_json::Error> {
        Ok(match tool {
            BuiltIn::Shell => Self::Shell(serde_json::from_value(arguments)?),
            BuiltIn::RunCode => Self::RunCode(serde_json::from_value(arguments)?),
            BuiltIn::Terminal => Self::Terminal(serde_json::from_value(arguments)?),
            BuiltIn::ReadFile => Self::ReadFile(serde_json::from_value(arguments)?),
            BuiltIn::WriteFile => Self::WriteFile(serde_json::from_value(arguments)?),
            BuiltIn::EditFile => Self::EditFile(serde_json::from_value(arguments)?),
            BuiltIn::ListFiles => Self::ListFiles(serde_json::from_value(arguments)?),
            BuiltIn::SearchFiles => Self::SearchFiles(serde_json::from_value(arguments)?),
            BuiltIn::CallApi => Self::CallApi(serde_json::from_value(arguments)?),
            BuiltIn::SendEmail => Self::SendEmail(serde_json::from_value(arguments)?),
            BuiltIn::QuerySql => Self::QuerySql(serde_json::from_value(arguments)?),
        })
    }
}

const fn timeout_s_default() -> u32 {
    SHELL_TIMEOUT_S_DEFAULT
}

const fn code_timeout_s_default() -> u32 {
    CODE_TIMEOUT_S_DEFAULT
}

const fn offset_default() -> u64 {
    1
}

const fn limit_default() -> u64 {
    LINES_DEFAULT
}
