//! `terminal` as the model sees it.

use serde_json::json;

use super::super::terminal::{KEYS, TERMINAL_WAIT_S_DEFAULT, TERMINAL_WAIT_S_MAX};
use super::{COMMAND_CHARS_MAX, Described, PATTERN_CHARS_MAX, path};

/// Most lines, and most characters of a line.
const SIDE_MAX: u32 = 1000;
/// Most keys of one call.
const KEYS_MAX: u32 = 100;

pub(super) fn described() -> Described {
    let description = "Works with programs that keep running between calls or want a terminal: a shell that remembers, a REPL, a \
                       debugger, a server. `open` starts one and answers with its number; `write` types into it; `read` looks again; \
                       `resize`, `close`. `list` names the open terminals and the commands `shell` left in the background, `kill` ends one of \
                       those by pid. Answers with a line of JSON (terminal, running, offset, exit_code) and then the text that is \
                       new, without colours. It answers once `until` is found, or without `until` when the program falls quiet, or after \
                       wait_s. For one command that ends by itself use shell.";
    let side = |of: &str| json!({"type": "integer", "minimum": 1, "maximum": SIDE_MAX, "description": of});
    let properties = json!({
        "action": {"enum": ["open", "write", "read", "resize", "close", "list", "kill"], "description": "What to do."},
        "terminal": {"type": "integer", "minimum": 1, "description": "Which one, as open answered."},
        "command": {"type": "string", "minLength": 1, "maxLength": COMMAND_CHARS_MAX,
            "description": "open: the command, for sh -c. Default: an interactive shell."},
        "cwd": path("open: folder to start in. Default /workspace."),
        "input": {"type": "string", "maxLength": COMMAND_CHARS_MAX,
            "description": "write: what is typed; a line ends with \\n."},
        "keys": {"type": "array", "maxItems": KEYS_MAX, "items": {"enum": KEYS}, "description": "write: keys pressed after the input."},
        "wait_s": {"type": "integer", "minimum": 0, "maximum": TERMINAL_WAIT_S_MAX,
            "description": format!("Most seconds to wait for what it shows. Default {TERMINAL_WAIT_S_DEFAULT}.")},
        "until": {"type": "string", "minLength": 1, "maxLength": PATTERN_CHARS_MAX,
            "description": "A regular expression to wait for in what is new."},
        "offset": {"type": "integer", "minimum": 0,
            "description": "Read from here instead of from where the last call ended; the last 256 KiB are kept."},
        "rows": side("open, resize: lines. Default 24."),
        "columns": side("open, resize: characters of a line. Default 80."),
        "pid": {"type": "integer", "minimum": 1, "description": "kill: the background_pid."},
    });
    (description.to_owned(), properties, &["action"])
}
