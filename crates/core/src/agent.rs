//! What ships is an agent: a folder with `AGENT.md`, read into one value.
//!
//! [`Folder`] holds the files, [`Agent`] what they say. Reading reports everything that is wrong at once, each finding with
//! its place and a hint. Nothing here looks at a disk, a clock or the host: whether a tier or a model can be had is decided
//! later, by others.
//!
//! Walk on: `manifest` reads `AGENT.md`, `tools` and `skills` what lies beside it, `prompt` the body.

mod fields;
pub mod folder;
mod front_matter;
pub mod image;
mod input;
mod manifest;
pub mod model;
pub mod prompt;
pub mod sandbox;
mod schemas;
pub mod skills;
pub mod tools;
pub mod workspace;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::folder::{AGENT_MD, File, Folder};
pub use self::image::ImageRef;
pub use self::model::ModelRef;
pub use self::prompt::Prompt;
pub use self::sandbox::{Cpu, Network, SandboxOverride, SandboxSpec, Tier};
pub use self::schemas::{any_object, text_output};
pub use self::skills::Skill;
pub use self::tools::OwnTool;
pub use self::workspace::{Persist, WorkspaceOverride, WorkspaceSpec};
pub use crate::finding::{Finding, Severity};

use crate::finding::{Findings, Mark};
use crate::run::Limits;

/// Longest name of an agent.
pub const NAME_CHARS_MAX: usize = 64;
/// Longest description of an agent, in characters.
pub const DESCRIPTION_CHARS_MAX: usize = 1_024;
/// Most connection slots of one agent.
pub const CONNECTIONS_MAX: usize = 32;

/// An agent as its folder describes it, every default filled in. JSON keeps all of it but the files.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// `[a-z0-9-]{1,64}`, unique in its organization.
    pub name: String,
    /// What it does, for people and for agents that delegate; may be empty.
    pub description: String,
    /// The model and its fallbacks, in order; at least one.
    pub model: Vec<ModelRef>,
    /// The chosen tools, built-in and own; `None`: all of them. See [`allows_tool`](Self::allows_tool).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<String>>,
    /// The tools it brings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own_tools: Vec<OwnTool>,
    /// The skills it brings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skills: Vec<Skill>,
    /// JSON Schema of a run's input; always of an object.
    pub input: Value,
    /// JSON Schema of a run's output; always of an object.
    pub output: Value,
    /// What a run may use up.
    #[serde(default)]
    pub limits: Limits,
    /// The sandbox it asks for.
    #[serde(default)]
    pub sandbox: SandboxSpec,
    /// What becomes of its workspace.
    #[serde(default, skip_serializing_if = "WorkspaceSpec::is_default")]
    pub workspace: WorkspaceSpec,
    /// The connections it wants, by slot.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub connections: BTreeMap<String, Slot>,
    /// The body of `AGENT.md`.
    pub prompt: Prompt,
}

/// A place for a connection, which a run fills.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slot {
    /// The kind of connection that fits.
    pub connector: String,
    /// Whether a run without it is refused.
    pub required: bool,
}

/// What reading a folder gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The agent; `None` when any finding is an error.
    pub agent: Option<Agent>,
    /// Errors and warnings, by file and place.
    pub findings: Vec<Finding>,
}

impl Agent {
    /// Reads a folder.
    ///
    /// # Errors
    /// Every finding, warnings included, when at least one is an error.
    pub fn parse(folder: &Folder) -> Result<Self, Vec<Finding>> {
        let report = Self::check(folder);
        report.agent.ok_or(report.findings)
    }

    /// Reads a folder and keeps the warnings of a good one too.
    pub fn check(folder: &Folder) -> Report {
        let mut findings = Findings::new();
        let agent = manifest::read(folder, &mut findings);
        let mut findings = findings.into_vec();
        for finding in &mut findings {
            clamp(finding, folder);
        }
        Report { agent, findings }
    }

    /// Whether the model may be offered this tool. [`tools::FINISH`] always; those of [`tools::CHOSEN_ONLY`] only by name.
    pub fn allows_tool(&self, name: &str) -> bool {
        let by_default = !tools::CHOSEN_ONLY.contains(&name);
        name == tools::FINISH || self.tools.as_ref().map_or(by_default, |chosen| chosen.iter().any(|tool| tool == name))
    }

    /// Whether its output is the default `{text}`: then a turn that ends in plain text is the answer.
    pub fn answers_in_text(&self) -> bool {
        self.output == text_output()
    }
}

/// Whether a name is fit for an agent.
pub fn is_agent_name(name: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&name.len())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// Keeps a place inside its file: a parser may point just behind the end.
fn clamp(finding: &mut Finding, folder: &Folder) {
    let text = folder.get(&finding.file).and_then(|file| std::str::from_utf8(&file.bytes).ok());
    let Some(text) = text else { return };
    let lines = text.split('\n').count();
    let mark = Mark::new((finding.line as usize).min(lines), 1);
    if mark.line < finding.line {
        finding.column = u32::MAX;
    }
    finding.line = mark.line;
    let line = text.split('\n').nth(mark.line as usize - 1).unwrap_or_default();
    finding.column = finding.column.min(Mark::new(1, line.chars().count() + 1).column);
}

#[cfg(test)]
mod tests;
