//! Tools by name: the built-in ones and the agent's own (`tools/NAME/tool.yaml` with its script).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fields::{Cx, Fields, did_you_mean};
use super::folder::Folder;
use super::schemas;
use crate::finding::{Findings, Mark, quote};
use crate::yaml::{self, Node};

/// The built-in tools of this version, in the order the model sees them.
pub const BUILTIN: &[&str] = &[
    "shell",
    "run_code",
    "terminal",
    "read_file",
    "write_file",
    "edit_file",
    "list_files",
    "search_files",
    "call_api",
    "query_sql",
    "send_email",
    "finish",
];
/// Names kept for built-in tools to come: no tool of an agent may have them.
pub const RESERVED: &[&str] = &["remember", "recall", "get_state", "set_state", "ask_human", "delegate"];
/// Built-in tools that only an agent that names them under `tools` has.
pub const CHOSEN_ONLY: &[&str] = &["terminal"];
/// The tool that ends a run; always there.
pub const FINISH: &str = "finish";
/// Most tools of an agent's own.
pub const OWN_TOOLS_MAX: usize = 64;
/// Longest description of a tool, in characters.
pub const TOOL_DESCRIPTION_CHARS_MAX: usize = 4_096;
/// Most words of a tool's command.
pub const COMMAND_WORDS_MAX: usize = 64;
/// Default time limit of a tool's command, in seconds.
pub const TOOL_TIMEOUT_S_DEFAULT: u64 = 120;
/// Largest time limit of a tool's command, in seconds.
pub const TOOL_TIMEOUT_S_MAX: u64 = 3_600;
/// Longest name of a tool.
pub const TOOL_NAME_CHARS_MAX: usize = 64;

/// A tool of the agent's own. It runs in the sandbox with its arguments as JSON on standard input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnTool {
    /// The folder's name below `tools/`.
    pub name: String,
    /// What the model is told.
    pub description: String,
    /// JSON Schema of the arguments; an object.
    pub input: Value,
    /// Program and arguments. A program with a `/` is relative to the tool's folder.
    pub command: Vec<String>,
    /// Seconds until it is stopped.
    pub timeout_s: u64,
}

impl OwnTool {
    /// Its folder: `tools/NAME`.
    pub fn folder(&self) -> String {
        format!("tools/{}", self.name)
    }
}

