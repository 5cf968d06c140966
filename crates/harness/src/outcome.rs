//! What a tool led to, and how the model reads it.
//!
//! The text is written here once, when the outcome comes in, and the log keeps that text: the model reads the same after a
//! crash. Read next: [`crate::text`].

mod api;
mod code;
mod sql;

use livery_core::error::FieldError;
use livery_llm::message::Part;
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use self::api::ApiOutput;
pub use self::code::{CodeError, CodeErrorKind, CodeOutput};
pub use self::sql::{SqlColumn, SqlOutput};
use crate::text::{RESULT_BYTES_MAX, image_type, numbered_lines, shorten};
use crate::tools::ReadFile;

/// Largest image shown to a model, in bytes.
pub const IMAGE_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Most entries of a listing and most matches of a search that the model gets.
pub const ENTRIES_MAX: usize = 500;
/// Longest line of a search result, in bytes.
pub const MATCH_BYTES_MAX: usize = 400;

/// Longest path of a whole output.
const PATH_BYTES_MAX: usize = 512;

/// How a tool ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToolOutcome {
    /// `shell` ran.
    Shell(ShellOutput),
    /// `run_code` ran.
    Code(CodeOutput),
    /// A tool of the agent's own ran.
    Own(ShellOutput),
    /// `call_api` was answered.
    Api(ApiOutput),
    /// `query_sql` was answered.
    Sql(SqlOutput),
    /// It worked, and this is what it says.
    Text {
        /// For the model.
        text: String,
    },
    /// It worked, and this is a picture.
    Image {
        /// `image/png`, `image/jpeg`, `image/gif` or `image/webp`.
        media_type: String,
        /// Standard base64.
        data: String,
    },
    /// `list_files` worked.
    Files {
        /// In the order they are shown.
        entries: Vec<FileEntry>,
        /// Whether there are more.
        more: bool,
    },
    /// `search_files` worked.
    Matches {
        /// In the order they are shown.
        matches: Vec<Match>,
        /// Whether there are more.
        more: bool,
    },
    /// It did not work.
    Failed {
        /// For the model: what went wrong and what to do.
        message: String,
    },
    /// As the log of an earlier life has it: a replay's outcome.
    Recorded {
        /// Whether it did what was asked.
        ok: bool,
        /// The text the model read.
        text: String,
        /// What it got beside the text.
        attachments: Vec<Part>,
    },
}

/// What a command printed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ShellOutput {
    /// `None` when a signal ended it or it runs on in the background.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Its process number, when it runs on in the background.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background_pid: Option<u32>,
    /// Possibly already shortened.
    pub stdout: String,
    /// Possibly already shortened.
    pub stderr: String,
    /// Whether something of it is missing here.
    #[serde(default)]
    pub truncated: bool,
    /// Where in the sandbox the whole output lies, or grows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_output: Option<String>,
    /// Whether it was stopped at its time limit.
    #[serde(default)]
    pub timed_out: bool,
}

/// One entry of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Relative to what was listed; a folder ends with `/`.
    pub path: String,
    /// Size; `None` for a folder.
    pub bytes: Option<u64>,
}

/// One line that matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Match {
    /// The file.
    pub path: String,
    /// From 1.
    pub line: u64,
    /// The line.
    pub text: String,
}

/// A result as the model gets it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rendered {
    pub(crate) ok: bool,
    pub(crate) text: String,
    pub(crate) attachments: Vec<Part>,
}

impl ToolOutcome {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }

    /// A failure.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed { message: message.into() }
    }

    /// The outcome of `read_file` for a file with this content: numbered lines, a picture, or why it cannot be shown.
    pub fn file(bytes: &[u8], call: &ReadFile) -> Self {
        use base64::Engine as _;
        if let Some(media_type) = image_type(bytes) {
            if bytes.len() > IMAGE_BYTES_MAX {
                return Self::failed(format!(
                    "{} is an image of {} bytes; at most {IMAGE_BYTES_MAX} can be shown. Make it smaller first.",
                    call.path,
                    bytes.len()
                ));
            }
            let data = base64::engine::general_purpose::STANDARD.encode(bytes);
            return Self::Image { media_type: media_type.to_owned(), data };
        }
        match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => match numbered_lines(text, call.offset, call.limit) {
                Ok(text) => Self::text(text),
                Err(message) => Self::failed(message),
            },
            _ => {
                Self::failed(format!("{} is a binary file of {} bytes; look at it with shell.", call.path, bytes.len()))
            }
        }
    }

    pub(crate) fn render(self) -> Rendered {
        let mut attachments = Vec::new();
        let (ok, text) = match self {
            Self::Shell(output) => (output.exit_code == Some(0) || output.background_pid.is_some(), shell(&output)),
            Self::Code(output) => (output.is_good(), output.text()),
            Self::Own(output) => own(&output),
            Self::Api(output) => (output.is_good(), output.text()),
            Self::Sql(output) => (true, output.text()),
            Self::Text { text } => (true, text),
            Self::Image { media_type, data } => {
                let text = format!("({media_type}, shown below)");
                attachments.push(Part::Image { media_type, data });
                (true, text)
            }
            Self::Files { entries, more } => (true, files(&entries, more)),
            Self::Matches { matches, more } => (true, found(&matches, more)),
            Self::Failed { message } => (false, message),
            Self::Recorded { ok, text, attachments: recorded } => {
                attachments = recorded;
                (ok, text)
            }
        };
        let text = clean(shorten(&text, RESULT_BYTES_MAX).into_owned());
        Rendered { ok, text, attachments }
    }
}

