//! Agents: create a version, list, get, validate.

use std::collections::BTreeMap;

use bytes::Bytes;
use livery_core::id::{AgentId, AppId, OrgId};
use livery_core::{FieldError, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An agent folder as JSON: `{agent_md, files?: {path: base64}}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct InlineAgent {
    /// The text of `AGENT.md`.
    pub agent_md: String,
    /// Every other file, standard base64 by path.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

/// An agent folder as it arrives.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentUpload {
    /// A zip of the folder (the folder's content at its root, or one directory with it).
    Zip(Bytes),
    /// JSON.
    Inline(InlineAgent),
}

/// What validation found, without saving anything.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Validation {
    /// Whether it would be accepted.
    pub valid: bool,
    /// The agent's name, when it could be read.
    pub name: Option<String>,
    /// Everything worth mending; `pointer` is `file:line:column`.
    pub findings: Vec<FieldError>,
}

/// One version of an agent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AgentView {
    /// This version's own id.
    pub id: AgentId,
    /// The agent's name.
    pub name: String,
    /// 1, 2, 3, …; immutable.
    pub version: u32,
    /// What it is for.
    pub description: String,
    /// The models it asks for, in order.
    pub models: Vec<String>,
    /// JSON Schema of its input.
    pub input: Value,
    /// JSON Schema of its output.
    pub output: Value,
    /// SHA-256 over the folder, hex.
    pub digest: String,
    /// The tenant.
    pub organization: OrgId,
    /// The application it belongs to; null: the whole organization.
    pub application: Option<AppId>,
    /// When it was created.
    pub created_at: Timestamp,
}
