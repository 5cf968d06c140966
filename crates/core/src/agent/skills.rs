//! Skills: `skills/NAME/SKILL.md` after the Agent Skills format. Only names and descriptions are kept here; the body and the
//! other files are read from the folder when the agent opens the skill.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fields::{Cx, Fields};
use super::folder::Folder;
use super::front_matter;
use crate::finding::{Findings, Mark, quote};
use crate::yaml::{Data, Node};

/// Longest name of a skill.
pub const SKILL_NAME_CHARS_MAX: usize = 64;
/// Longest description of a skill, in characters.
pub const SKILL_DESCRIPTION_CHARS_MAX: usize = 1_024;
/// Longest `compatibility`, in characters.
pub const COMPATIBILITY_CHARS_MAX: usize = 500;
/// Longest `license`, in characters.
pub const LICENSE_CHARS_MAX: usize = 500;
/// Most skills of one agent.
pub const SKILLS_MAX: usize = 64;

/// What is known of a skill before it is opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skill {
    /// The folder's name below `skills/`.
    pub name: String,
    /// What it does and when to use it.
    pub description: String,
    /// Under which terms it may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// What it needs around it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compatibility: Option<String>,
    /// The author's own notes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Tools the skill expects. Never widens what the agent has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_tools: Vec<String>,
}

impl Skill {
    /// Its entry file: `skills/NAME/SKILL.md`.
    pub fn path(&self) -> String {
        format!("skills/{}/SKILL.md", self.name)
    }
}

/// Whether a name keeps the rule of the format: 1–64 of `a-z0-9-`, no hyphen at an end, no two in a row.
pub fn is_skill_name(name: &str) -> bool {
    (1..=SKILL_NAME_CHARS_MAX).contains(&name.len())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--")
}

/// Reads every folder below `skills/`.
pub(super) fn read_all(folder: &Folder, findings: &mut Findings) -> Vec<Skill> {
    let mut skills = Vec::new();
    for (index, name) in folder.names("skills/").enumerate() {
        let Some(name) = name.strip_suffix('/') else {
            let hint = "a skill is a folder: skills/NAME/SKILL.md";
            findings.warning(&format!("skills/{name}"), Mark::START, "this file is not used", hint);
            continue;
        };
        if index >= SKILLS_MAX {
            findings.error(
                &format!("skills/{name}/SKILL.md"),
                Mark::START,
                format!("more than {SKILLS_MAX} skills"),
                "",
            );
            break;
        }
        skills.extend(read_one(folder, name, findings));
    }
    skills
}

fn read_one(folder: &Folder, name: &str, findings: &mut Findings) -> Option<Skill> {
    let file = format!("skills/{name}/SKILL.md");
    let before = findings.error_count();
    if !is_skill_name(name) {
        let hint = "1 to 64 of a-z, 0-9 and single hyphens inside";
        findings.error(&file, Mark::START, format!("{} is no name for a skill", quote(name)), hint);
    }
    let Some(content) = folder.get(&file) else {
        findings.error(
            &file,
            Mark::START,
            "this file is missing",
            "a skill needs a SKILL.md with name and description",
        );
        return None;
    };
    let document = front_matter::read(&file, &content.bytes, findings)?;
    let skill = read_fields(name, &document.head, &mut Cx { file: &file, findings })?;
    (findings.error_count() == before).then_some(skill)
}

fn read_fields(folder_name: &str, node: &Node, cx: &mut Cx<'_>) -> Option<Skill> {
    let mut fields = Fields::new(cx.map("the front matter", node)?);
    fields.require("name", node.mark, &format!("name: {folder_name}"), cx);
    fields.require("description", node.mark, "description: what it does and when to use it", cx);
    if let Some(node) = fields.take("name")
        && let Some(name) = cx.text("`name`", node)
        && name != folder_name
    {
        cx.error(
            node.mark,
            format!("the name {} is not that of its folder", quote(&name)),
            format!("name: {folder_name}"),
        );
    }
    let description =
        fields.take("description").and_then(|node| cx.short_text("`description`", node, SKILL_DESCRIPTION_CHARS_MAX));
    let license = fields.take("license").and_then(|node| cx.short_text("`license`", node, LICENSE_CHARS_MAX));
    let compatibility =
        fields.take("compatibility").and_then(|node| cx.short_text("`compatibility`", node, COMPATIBILITY_CHARS_MAX));
    let metadata = fields.take("metadata").and_then(|node| read_metadata(node, cx)).unwrap_or_default();
    let allowed_tools = fields.take("allowed-tools").and_then(|node| cx.text("`allowed-tools`", node));
    // Skills travel between products: keys of other readers are no error here.
    for entry in fields.rest() {
        cx.warning(entry.mark, format!("the key {} is not used", quote(&entry.key)), "");
    }
    Some(Skill {
        name: folder_name.to_owned(),
        description: description?,
        license,
        compatibility,
        metadata,
        allowed_tools: allowed_tools.unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
    })
}

fn read_metadata(node: &Node, cx: &mut Cx<'_>) -> Option<BTreeMap<String, String>> {
    let mut metadata = BTreeMap::new();
    for entry in cx.map("`metadata`", node)? {
        match &entry.value.data {
            Data::Text(text) => drop(metadata.insert(entry.key.clone(), text.clone())),
            _ => cx.wrong_type("a value of `metadata`", "text", &entry.value),
        }
    }
    Some(metadata)
}
