//! `AGENT.md`: from front matter and body to an [`Agent`].

use std::collections::BTreeMap;

use super::fields::{Cx, Fields, did_you_mean};
use super::folder::{AGENT_MD, Folder};
use super::front_matter::{self, Document};
use super::model::{MODELS_MAX, ModelRef, ParseModelError, SCRIPTED};
use super::prompt::{self, Placeholder};
use super::{
    Agent, CONNECTIONS_MAX, DESCRIPTION_CHARS_MAX, NAME_CHARS_MAX, Slot, sandbox, schemas, skills, tools, workspace,
};
use crate::Usd;
use crate::finding::{Findings, Mark, quote};
use crate::run::{Limits, TIMEOUT_S_MAX, TURNS_MAX};
use crate::yaml::{Data, Node};

/// Keys that later versions of the format have.
const LATER_KEYS: &[&str] = &["harness", "mcp", "delegate", "continue_from"];
/// Largest `max_tokens`.
const TOKENS_MAX: u64 = 1_000_000_000;
/// Scripts named in a hint.
const SCRIPTS_SHOWN: usize = 8;
/// Longest name of a connector.
const CONNECTOR_CHARS_MAX: usize = 64;

/// Reads the agent and all that lies beside it. `None` when there are errors among the findings.
pub(super) fn read(folder: &Folder, findings: &mut Findings) -> Option<Agent> {
    let own_tools = tools::read_own(folder, findings);
    let skills = skills::read_all(folder, findings);
    check_entries(folder, findings);
    let file = folder.get(AGENT_MD)?;
    let document = front_matter::read(AGENT_MD, &file.bytes, findings)?;
    let mut agent = read_head(folder, &document.head, &mut Cx { file: AGENT_MD, findings })?;
    agent.prompt = read_body(&document, &agent.input, findings);
    agent.own_tools = own_tools;
    check_tier(&agent, findings);
    agent.skills = skills;
    (!findings.has_errors()).then_some(agent)
}

/// An isolate runs programs and no commands, every other tier commands and no programs.
fn check_tier(agent: &Agent, findings: &mut Findings) {
    let mut refuse = |file: &str, what: String, hint: &str| findings.error(file, Mark::START, what, hint);
    let is_isolate = agent.sandbox.tier == sandbox::Tier::Isolate;
    let named = |tool: &str| agent.tools.as_ref().is_some_and(|tools| tools.iter().any(|name| name == tool));
    if is_isolate && named("shell") {
        refuse(AGENT_MD, "the tier isolate has no commands, so there is no `shell`".into(), "name run_code instead");
    }
    if !is_isolate && named("run_code") {
        let what = "`run_code` needs the tier isolate".into();
        refuse(AGENT_MD, what, "write sandbox: {tier: isolate}, or name shell instead");
    }
    if is_isolate && agent.workspace.persist != workspace::Persist::None {
        let what = "the tier isolate has no workspace that could outlive a run".into();
        refuse(AGENT_MD, what, "leave `persist` out, or ask for another tier");
    }
    if let Some(tool) = agent.own_tools.first().filter(|_| is_isolate) {
        let file = format!("{}/tool.yaml", tool.folder());
        refuse(
            &file,
            "a tool is a command, and the tier isolate has none".into(),
            "put what it does into a file for run_code",
        );
    }
}

/// What lies at the top of the folder and is nothing an agent has.
fn check_entries(folder: &Folder, findings: &mut Findings) {
    const KNOWN: &[&str] = &[AGENT_MD, "tools/", "skills/", "files/", "scripts/"];
    // Common companions that say nothing to the agent.
    const IGNORED: &[&str] = &["README", "LICENSE", "NOTICE", "CHANGELOG"];
    if !folder.contains(AGENT_MD) {
        let near = folder.names("").find(|name| name.eq_ignore_ascii_case(AGENT_MD) || *name == "AGENTS.md");
        let hint = near
            .map_or_else(|| "an agent is a folder with AGENT.md at its top".into(), |name| format!("rename {name}"));
        findings.error(AGENT_MD, Mark::START, "this file is missing", hint);
    }
    if let Some((path, _)) = folder.below("files/.livery/").next() {
        let path = format!("files/.livery/{path}");
        findings.error(&path, Mark::START, "`.livery` in the workspace belongs to Livery", "rename the folder");
    }
    for name in folder.names("") {
        let stem = name.split(['.', '/']).next().unwrap_or_default();
        if KNOWN.contains(&name) || name.starts_with('.') || IGNORED.contains(&stem.to_ascii_uppercase().as_str()) {
            continue;
        }
        let hint = did_you_mean(name, KNOWN.iter().copied())
            .unwrap_or_else(|| "what the agent works on belongs in files/".into());
        findings.warning(name.trim_end_matches('/'), Mark::START, "this is not part of an agent and is ignored", hint);
    }
}

