//! One text replaced by another, only where it is certain which place is meant.

/// A changed text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// The new content.
    pub content: String,
    /// How many places changed.
    pub replacements: usize,
}

/// Why an edit was not made. The text is for the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EditError {
    /// `old` is empty.
    EmptyOld,
    /// `old` and `new` are the same.
    NoChange,
    /// `old` does not occur.
    NotFound {
        /// Whether it would if the file's line ends were `\n` instead of `\r\n`.
        only_line_ends_differ: bool,
    },
    /// The result would be larger than 8 MiB.
    TooLarge,
    /// `old` occurs more than once and one place was asked for.
    Ambiguous {
        /// How often.
        count: usize,
        /// The lines of the first places, from 1.
        lines: Vec<usize>,
    },
}

impl std::fmt::Display for EditError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::EmptyOld => f.write_str("`old` is empty; give the text to replace, or use write_file for a new file."),
            Self::TooLarge => {
                write!(f, "the edited file would be larger than {EDITED_BYTES_MAX} bytes; nothing was replaced. Use shell.")
            }
            Self::NoChange => f.write_str("`old` and `new` are the same; nothing to do."),
            Self::NotFound { only_line_ends_differ: false } => f.write_str(
                "`old` occurs 0 times in the file. It must match exactly, white space included and without line numbers.",
            ),
            Self::NotFound { only_line_ends_differ: true } => {
                f.write_str("`old` occurs 0 times in the file: its lines end with \\r\\n, those of `old` with \\n.")
            }
            Self::Ambiguous { count, lines } => {
                let lines: Vec<String> = lines.iter().map(usize::to_string).collect();
                let and_more = if lines.len() < *count { ", …" } else { "" };
                write!(
                    f,
                    "`old` occurs {count} times in the file (lines {}{and_more}). Add lines around it until it is unique, or set \
                     replace_all.",
                    lines.join(", ")
                )
            }
        }
    }
}

impl std::error::Error for EditError {}

/// Largest file an edit may lead to: many places times a long text is more than any memory.
pub(super) const EDITED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Most places named in [`EditError::Ambiguous`].
const PLACES_MAX: usize = 5;

/// Replaces `old` by `new` in `content`: the only occurrence, or all of them with `replace_all`.
///
/// # Errors
/// Nothing was replaced, and why.
pub fn apply_edit(content: &str, old: &str, new: &str, replace_all: bool) -> Result<Edited, EditError> {
    if old.is_empty() {
        return Err(EditError::EmptyOld);
    }
    if old == new {
        return Err(EditError::NoChange);
    }
    let count = content.matches(old).count();
    let replaced = if replace_all { count } else { 1 };
    let grown = content.len().saturating_add(replaced.saturating_mul(new.len()));
    if count > 0 && grown.saturating_sub(replaced.saturating_mul(old.len())) > EDITED_BYTES_MAX {
        return Err(EditError::TooLarge);
    }
    match count {
        0 => {
            let unix = |text: &str| text.replace("\r\n", "\n");
            let only_line_ends_differ = content.contains("\r\n") && unix(content).contains(&unix(old));
            Err(EditError::NotFound { only_line_ends_differ })
        }
        1 => Ok(Edited { content: content.replacen(old, new, 1), replacements: 1 }),
        _ if replace_all => Ok(Edited { content: content.replace(old, new), replacements: count }),
        _ => Err(EditError::Ambiguous { count, lines: lines_of(content, old) }),
    }
}

fn lines_of(content: &str, old: &str) -> Vec<usize> {
    let places = content.match_indices(old).take(PLACES_MAX);
    places.map(|(at, _)| content[..at].matches('\n').count() + 1).collect()
}
