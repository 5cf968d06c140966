//! Reads a mapping field by field: right types, ranges, no unknown keys, everything noted and nothing thrown.
//!
//! A reader takes the keys it knows one after another and ends with [`Fields::finish`], which reports what nobody took.

use crate::finding::{Findings, Mark, quote};
use crate::yaml::{Data, Entry, Node};

/// Where findings go and which file they are about.
pub(super) struct Cx<'a> {
    pub(super) file: &'a str,
    pub(super) findings: &'a mut Findings,
}

impl Cx<'_> {
    pub(super) fn error(&mut self, mark: Mark, message: impl Into<String>, hint: impl Into<String>) {
        self.findings.error(self.file, mark, message, hint);
    }

    pub(super) fn warning(&mut self, mark: Mark, message: impl Into<String>, hint: impl Into<String>) {
        self.findings.warning(self.file, mark, message, hint);
    }

    /// `what` has the wrong type. A scalar that only lacks quotes gets that as its hint.
    pub(super) fn wrong_type(&mut self, what: &str, expected: &str, node: &Node) {
        let hint = match (&node.data, expected) {
            (Data::Number(number), "text") => format!("quote it: \"{number}\""),
            (Data::Bool(value), "text") => format!("quote it: \"{value}\""),
            _ => String::new(),
        };
        self.error(node.mark, format!("{what} must be {expected}, not {}", node.kind()), hint);
    }

    /// Text, or a finding.
    pub(super) fn text(&mut self, what: &str, node: &Node) -> Option<String> {
        match &node.data {
            Data::Text(text) => Some(text.clone()),
            _ => {
                self.wrong_type(what, "text", node);
                None
            }
        }
    }

    /// Text of 1 to `max` characters, or a finding.
    pub(super) fn short_text(&mut self, what: &str, node: &Node, max: usize) -> Option<String> {
        let text = self.text(what, node)?;
        let length = text.chars().count();
        if text.trim().is_empty() {
            self.error(node.mark, format!("{what} is empty"), "write it or leave the key out");
            return None;
        }
        if length > max {
            self.error(node.mark, format!("{what} has {length} characters, at most {max} fit"), "shorten it");
            return None;
        }
        Some(text)
    }

    /// A whole number in `min..=max`, or a finding.
    pub(super) fn whole(&mut self, what: &str, node: &Node, min: u64, max: u64) -> Option<u64> {
        let Data::Number(number) = &node.data else {
            self.wrong_type(what, "a whole number", node);
            return None;
        };
        let value = number.as_u64().filter(|value| (min..=max).contains(value));
        if value.is_none() {
            self.error(node.mark, format!("{what} must be a whole number from {min} to {max}, not {number}"), "");
        }
        value
    }

    /// `true` or `false`, or a finding.
    pub(super) fn boolean(&mut self, what: &str, node: &Node) -> Option<bool> {
        match &node.data {
            Data::Bool(value) => Some(*value),
            Data::Text(text) if matches!(text.to_ascii_lowercase().as_str(), "yes" | "no" | "on" | "off") => {
                let word = if matches!(text.to_ascii_lowercase().as_str(), "yes" | "on") { "true" } else { "false" };
                self.error(node.mark, format!("{what} must be true or false, not text"), format!("write {word}"));
                None
            }
            _ => {
                self.wrong_type(what, "true or false", node);
                None
            }
        }
    }

    /// A list, or a finding.
    pub(super) fn list<'n>(&mut self, what: &str, node: &'n Node) -> Option<&'n [Node]> {
        match &node.data {
            Data::List(items) => Some(items),
            _ => {
                self.wrong_type(what, "a list", node);
                None
            }
        }
    }

    /// A mapping, or a finding.
    pub(super) fn map<'n>(&mut self, what: &str, node: &'n Node) -> Option<&'n [Entry]> {
        match &node.data {
            Data::Map(entries) => Some(entries),
            _ => {
                self.wrong_type(what, "a mapping", node);
                None
            }
        }
    }
}

/// The entries of one mapping, and which of them somebody asked for.
pub(super) struct Fields<'n> {
    entries: &'n [Entry],
    asked: Vec<&'static str>,
    reported: &'static [&'static str],
}

impl<'n> Fields<'n> {
    pub(super) fn new(entries: &'n [Entry]) -> Self {
        Self { entries, asked: Vec::new(), reported: &[] }
    }

    /// The value of `key`; a key without a value counts as absent.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'n Node> {
        self.asked.push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        (entry.value.data != Data::Null).then_some(&entry.value)
    }

    /// Notes a key that is missing or has no value; `at` is the place of the mapping.
    pub(super) fn require(&self, key: &str, at: Mark, example: &str, cx: &mut Cx<'_>) {
        match self.entries.iter().find(|entry| entry.key == key) {
            None => cx.error(at, format!("`{key}` is missing"), format!("add {example}")),
            Some(entry) if entry.value.data == Data::Null => {
                cx.error(entry.mark, format!("`{key}` has no value"), format!("write {example}"));
            }
            Some(_) => {}
        }
    }

    /// Notes keys that belong to later versions of the format.
    pub(super) fn not_yet(&mut self, keys: &'static [&'static str], cx: &mut Cx<'_>) {
        self.reported = keys;
        for entry in self.entries.iter().filter(|entry| keys.contains(&entry.key.as_str())) {
            cx.error(entry.mark, format!("`{}` is not supported yet", entry.key), "leave it out");
        }
    }

    /// The entries nobody asked for.
    pub(super) fn rest(&self) -> impl Iterator<Item = &'n Entry> {
        self.entries.iter().filter(|entry| {
            let key = entry.key.as_str();
            !self.asked.contains(&key) && !self.reported.contains(&key)
        })
    }

    /// Reports what nobody asked for as unknown. `what` names the mapping.
    pub(super) fn finish(self, what: &str, cx: &mut Cx<'_>) {
        for entry in self.rest() {
            let hint = did_you_mean(&entry.key, self.asked.iter().copied())
                .unwrap_or_else(|| format!("known keys: {}", self.asked.join(", ")));
            cx.error(entry.mark, format!("unknown key {} in {what}", quote(&entry.key)), hint);
        }
    }
}

/// `did you mean …?` when one of the known words is close.
pub(super) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let fold = |text: &str| text.to_lowercase().replace('-', "_");
    let folded = fold(word);
    // One edit for every three letters; a word of three is too short to guess.
    let near = |candidate: &str| (candidate.chars().count().saturating_sub(1) / 3).min(3);
    let length = folded.chars().count();
    known
        .into_iter()
        // Words whose lengths differ by more can never be near enough; most are sorted out here.
        .filter(|candidate| candidate.chars().count().abs_diff(length) <= near(candidate))
        .map(|candidate| (distance(&folded, &fold(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= near(candidate))
        .min()
        .map(|(_, candidate)| format!("did you mean `{candidate}`?"))
}

/// Edits between two words (insert, delete, replace, swap of neighbours). Words longer than 40 characters are not compared.
fn distance(left: &str, right: &str) -> usize {
    const LENGTH_MAX: usize = 40;
    let left: Vec<char> = left.chars().take(LENGTH_MAX + 1).collect();
    let right: Vec<char> = right.chars().take(LENGTH_MAX + 1).collect();
    if left.len() > LENGTH_MAX || right.len() > LENGTH_MAX {
        return usize::MAX;
    }
    let mut rows = vec![(0..=right.len()).collect::<Vec<usize>>()];
    for i in 1..=left.len() {
        let mut row = vec![i];
        for j in 1..=right.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}
