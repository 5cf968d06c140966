//! `run_code` as the model sees it.

use serde_json::json;

use super::Described;
use crate::tools::invocation::{CODE_TIMEOUT_S_DEFAULT, SHELL_TIMEOUT_S_MAX};

/// Longest program, in characters.
const SOURCE_CHARS_MAX: usize = 256 * 1024;

pub(super) fn described() -> Described {
    let description = "Runs a program in JavaScript or TypeScript and waits for it. Answers with JSON: value (of a script's last \
                       expression or a module's default export, as JSON), stdout and stderr (what `console` printed), truncated; or \
                       error, with its kind (syntax, exception, timeout, memory, crashed), message and stack. `await` works at the \
                       top. Each call is a new isolate: no variable outlives it, files do. Deno's and Node's own modules are there \
                       (`Deno.readTextFile`, `node:fs`), packages are not. Files can be read and written in /workspace alone; there \
                       are no other programs, no environment, no workers. `fetch` reaches what your sandbox reaches; what a program \
                       would be told by variables is in `livery.env`.";
    let properties = json!({
        "source": {"type": "string", "minLength": 1, "maxLength": SOURCE_CHARS_MAX, "description": "The program."},
        "language": {"enum": ["js", "ts"], "description": "Its language; types are taken out, not checked. Default js."},
        "timeout_s": {"type": "integer", "minimum": 1, "maximum": SHELL_TIMEOUT_S_MAX,
            "description": format!("Seconds until it is stopped. Default {CODE_TIMEOUT_S_DEFAULT}.")},
    });
    (description.to_owned(), properties, &["source"])
}
