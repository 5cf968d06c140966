//! What a schedule or a trigger starts: a run's request, kept.

use std::collections::BTreeMap;

use livery_core::Error;
use livery_core::agent::{SandboxOverride, WorkspaceOverride};
use livery_core::id::{AppId, ConnectionId, EndUserId, FileId, KeyId, OrgId, WebhookId};
use livery_core::run::Limits;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::request::{AgentSource, RunWebhook, StartRun};
use crate::{Caller, Platform, Principal, Scope};

/// The parts of a run's request that can be kept: a stored agent and a stored endpoint, no secret. The input is kept
/// beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunTemplate {
    /// `"name"` or `"name@version-or-tag"`; without a version, the latest at the time.
    pub agent: String,
    /// Instead of the agent's own model.
    pub model: Option<String>,
    /// Instead of the agent's own sandbox settings, field by field.
    pub sandbox: SandboxOverride,
    /// Tighter limits than the agent's own.
    pub limits: Limits,
    /// Which connection fills which slot.
    pub connections: BTreeMap<String, ConnectionId>,
    /// Files laid into `/workspace`.
    pub files: Vec<FileId>,
    /// Labels of every run.
    pub metadata: Map<String, Value>,
    /// Who is told how a run ended.
    pub webhook: Option<WebhookId>,
}

impl RunTemplate {
    /// The request with this input.
    pub(crate) fn with_input(self, input: Value) -> StartRun {
        StartRun {
            agent: AgentSource::Named(self.agent),
            input,
            model: self.model,
            sandbox: self.sandbox,
            // The agent says whether it persists.
            workspace: WorkspaceOverride::default(),
            limits: self.limits,
            connections: self.connections,
            files: self.files,
            metadata: self.metadata,
            webhook: self.webhook.map(RunWebhook::Endpoint),
            start_at: None,
            delay_s: None,
        }
    }
}

/// Whom a schedule or trigger acts for: its application, with the right to start runs and no other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    pub(crate) org: OrgId,
    pub(crate) application: Option<AppId>,
    pub(crate) end_user: Option<EndUserId>,
    pub(crate) created_by: KeyId,
}

impl Platform {
    /// The caller a schedule or trigger is when it starts a run.
    pub(crate) fn caller_for(&self, owner: Owner) -> Caller {
        let principal = Principal {
            org: owner.org,
            app: owner.application,
            key: owner.created_by,
            scopes: vec![Scope::RunsWrite],
            rate_limited: false,
        };
        Caller { principal, request_id: self.new_request_id(), on_behalf_of: owner.end_user, idempotency: None }
    }
}

/// Why a run cannot be started, in a sentence for the owner of what wanted to: the first field is named.
pub(crate) fn explain(error: &Error) -> String {
    match error {
        Error::Invalid { errors, .. } if !errors.is_empty() => {
            let first = &errors[0];
            format!("{error} ({}: {})", first.pointer, first.detail)
        }
        error => error.to_string(),
    }
}
