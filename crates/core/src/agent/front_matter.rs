//! A Markdown file with YAML between two `---` lines at its top: `AGENT.md`, `SKILL.md`.

use crate::finding::{Findings, Mark};
use crate::yaml::{self, Node};

/// Largest Markdown file with front matter.
pub(super) const MARKDOWN_BYTES_MAX: usize = 256 * 1024;

/// The two parts of the file.
pub(super) struct Document<'t> {
    /// The front matter.
    pub(super) head: Node,
    /// What follows the second `---`.
    pub(super) body: &'t str,
    /// Lines before the body.
    pub(super) body_line: usize,
}

/// Splits and reads; `None` when there is no front matter to go on with.
pub(super) fn read<'t>(file: &str, bytes: &'t [u8], findings: &mut Findings) -> Option<Document<'t>> {
    if bytes.len() > MARKDOWN_BYTES_MAX {
        let message = format!("the file is larger than {MARKDOWN_BYTES_MAX} bytes");
        findings.error(file, Mark::START, message, "move long text into files/ or a skill");
        return None;
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            findings.error(file, end_of(&valid), "the file is not UTF-8 text", "save it as UTF-8");
            return None;
        }
    };
    let mut lines = text.split_inclusive('\n');
    let first = lines.next().unwrap_or_default();
    if first.trim_end() != "---" {
        findings.error(
            file,
            Mark::START,
            "the file does not begin with front matter",
            "begin with a line --- , YAML, and a second line ---",
        );
        return None;
    }
    let start = first.len();
    let mut end = start;
    for (index, line) in lines.enumerate() {
        if line.trim_end() == "---" {
            let body_line = index + 2;
            let head = yaml::parse(file, &text[start..end], 1, findings)?;
            return Some(Document { head, body: &text[end + line.len()..], body_line });
        }
        end += line.len();
    }
    findings.error(file, Mark::START, "the front matter has no end", "close it with a second line ---");
    None
}

/// The place just after the last character.
fn end_of(text: &str) -> Mark {
    let last = text.rsplit('\n').next().unwrap_or_default();
    Mark::new(text.matches('\n').count() + 1, last.chars().count() + 1)
}
