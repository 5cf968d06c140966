//! `workspace:` of `AGENT.md`: whether what a run leaves in its workspace is what the next one begins with.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::fields::{Cx, Fields};
use crate::finding::quote;
use crate::yaml::Node;

/// For whom a workspace outlives its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Persist {
    /// For nobody: each run begins anew.
    #[default]
    None,
    /// One for each end user of the agent.
    EndUser,
}

impl Persist {
    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::EndUser => "end_user",
        }
    }
}

impl fmt::Display for Persist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The workspace an agent asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceSpec {
    /// For whom it outlives its run.
    #[serde(default)]
    pub persist: Persist,
}

/// What a run wants of it instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkspaceOverride {
    /// For whom it outlives the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persist: Option<Persist>,
}

impl WorkspaceSpec {
    /// Whether it is what an agent has that says nothing.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// This workspace with a run's wishes.
    #[must_use]
    pub fn with_override(self, wish: WorkspaceOverride) -> Self {
        Self { persist: wish.persist.unwrap_or(self.persist) }
    }
}

/// Reads `workspace:`.
pub(super) fn read(node: &Node, cx: &mut Cx<'_>) -> WorkspaceSpec {
    let mut spec = WorkspaceSpec::default();
    let Some(entries) = cx.map("`workspace`", node) else { return spec };
    let mut fields = Fields::new(entries);
    if let Some(node) = fields.take("persist")
        && let Some(text) = cx.text("`persist`", node)
    {
        match text.as_str() {
            "none" => {}
            "end_user" => spec.persist = Persist::EndUser,
            _ => cx.error(node.mark, format!("a workspace cannot persist for {}", quote(&text)), "none or end_user"),
        }
    }
    fields.finish("`workspace`", cx);
    spec
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Persist, WorkspaceOverride, WorkspaceSpec};
    use crate::agent::{Agent, Folder};

    fn read(line: &str) -> Result<Agent, String> {
        let text = format!("---\nname: a\nmodel: scripted/s\n{line}---\nWork.\n");
        let files = [("AGENT.md", text, false), ("scripts/s.yaml", "turns: [{text: hi}]".to_owned(), false)];
        let folder = Folder::from_entries(files.map(|(path, text, mode)| (path, text.into_bytes(), mode))).unwrap();
        Agent::parse(&folder).map_err(|findings| findings[0].to_string())
    }

    #[test]
    fn a_workspace_persists_for_nobody_or_for_end_users() {
        let persist = |line: &str| read(line).unwrap().workspace.persist;
        assert_eq!(persist(""), Persist::None);
        assert_eq!(persist("workspace: {}\n"), Persist::None);
        assert_eq!(persist("workspace: {persist: none}\n"), Persist::None);
        assert_eq!(persist("workspace: {persist: end_user}\n"), Persist::EndUser);
        let refused = |line: &str| read(line).unwrap_err();
        assert!(refused("workspace: {persist: user}\n").contains("none or end_user"));
        assert!(refused("workspace: {persists: none}\n").contains("persists"));
        assert!(refused("workspace: end_user\n").contains("mapping"));
        assert!(refused("sandbox: {tier: isolate}\nworkspace: {persist: end_user}\n").contains("isolate"));
        let stored = serde_json::to_value(read("").unwrap()).unwrap();
        assert!(stored.get("workspace").is_none(), "an agent that says nothing is stored as before");
    }

    #[test]
    fn a_run_may_say_otherwise() {
        let wish = |value| serde_json::from_value::<WorkspaceOverride>(value).unwrap();
        let spec = WorkspaceSpec { persist: Persist::EndUser };
        assert_eq!(spec.with_override(wish(json!({}))), spec);
        assert_eq!(spec.with_override(wish(json!({"persist": "none"}))), WorkspaceSpec::default());
        assert!(serde_json::from_value::<WorkspaceOverride>(json!({"persist": "user"})).is_err());
    }
}
