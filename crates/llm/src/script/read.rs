//! The file behind a script: closed, every finding with its place.

use livery_core::finding::{Finding, Findings, Mark, quote};
use livery_core::yaml::{self, Data, Entry, Node};

use super::{Call, DELAY_MS_MAX, Expectation, TURNS_MAX, Turn, Usage};
use crate::stream::StopReason;

const TURN_FIELDS: &str = "text, thinking, refusal, tools, expect, usage, delay_ms, stop";

/// Reads a script.
pub(super) fn script(file: &str, text: &str) -> Result<Vec<Turn>, Vec<Finding>> {
    let mut findings = Findings::new();
    let turns = match yaml::parse(file, text, 0, &mut findings) {
        Some(node) => Read { file, findings: &mut findings }.root(&node),
        None => Vec::new(),
    };
    if findings.has_errors() { Err(findings.into_vec()) } else { Ok(turns) }
}

struct Read<'a> {
    file: &'a str,
    findings: &'a mut Findings,
}

impl Read<'_> {
    fn error(&mut self, mark: Mark, message: impl Into<String>, hint: impl Into<String>) {
        self.findings.error(self.file, mark, message, hint);
    }

    fn root(&mut self, node: &Node) -> Vec<Turn> {
        let Some(entries) = self.map(node, "a script", "begin with `turns:`") else { return Vec::new() };
        let mut turns = None;
        for entry in entries {
            match entry.key.as_str() {
                "turns" => turns = self.list(&entry.value, "turns"),
                _ => self.unknown(entry, "a script", "turns"),
            }
        }
        match turns {
            Some([]) | None if self.findings.has_errors() => Vec::new(),
            Some([]) | None => {
                self.error(node.mark, "a script needs at least one turn", "turns: [{text: \"Hello.\"}]");
                Vec::new()
            }
            Some(turns) if turns.len() > TURNS_MAX => {
                self.error(node.mark, format!("more than {TURNS_MAX} turns"), "");
                Vec::new()
            }
            Some(turns) => turns.iter().map(|turn| self.turn(turn)).collect(),
        }
    }

    fn turn(&mut self, node: &Node) -> Turn {
        let mut turn = Turn { line: node.mark.line, ..Turn::default() };
        let Some(entries) = self.map(node, "a turn", "- text: \"Hello.\"") else { return turn };
        for entry in entries {
            let value = &entry.value;
            match entry.key.as_str() {
                "text" => turn.text = self.text(value, "text"),
                "thinking" => turn.thinking = self.text(value, "thinking"),
                "refusal" => turn.refusal = self.text(value, "refusal"),
                "tools" => {
                    let calls = self.list(value, "tools").unwrap_or_default();
                    turn.tools = calls.iter().filter_map(|call| self.call(call)).collect();
                }
                "expect" => turn.expect = self.expectations(value),
                "usage" => turn.usage = self.usage(value),
                "delay_ms" => turn.delay_ms = self.delay(value),
                "stop" => turn.stop = self.stop(value),
                _ => self.unknown(entry, "a turn", TURN_FIELDS),
            }
        }
        turn
    }

    fn call(&mut self, node: &Node) -> Option<Call> {
        let mut name = None;
        let mut arguments = serde_json::json!({});
        for entry in self.map(node, "a tool call", "{name: shell, arguments: {command: ls}}")? {
            match entry.key.as_str() {
                "name" => name = self.text(&entry.value, "name"),
                "arguments" => arguments = entry.value.to_json(),
                _ => self.unknown(entry, "a tool call", "name, arguments"),
            }
        }
        if name.is_none() {
            self.error(node.mark, "a tool call needs a name", "{name: shell, arguments: {command: ls}}");
        }
        Some(Call { name: name?, arguments })
    }

    fn expectations(&mut self, node: &Node) -> Vec<Expectation> {
        let mut out = Vec::new();
        let Some(entries) = self.map(node, "expect", "{tool_result_contains: \"…\"}") else { return out };
        for entry in entries {
            let make: fn(String) -> Expectation = match entry.key.as_str() {
                "tool_result_contains" => Expectation::ToolResultContains,
                "user_contains" => Expectation::UserContains,
                "system_contains" => Expectation::SystemContains,
                "tool_offered" => Expectation::ToolOffered,
                "tool_result_is_error" => {
                    match entry.value.data {
                        Data::Bool(wanted) => out.push(Expectation::ToolResultIsError(wanted)),
                        _ => self.expected("true or false", "tool_result_is_error", &entry.value),
                    }
                    continue;
                }
                _ => {
                    let known =
                        "tool_result_contains, tool_result_is_error, user_contains, system_contains, tool_offered";
                    self.unknown(entry, "expect", known);
                    continue;
                }
            };
            match &entry.value.data {
                Data::List(items) => {
                    for item in items {
                        out.extend(self.text(item, &entry.key).map(make));
                    }
                }
                _ => out.extend(self.text(&entry.value, &entry.key).map(make)),
            }
        }
        out
    }

    fn usage(&mut self, node: &Node) -> Option<Usage> {
        let mut usage = Usage::default();
        for entry in self.map(node, "usage", "{input: 10, output: 5}")? {
            let count = self.number(&entry.value, &entry.key);
            match entry.key.as_str() {
                "input" => usage.input = count,
                "output" => usage.output = count,
                "cache_read" => usage.cache_read = count.unwrap_or(0),
                "cache_write" => usage.cache_write = count.unwrap_or(0),
                _ => self.unknown(entry, "usage", "input, output, cache_read, cache_write"),
            }
        }
        Some(usage)
    }

    fn delay(&mut self, node: &Node) -> u64 {
        let delay = self.number(node, "delay_ms").unwrap_or(0);
        if delay > DELAY_MS_MAX {
            self.error(node.mark, format!("delay_ms is above {DELAY_MS_MAX}"), "ten minutes are the most");
        }
        delay
    }

    fn stop(&mut self, node: &Node) -> Option<StopReason> {
        let word = self.text(node, "stop")?;
        let stop = serde_json::from_value(word.clone().into()).ok();
        if stop.is_none() {
            let known =
                "end_turn, tool_use, max_tokens, stop_sequence, refusal, content_filter, pause, context_overflow";
            self.error(node.mark, format!("stop is {}", quote(&word)), format!("one of {known}"));
        }
        stop
    }

    fn map<'n>(&mut self, node: &'n Node, what: &str, hint: &str) -> Option<&'n [Entry]> {
        match &node.data {
            Data::Map(entries) => Some(entries),
            _ => {
                self.error(node.mark, format!("{what} must be a mapping, not {}", node.kind()), hint);
                None
            }
        }
    }

    fn list<'n>(&mut self, node: &'n Node, field: &str) -> Option<&'n [Node]> {
        match &node.data {
            Data::List(items) => Some(items),
            _ => {
                self.expected("a list", field, node);
                None
            }
        }
    }

    fn text(&mut self, node: &Node, field: &str) -> Option<String> {
        match &node.data {
            Data::Text(text) => Some(text.clone()),
            _ => {
                self.expected("text (in quotes if need be)", field, node);
                None
            }
        }
    }

    fn number(&mut self, node: &Node, field: &str) -> Option<u64> {
        let number = match &node.data {
            Data::Number(number) => number.as_u64(),
            _ => None,
        };
        if number.is_none() {
            self.expected("a whole number from 0", field, node);
        }
        number
    }

    fn expected(&mut self, what: &str, field: &str, node: &Node) {
        self.error(node.mark, format!("{field} must be {what}, not {}", node.kind()), "");
    }

    fn unknown(&mut self, entry: &Entry, place: &str, known: &str) {
        self.error(entry.mark, format!("{place} has no field {}", quote(&entry.key)), format!("known: {known}"));
    }
}
