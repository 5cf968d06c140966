//! The conversation as any provider will take it, before a format spells it: every call answered, every answer asked for,
//! nothing empty, nothing that belongs to another model.
//!
//! Owns the rules that all formats share. Refused: spelling, see [`super::encode`].

use std::collections::{BTreeSet, VecDeque};

use serde_json::Value;

use super::decode::REASONING_DETAILS;
use super::draft::CITATIONS;
use crate::message::{Message, Part, Role, Thinking, ToolResult};

#[cfg(test)]
mod tests;

/// What a call is told that nobody answered.
const ABORTED: &str = r#"{"error":"aborted"}"#;

/// For whom the conversation is prepared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    /// The codec's name.
    pub(super) provider: &'a str,
    pub(super) model: &'a str,
    pub(super) unsigned: Unsigned,
}

/// What becomes of reasoning without a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsigned {
    /// The provider refuses it.
    Drop,
    /// The provider has no proofs.
    Keep,
}

/// A call that waits for its result.
struct Open {
    /// As the transcript has it.
    id: String,
    /// As it goes out: another one for the second call of the same id.
    unique: String,
    name: String,
}

/// Prepares a conversation. Roles alternate in what comes out; the results of a turn's calls
/// stand first in the message after it, in the order of the calls.
pub(super) fn prepare(messages: &[Message], reader: Reader<'_>) -> Vec<Message> {
    let mut out: Vec<Message> = Vec::with_capacity(messages.len());
    let mut open: Vec<Open> = Vec::new();
    let mut used = BTreeSet::new();
    let mut at = 0;
    while at < messages.len() {
        let role = messages[at].role;
        let end = messages[at..].iter().position(|message| message.role != role).map_or(messages.len(), |n| at + n);
        let parts = messages[at..end].iter().flat_map(|message| &message.parts);
        match role {
            Role::Assistant => push(&mut out, role, assistant(parts, reader, &mut open, &mut used)),
            Role::User => push(&mut out, role, user(parts, &mut open)),
        }
        at = end;
    }
    if !open.is_empty() {
        push(&mut out, Role::User, user(std::iter::empty(), &mut open));
    }
    out
}

/// Adds a message, or to the last one when the roles meet because what stood between had nothing left.
fn push(out: &mut Vec<Message>, role: Role, parts: Vec<Part>) {
    if parts.is_empty() {
        return;
    }
    match out.last_mut() {
        Some(last) if last.role == role => last.parts.extend(parts),
        _ => out.push(Message { role, parts }),
    }
}

fn assistant<'a>(
    parts: impl Iterator<Item = &'a Part>,
    reader: Reader<'_>,
    open: &mut Vec<Open>,
    used: &mut BTreeSet<String>,
) -> Vec<Part> {
    let mut out = Vec::new();
    for part in parts {
        match part {
            Part::Text { text } | Part::Refusal { text } => out.extend(clean(text).map(|text| Part::Text { text })),
            Part::ToolCall(call) => {
                let mut call = call.clone();
                let id = call.id.clone();
                let mut copy = 1;
                // A second call of the same id is another call.
                while !used.insert(call.id.clone()) {
                    copy += 1;
                    call.id = format!("{id}_{copy}");
                }
                open.push(Open { id, unique: call.id.clone(), name: call.name.clone() });
                out.push(Part::ToolCall(call));
            }
            Part::Thinking(thinking) if keeps(thinking, reader) => out.push(part.clone()),
            Part::Opaque { provider, model, .. } if provider == reader.provider && model == reader.model => {
                out.push(part.clone())
            }
            // Another model's thoughts, and what an assistant cannot say.
            Part::Thinking(_) | Part::Opaque { .. } | Part::Image { .. } | Part::ToolResult(_) => {}
        }
    }
    // Reasoning alone is no turn: providers refuse a message that says nothing.
    let speaks = |part: &Part| !matches!(part, Part::Thinking(_)) && !is_record(part);
    if out.iter().any(speaks) { out } else { Vec::new() }
}

/// One of our own records beside the text: nothing that could stand alone.
fn is_record(part: &Part) -> bool {
    matches!(part, Part::Opaque { block, .. } if block["type"] == REASONING_DETAILS || block["type"] == CITATIONS)
}

fn keeps(thinking: &Thinking, reader: Reader<'_>) -> bool {
    let same = thinking.provider == reader.provider && thinking.model == reader.model;
    let proven = thinking.signature.is_some() || thinking.redacted.is_some() || reader.unsigned == Unsigned::Keep;
    same && proven
}

fn user<'a>(parts: impl Iterator<Item = &'a Part>, open: &mut Vec<Open>) -> Vec<Part> {
    let mut results: VecDeque<&ToolResult> = VecDeque::new();
    let mut said = Vec::new();
    for part in parts {
        match part {
            Part::ToolResult(result) => results.push_back(result),
            Part::Text { text } => said.extend(clean(text).map(|text| Part::Text { text })),
            Part::Image { .. } => said.push(part.clone()),
            // What a user cannot say.
            Part::ToolCall(_) | Part::Thinking(_) | Part::Refusal { .. } | Part::Opaque { .. } => {}
        }
    }
    let mut out = Vec::with_capacity(open.len() + said.len());
    for call in open.drain(..) {
        let found = results.iter().position(|result| result.call_id == call.id).and_then(|at| results.remove(at));
        out.push(Part::ToolResult(answer(found, call)));
    }
    out.extend(said);
    out
}

fn answer(result: Option<&ToolResult>, call: Open) -> ToolResult {
    let Some(result) = result else {
        let parts = vec![Part::Text { text: ABORTED.to_owned() }];
        return ToolResult { call_id: call.unique, name: call.name, parts, is_error: true };
    };
    let parts = result.parts.iter().filter_map(|part| match part {
        Part::Text { text } => clean(text).map(|text| Part::Text { text }),
        Part::Image { .. } => Some(part.clone()),
        _ => None,
    });
    ToolResult { call_id: call.unique, name: call.name, parts: parts.collect(), is_error: result.is_error }
}

/// Without NUL, which some providers refuse; `None` when nothing but white space is left.
fn clean(text: &str) -> Option<String> {
    if text.trim_matches(|c: char| c.is_whitespace() || c == '\0').is_empty() {
        return None;
    }
    Some(if text.contains('\0') { text.replace('\0', "") } else { text.to_owned() })
}

/// The arguments of a call as an object: those that could not be used are quoted, providers want an object back.
pub(super) fn arguments(arguments: &crate::message::Arguments) -> Value {
    match arguments {
        crate::message::Arguments::Object(map) => Value::Object(map.clone()),
        crate::message::Arguments::Unusable { text, .. } if text.trim().is_empty() => serde_json::json!({}),
        crate::message::Arguments::Unusable { text, .. } => serde_json::json!({ "unusable": text.replace('\0', "") }),
    }
}