/// Whether a name is fit for a tool: `[a-zA-Z0-9_-]{1,64}`, as every provider accepts it.
pub fn is_tool_name(name: &str) -> bool {
    (1..=TOOL_NAME_CHARS_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// Reads every folder below `tools/`.
pub(super) fn read_own(folder: &Folder, findings: &mut Findings) -> Vec<OwnTool> {
    let mut tools = Vec::new();
    for (index, name) in folder.names("tools/").enumerate() {
        let Some(name) = name.strip_suffix('/') else {
            let hint = "a tool is a folder: tools/NAME/tool.yaml";
            findings.warning(&format!("tools/{name}"), Mark::START, "this file is not used", hint);
            continue;
        };
        if index >= OWN_TOOLS_MAX {
            findings.error(
                &format!("tools/{name}/tool.yaml"),
                Mark::START,
                format!("more than {OWN_TOOLS_MAX} tools"),
                "",
            );
            break;
        }
        if let Some(tool) = read_one(folder, name, findings) {
            tools.push(tool);
        }
    }
    tools
}

fn read_one(folder: &Folder, name: &str, findings: &mut Findings) -> Option<OwnTool> {
    let file = format!("tools/{name}/tool.yaml");
    let before = findings.error_count();
    if !is_tool_name(name) {
        findings.error(
            &file,
            Mark::START,
            format!("{} is no name for a tool", quote(name)),
            "letters, digits, _ and -, at most 64",
        );
    } else if BUILTIN.contains(&name) || RESERVED.contains(&name) {
        findings.error(
            &file,
            Mark::START,
            format!("{} is the name of a built-in tool", quote(name)),
            "rename the folder",
        );
    }
    let Some(content) = folder.get(&file) else {
        findings.error(&file, Mark::START, "this file is missing", "a tool needs {description, input, command}");
        return None;
    };
    let Ok(text) = std::str::from_utf8(&content.bytes) else {
        findings.error(&file, Mark::START, "this file is not UTF-8 text", "save it as UTF-8");
        return None;
    };
    let node = yaml::parse(&file, text, 0, findings)?;
    let tool = read_fields(folder, name, &node, &mut Cx { file: &file, findings })?;
    // A tool with findings is not offered, but the reading went to its end.
    (findings.error_count() == before).then_some(tool)
}

fn read_fields(folder: &Folder, name: &str, node: &Node, cx: &mut Cx<'_>) -> Option<OwnTool> {
    let mut fields = Fields::new(cx.map("the file", node)?);
    fields.require("description", node.mark, "description: what it does and when to use it", cx);
    fields.require("command", node.mark, "command: [\"./run.sh\"]", cx);
    let description =
        fields.take("description").and_then(|node| cx.short_text("`description`", node, TOOL_DESCRIPTION_CHARS_MAX));
    let input = match fields.take("input") {
        Some(node) => schemas::read_object("`input`", node, cx),
        None => Some(schemas::any_object()),
    };
    let command = fields.take("command").and_then(|node| read_command(folder, name, node, cx));
    let timeout_s = match fields.take("timeout_s") {
        Some(node) => cx.whole("`timeout_s`", node, 1, TOOL_TIMEOUT_S_MAX),
        None => Some(TOOL_TIMEOUT_S_DEFAULT),
    };
    fields.finish("tool.yaml", cx);
    Some(OwnTool {
        name: name.to_owned(),
        description: description?,
        input: input?,
        command: command?,
        timeout_s: timeout_s?,
    })
}

fn read_command(folder: &Folder, name: &str, node: &Node, cx: &mut Cx<'_>) -> Option<Vec<String>> {
    let items = cx.list("`command`", node)?;
    if items.is_empty() || items.len() > COMMAND_WORDS_MAX {
        cx.error(node.mark, format!("`command` must have 1 to {COMMAND_WORDS_MAX} words, not {}", items.len()), "");
        return None;
    }
    let mut words = Vec::new();
    for item in items {
        let word = cx.text("a word of `command`", item)?;
        if word.contains('\0') {
            cx.error(item.mark, "a word of `command` has a NUL", "");
            return None;
        }
        words.push(word);
    }
    check_program(folder, name, &words[0], items[0].mark, cx);
    Some(words)
}

/// A program with a slash is a file of the tool; one without is looked up in the sandbox's `PATH`.
fn check_program(folder: &Folder, name: &str, program: &str, mark: Mark, cx: &mut Cx<'_>) {
    if program.trim().is_empty() {
        cx.error(mark, "`command` begins with an empty word", "name the program");
        return;
    }
    if program.starts_with('/') || !program.contains('/') {
        if folder.contains(&format!("tools/{name}/{program}")) {
            cx.error(
                mark,
                format!("{} would be looked up in PATH", quote(program)),
                format!("write ./{program} for the file beside tool.yaml"),
            );
        }
        return;
    }
    let path = format!("tools/{name}/{}", program.strip_prefix("./").unwrap_or(program));
    match folder.get(&path) {
        None => {
            let beside = format!("tools/{name}/");
            let hint = did_you_mean(&path[beside.len()..], folder.below(&beside).map(|(path, _)| path))
                .unwrap_or_else(|| "the path is relative to the tool's folder".into());
            cx.error(mark, format!("there is no file {}", quote(&path)), hint);
        }
        Some(file) if !file.executable => {
            cx.error(
                mark,
                format!("{} is not executable", quote(&path)),
                "begin it with #! and its interpreter, or set the bit (chmod +x)",
            );
        }
        Some(_) => {}
    }
}

/// Reads `tools:`, a choice among the built-in tools and the agent's own.
pub(super) fn read_choice(node: &Node, folder: &Folder, cx: &mut Cx<'_>) -> Option<Vec<String>> {
    let items = cx.list("`tools`", node)?;
    // By folder, not by what could be read: a broken tool.yaml has findings of its own.
    let own: Vec<&str> = folder.names("tools/").filter_map(|name| name.strip_suffix('/')).collect();
    let mut chosen: Vec<String> = Vec::new();
    for item in items {
        let Some(name) = cx.text("a tool", item) else { continue };
        if chosen.contains(&name) {
            cx.error(item.mark, format!("the tool {} is here twice", quote(&name)), "keep one");
        } else if BUILTIN.contains(&name.as_str()) || own.contains(&name.as_str()) {
            chosen.push(name);
        } else if RESERVED.contains(&name.as_str()) {
            cx.error(item.mark, format!("the tool {} is not supported yet", quote(&name)), "leave it out");
        } else {
            let known = BUILTIN.iter().copied().chain(own.iter().copied());
            let hint = did_you_mean(&name, known)
                .unwrap_or_else(|| format!("built in: {}; an own tool is a folder tools/NAME", BUILTIN.join(", ")));
            cx.error(item.mark, format!("no tool is called {}", quote(&name)), hint);
        }
    }
    Some(chosen)
}
