//! What is wrong with a file somebody wrote: where, what, and how to put it right.
//!
//! Findings are gathered, not thrown: one reading of a folder reports everything at once. The number kept is bounded, so a
//! hostile file cannot turn into an endless answer.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::FieldError;

/// Most findings of one reading; the last says that there were more.
pub const FINDINGS_MAX: usize = 100;
/// Most characters of foreign text repeated in a message.
pub const QUOTE_CHARS_MAX: usize = 60;

/// Whether a finding stops the file from being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Must be mended.
    Error,
    /// Worth a look.
    Warning,
}

/// A place in a text: line and column from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mark {
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

impl Mark {
    /// The beginning of a file.
    pub const START: Self = Self { line: 1, column: 1 };

    /// A place; numbers beyond 32 bits stay at the largest.
    pub fn new(line: usize, column: usize) -> Self {
        let clamp = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).max(1);
        Self { line: clamp(line), column: clamp(column) }
    }
}

/// One finding. Displays as `file:line:column message (hint)`; a warning says so before its message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Finding {
    /// Path inside the folder, `/` between its parts.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// How to put it right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Finding {
    /// Where it is: `file:line:column`.
    pub fn place(&self) -> String {
        format!("{}:{}:{}", self.file, self.line, self.column)
    }

    /// The sentence without its place: `message (hint)`.
    pub fn detail(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{} ({hint})", self.message),
            None => self.message.clone(),
        }
    }

    /// As a problem document shows it: the pointer is the place, the code `invalid_agent` or `warning`.
    pub fn to_field_error(&self) -> FieldError {
        let code = match self.severity {
            Severity::Error => "invalid_agent",
            Severity::Warning => "warning",
        };
        FieldError::new(self.place(), code, self.detail())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let warning = if self.severity == Severity::Warning { "warning: " } else { "" };
        write!(f, "{} {warning}{}", self.place(), self.detail())
    }
}

/// A collector of findings.
#[derive(Debug, Default)]
pub struct Findings {
    list: Vec<Finding>,
    errors: usize,
    dropped: usize,
}

impl Findings {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Something that must be mended; an empty hint is none.
    pub fn error(&mut self, file: &str, mark: Mark, message: impl Into<String>, hint: impl Into<String>) {
        self.errors += 1;
        self.push(Severity::Error, file, mark, message.into(), hint.into());
    }

    /// Something worth a look; an empty hint is none.
    pub fn warning(&mut self, file: &str, mark: Mark, message: impl Into<String>, hint: impl Into<String>) {
        self.push(Severity::Warning, file, mark, message.into(), hint.into());
    }

    fn push(&mut self, severity: Severity, file: &str, mark: Mark, message: String, hint: String) {
        if self.list.len() >= FINDINGS_MAX {
            self.dropped += 1;
            return;
        }
        let hint = (!hint.is_empty()).then_some(hint);
        self.list.push(Finding {
            file: file.to_owned(),
            line: mark.line,
            column: mark.column,
            severity,
            message,
            hint,
        });
    }

    /// Whether anything must be mended.
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// How many errors so far, those beyond [`FINDINGS_MAX`] included.
    pub fn error_count(&self) -> usize {
        self.errors
    }

    /// The findings by file and place, each once.
    pub fn into_vec(mut self) -> Vec<Finding> {
        self.list.sort();
        self.list.dedup();
        if let (true, Some(last)) = (self.dropped > 0, self.list.last_mut()) {
            *last = Finding {
                message: format!("and {} more findings", self.dropped + 1),
                hint: Some("mend the ones above first".into()),
                ..last.clone()
            };
        }
        self.list
    }
}

/// Foreign text fit for a message: in backquotes, on one line, shortened, without control characters.
pub fn quote(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(QUOTE_CHARS_MAX)
        .map(|letter| if is_unprintable(letter) { '\u{fffd}' } else { letter })
        .collect();
    if text.chars().nth(QUOTE_CHARS_MAX).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// Control characters and those that turn the direction of writing: they can make a terminal or a reader see another text.
pub fn is_unprintable(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