/// The contract's object. What is printed is shortened before it is quoted, so that the object stays whole; quoting may
/// make six bytes of one, so less is kept until it fits.
fn shell(output: &ShellOutput) -> String {
    let mut room = RESULT_BYTES_MAX;
    loop {
        let text = shell_within(output, room);
        if text.len() <= RESULT_BYTES_MAX {
            return text;
        }
        room -= room / 4;
    }
}

fn shell_within(output: &ShellOutput, room: usize) -> String {
    // Standard error is usually short and always worth reading: it may take a quarter, or what standard output leaves.
    let stderr_max = (room / 4).max(room.saturating_sub(output.stdout.len()));
    let stderr = shorten(&output.stderr, stderr_max);
    let stdout = shorten(&output.stdout, room.saturating_sub(stderr.len()));
    let truncated = output.truncated || stderr.len() < output.stderr.len() || stdout.len() < output.stdout.len();
    let mut object = json!({"exit_code": output.exit_code, "stdout": stdout, "stderr": stderr, "truncated": truncated});
    if output.timed_out {
        object["timed_out"] = true.into();
    }
    if let Some(signal) = output.signal {
        object["signal"] = signal.into();
    }
    if let Some(pid) = output.background_pid {
        object["background_pid"] = pid.into();
    }
    let told = truncated || output.background_pid.is_some();
    if let Some(path) = output.full_output.as_deref().filter(|path| told && path.len() <= PATH_BYTES_MAX) {
        object["full_output"] = path.into();
    }
    object.to_string()
}

/// Standard output is the result; a failure shows everything.
fn own(output: &ShellOutput) -> (bool, String) {
    let ok = output.exit_code == Some(0);
    let text = if ok { output.stdout.clone() } else { failure(output) };
    let shown = shorten(&text, RESULT_BYTES_MAX - PATH_BYTES_MAX - 100);
    let truncated = output.truncated || shown.len() < text.len();
    match output.full_output.as_deref().filter(|path| truncated && path.len() <= PATH_BYTES_MAX) {
        Some(path) => (ok, format!("{shown}\n(Something is left out; the whole output is in {path}.)")),
        None => (ok, shown.into_owned()),
    }
}

fn failure(output: &ShellOutput) -> String {
    let mut text = match (output.timed_out, output.exit_code, output.signal) {
        (true, ..) => "The tool was stopped at its time limit.".to_owned(),
        (false, Some(code), _) => format!("The tool failed with exit code {code}."),
        (false, None, Some(signal)) => format!("The tool was ended by signal {signal}."),
        (false, None, None) => "The tool did not end by itself.".to_owned(),
    };
    for (name, content) in [("Standard error", &output.stderr), ("Standard output", &output.stdout)] {
        if !content.trim().is_empty() {
            text = format!("{text}\n{name}:\n{}", shorten(content, RESULT_BYTES_MAX / 2));
        }
    }
    text
}

fn files(entries: &[FileEntry], more: bool) -> String {
    if entries.is_empty() {
        return "(nothing)".to_owned();
    }
    let mut out = String::new();
    for entry in entries.iter().take(ENTRIES_MAX) {
        match entry.bytes {
            Some(bytes) => out.push_str(&format!("{} ({bytes} bytes)\n", entry.path)),
            None => out.push_str(&format!("{}\n", entry.path)),
        }
    }
    if more || entries.len() > ENTRIES_MAX {
        out.push_str("(more were left out: narrow it down with path or glob)\n");
    }
    out
}

fn found(matches: &[Match], more: bool) -> String {
    if matches.is_empty() {
        return "(no match)".to_owned();
    }
    let mut out = String::new();
    for found in matches.iter().take(ENTRIES_MAX) {
        out.push_str(&format!("{}:{}:{}\n", found.path, found.line, shorten(found.text.trim_end(), MATCH_BYTES_MAX)));
    }
    if more || matches.len() > ENTRIES_MAX {
        out.push_str("(more were left out: narrow it down with pattern, path or glob)\n");
    }
    out
}

/// No NUL, which several providers refuse, and never nothing at all.
fn clean(text: String) -> String {
    let text = if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text };
    if text.trim().is_empty() { "(no output)".to_owned() } else { text }
}

/// Findings about a value, one a line, each bounded: they may quote what the model wrote.
pub(crate) fn findings_text(findings: &[FieldError]) -> String {
    const DETAIL_BYTES_MAX: usize = 300;
    let mut out = String::new();
    for finding in findings {
        let place = if finding.pointer.is_empty() { "(whole value)" } else { &finding.pointer };
        out.push_str(&format!("- {place}: {}\n", shorten(&finding.detail, DETAIL_BYTES_MAX)));
    }
    out
}

#[cfg(test)]
mod tests;
