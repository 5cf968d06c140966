//! Agents and their versions.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::system::FieldError;
use super::{AgentId, AppId, OrgId, Time, page};

/// The folder of an agent as JSON.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InlineAgent {
    /// The text of `AGENT.md`.
    agent_md: String,
    /// Every other file by path: standard base64 with padding.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    files: Option<BTreeMap<String, String>>,
}

/// One version of an agent; it never changes.
#[derive(ToSchema)]
pub(crate) struct Agent {
    id: AgentId,
    name: String,
    /// 1, 2, 3, …
    #[schema(minimum = 1)]
    version: u32,
    description: String,
    /// The models it asks for, in order.
    models: Vec<String>,
    /// JSON Schema of its input.
    input: Value,
    /// JSON Schema of its output.
    output: Value,
    /// SHA-256 over the folder.
    digest: String,
    organization: OrgId,
    /// Null: the whole organization.
    #[schema(required)]
    application: Option<AppId>,
    created_at: Time,
}

page!(AgentPage of Agent);

/// What was found in an agent's folder.
#[derive(ToSchema)]
pub(crate) struct Validation {
    /// Whether it would be accepted.
    valid: bool,
    /// The agent's name, when it could be read.
    #[schema(required)]
    name: Option<String>,
    /// Everything worth mending; `pointer` is `file:line:column`.
    #[schema(inline)]
    findings: Vec<FieldError>,
}