fn read_head(folder: &Folder, node: &Node, cx: &mut Cx<'_>) -> Option<Agent> {
    let mut fields = Fields::new(cx.map("the front matter", node)?);
    fields.require("name", node.mark, "name: my-agent", cx);
    fields.require("model", node.mark, "model: PROVIDER/MODEL", cx);
    fields.not_yet(LATER_KEYS, cx);
    let agent = Agent {
        name: fields.take("name").and_then(|node| read_name(node, cx)).unwrap_or_default(),
        description: fields
            .take("description")
            .and_then(|node| cx.short_text("`description`", node, DESCRIPTION_CHARS_MAX))
            .unwrap_or_default(),
        model: fields.take("model").map(|node| read_models(folder, node, cx)).unwrap_or_default(),
        tools: fields.take("tools").and_then(|node| tools::read_choice(node, folder, cx)),
        input: fields
            .take("input")
            .and_then(|node| schemas::read_object("`input`", node, cx))
            .unwrap_or_else(schemas::any_object),
        output: fields
            .take("output")
            .and_then(|node| schemas::read_object("`output`", node, cx))
            .unwrap_or_else(schemas::text_output),
        limits: fields.take("limits").map(|node| read_limits(node, cx)).unwrap_or_default(),
        sandbox: fields.take("sandbox").map(|node| sandbox::read(node, cx)).unwrap_or_default(),
        workspace: fields.take("workspace").map(|node| workspace::read(node, cx)).unwrap_or_default(),
        connections: fields.take("connections").map(|node| read_connections(node, cx)).unwrap_or_default(),
        ..Agent::default()
    };
    fields.finish("the front matter", cx);
    Some(agent)
}

fn read_name(node: &Node, cx: &mut Cx<'_>) -> Option<String> {
    let name = cx.text("`name`", node)?;
    if !super::is_agent_name(&name) {
        let hint = format!("1 to {NAME_CHARS_MAX} of a-z, 0-9 and -");
        cx.error(node.mark, format!("{} is no name for an agent", quote(&name)), hint);
        return None;
    }
    Some(name)
}

fn read_models(folder: &Folder, node: &Node, cx: &mut Cx<'_>) -> Vec<ModelRef> {
    let mut models = Vec::new();
    match &node.data {
        Data::List(items) if items.is_empty() || items.len() > MODELS_MAX => {
            cx.error(node.mark, format!("`model` must name 1 to {MODELS_MAX} models, not {}", items.len()), "");
        }
        Data::List(items) => {
            for item in items {
                if let Some(model) = read_model(folder, item, cx) {
                    if models.contains(&model) {
                        cx.error(
                            item.mark,
                            format!("the model {} is here twice", quote(&model.to_string())),
                            "keep one",
                        );
                    }
                    models.push(model);
                }
            }
        }
        Data::Text(_) => models.extend(read_model(folder, node, cx)),
        _ => cx.wrong_type("`model`", "PROVIDER/MODEL or a list of them", node),
    }
    models
}

fn read_model(folder: &Folder, node: &Node, cx: &mut Cx<'_>) -> Option<ModelRef> {
    let text = cx.text("a model", node)?;
    let model: ModelRef = match text.parse() {
        Ok(model) => model,
        Err(ParseModelError) => {
            let hint = "write PROVIDER/MODEL, like anthropic/claude-sonnet-4-6";
            cx.error(node.mark, format!("{} is no model", quote(&text)), hint);
            return None;
        }
    };
    if let Some(path) = model.script_path()
        && !folder.contains(&path)
    {
        let scripts: Vec<&str> = folder.names("scripts/").filter_map(|name| name.strip_suffix(".yaml")).collect();
        let hint = match scripts.as_slice() {
            [] => format!("a {SCRIPTED} model is played from a script in the agent's folder"),
            _ => did_you_mean(&model.model, scripts.iter().copied())
                .unwrap_or_else(|| format!("scripts here: {}", scripts[..scripts.len().min(SCRIPTS_SHOWN)].join(", "))),
        };
        cx.error(node.mark, format!("there is no file {}", quote(&path)), hint);
    }
    Some(model)
}

