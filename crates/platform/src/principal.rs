//! Who asks, and what they may do. A command takes a [`Caller`]; there is no command without one.

use livery_core::id::{AppId, EndUserId, KeyId, OrgId, RequestId};
use livery_core::{Error, Result};
use serde::{Deserialize, Serialize};

macro_rules! scopes {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// One right of an API key. A key has exactly the scopes it lists: none means none.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Scope { $($(#[$doc])* #[serde(rename = $text)] $name,)* }

        impl Scope {
            /// Every scope there is.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The rights over the whole site, which no organization gets with its first key.
            pub const OPERATOR: &[Self] = &[Self::MetricsRead, Self::ImagesWrite, Self::OrganizationsWrite];

            /// The stable name.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

scopes! {
    /// See runs, their events and artifacts.
    RunsRead = "runs:read";
    /// Start and cancel runs.
    RunsWrite = "runs:write";
    /// Open a shell in the sandbox of a run: as much as its agent may do there. No other right includes it.
    RunsShell = "runs:shell";
    /// See agents.
    AgentsRead = "agents:read";
    /// Create versions of agents.
    AgentsWrite = "agents:write";
    /// Download files.
    FilesRead = "files:read";
    /// Upload files.
    FilesWrite = "files:write";
    /// See webhook endpoints and deliveries.
    WebhooksRead = "webhooks:read";
    /// Create and delete webhook endpoints.
    WebhooksWrite = "webhooks:write";
    /// See schedules.
    SchedulesRead = "schedules:read";
    /// Create, change and delete schedules, and start one out of turn. What they start needs `runs:write` too.
    SchedulesWrite = "schedules:write";
    /// See triggers and what came to them.
    TriggersRead = "triggers:read";
    /// Create, change and delete triggers. What they start needs `runs:write` too.
    TriggersWrite = "triggers:write";
    /// See model providers (never their keys).
    ModelProvidersRead = "model_providers:read";
    /// Create, replace and delete model providers.
    ModelProvidersWrite = "model_providers:write";
    /// See connections and connectors (never a value).
    ConnectionsRead = "connections:read";
    /// Create, rotate, test and revoke connections.
    ConnectionsWrite = "connections:write";
    /// See policies, and check a text.
    PoliciesRead = "policies:read";
    /// Create, replace and delete policies.
    PoliciesWrite = "policies:write";
    /// See what waits for a person.
    ApprovalsRead = "approvals:read";
    /// Approve and deny.
    ApprovalsWrite = "approvals:write";
    /// See workspaces that outlive their runs, and their snapshots.
    WorkspacesRead = "workspaces:read";
    /// Snapshot, restore and delete them.
    WorkspacesWrite = "workspaces:write";
    /// See API keys (never their secrets).
    ApiKeysRead = "api_keys:read";
    /// Create and revoke API keys.
    ApiKeysWrite = "api_keys:write";
    /// See end users.
    EndUsersRead = "end_users:read";
    /// Create end users.
    EndUsersWrite = "end_users:write";
    /// Act for an end user (`Livery-On-Behalf-Of`).
    EndUsersAct = "end_users:act";
    /// Read the node's metrics: the operator's right, held by the bootstrap key.
    MetricsRead = "metrics:read";
    /// See the nodes of this installation: the operator's right, held by the bootstrap key.
    NodesRead = "nodes:read";
    /// Remove images of a node: the operator's right, held by the bootstrap key.
    ImagesWrite = "images:write";
    /// Create organizations, see them, and say what each demands of its runs: the operator's right, held by the bootstrap key.
    OrganizationsWrite = "organizations:write";
}

/// An authenticated caller: which key, of which organization, with which rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The tenant.
    pub org: OrgId,
    /// The application the key is bound to; `None`: the whole organization.
    pub app: Option<AppId>,
    /// The key.
    pub key: KeyId,
    /// Its rights.
    pub scopes: Vec<Scope>,
    /// Whether the rate limit applies to it (not to the bootstrap key).
    pub rate_limited: bool,
}

impl Principal {
    /// Whether something of this application is visible to the caller: a key that is bound to an application sees what
    /// belongs to it or to no application.
    pub fn sees(&self, app: Option<AppId>) -> bool {
        match (self.app, app) {
            (None, _) | (_, None) => true,
            (Some(own), Some(other)) => own == other,
        }
    }

    /// Fails unless the key has `scope`.
    ///
    /// # Errors
    /// [`Error::Forbidden`], naming the scope.
    pub fn require(&self, scope: Scope) -> Result<()> {
        if self.scopes.contains(&scope) {
            return Ok(());
        }
        Err(Error::Forbidden { detail: format!("this API key lacks the scope {}", scope.as_str()) })
    }
}

/// One request of a principal.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who.
    pub principal: Principal,
    /// The request, for the log.
    pub request_id: RequestId,
    /// The end user it is for, when the application said so.
    pub on_behalf_of: Option<EndUserId>,
    /// Present when the request carried an `Idempotency-Key`.
    pub idempotency: Option<Idempotency>,
}

/// An `Idempotency-Key` with what it is bound to. Scope: the principal's key and the route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The client's key, at most 255 bytes.
    pub key: String,
    /// Method and route, such as `POST /v1/runs`.
    pub route: &'static str,
    /// Digest of path and canonical body: the same request again, or another one.
    pub fingerprint: String,
}

/// What a POST did: the effect now, or the stored answer of the first time.
#[derive(Debug, Clone, PartialEq)]
pub enum Posted<T> {
    /// It happened now.
    Fresh(T),
    /// It happened before; this is the body answered then, as JSON text.
    Replayed(String),
}