fn read_limits(node: &Node, cx: &mut Cx<'_>) -> Limits {
    let Some(entries) = cx.map("`limits`", node) else { return Limits::default() };
    let mut fields = Fields::new(entries);
    let limits = Limits {
        timeout_s: fields.take("timeout_s").and_then(|node| cx.whole("`timeout_s`", node, 1, TIMEOUT_S_MAX)),
        max_turns: fields
            .take("max_turns")
            .and_then(|node| cx.whole("`max_turns`", node, 1, TURNS_MAX.into()))
            .and_then(|turns| u32::try_from(turns).ok()),
        max_tokens: fields.take("max_tokens").and_then(|node| cx.whole("`max_tokens`", node, 1, TOKENS_MAX)),
        max_cost_usd: fields.take("max_cost_usd").and_then(|node| read_cost(node, cx)),
    };
    fields.finish("`limits`", cx);
    limits
}

fn read_cost(node: &Node, cx: &mut Cx<'_>) -> Option<Usd> {
    let text = match &node.data {
        Data::Number(number) => number.to_string(),
        Data::Text(text) => text.clone(),
        _ => {
            cx.wrong_type("`max_cost_usd`", "an amount in dollars", node);
            return None;
        }
    };
    let cost = Usd::parse(&text);
    if cost.is_none() {
        cx.error(
            node.mark,
            format!("{} is no amount in dollars", quote(&text)),
            "like 1.5: not negative, at most six decimals",
        );
    }
    cost
}

fn read_connections(node: &Node, cx: &mut Cx<'_>) -> BTreeMap<String, Slot> {
    let mut slots = BTreeMap::new();
    let Some(entries) = cx.map("`connections`", node) else { return slots };
    if entries.len() > CONNECTIONS_MAX {
        cx.error(node.mark, format!("`connections` has {} slots, at most {CONNECTIONS_MAX} fit", entries.len()), "");
    }
    for entry in entries.iter().take(CONNECTIONS_MAX) {
        if !is_slot_name(&entry.key) {
            cx.error(
                entry.mark,
                format!("{} is no name for a connection", quote(&entry.key)),
                "1 to 64 of a-z, 0-9, _ and -",
            );
        }
        if let Some(slot) = read_slot(&entry.value, entry.mark, cx) {
            slots.insert(entry.key.clone(), slot);
        }
    }
    slots
}

fn read_slot(node: &Node, key: Mark, cx: &mut Cx<'_>) -> Option<Slot> {
    let mut fields = Fields::new(cx.map("a connection", node)?);
    fields.require("connector", key, "connector: http", cx);
    let connector = fields.take("connector").and_then(|node| {
        let connector = cx.short_text("`connector`", node, CONNECTOR_CHARS_MAX)?;
        if !is_slot_name(&connector) {
            cx.error(node.mark, format!("{} is no name of a connector", quote(&connector)), "like http");
            return None;
        }
        Some(connector)
    });
    let required = match fields.take("required") {
        Some(node) => cx.boolean("`required`", node),
        None => Some(true),
    };
    fields.finish("a connection", cx);
    Some(Slot { connector: connector?, required: required? })
}

fn is_slot_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

fn read_body(document: &Document<'_>, input: &serde_json::Value, findings: &mut Findings) -> prompt::Prompt {
    // Blank lines around the prompt are layout; those above it still count.
    let blank = document.body.split_inclusive('\n').take_while(|line| line.trim().is_empty());
    let (lines, bytes) = blank.fold((0, 0), |(lines, bytes), line| (lines + 1, bytes + line.len()));
    let text = document.body[bytes..].trim_end();
    let lines_before = document.body_line + lines;
    let (prompt, placeholders) = prompt::parse(AGENT_MD, text, lines_before, findings);
    if prompt.is_empty() {
        let mark = Mark::new(document.body_line, 1);
        findings.warning(AGENT_MD, mark, "the prompt is empty", "write what the agent is to do below the second ---");
    }
    for Placeholder { path, mark } in placeholders {
        if !schemas::can_have(input, &path) {
            let path = path.join(".");
            let message = format!("the input has no {}", quote(&path));
            findings.error(AGENT_MD, mark, message, "name it under `input` → `properties`, or mend the placeholder");
        }
    }
    prompt
}
