//! The shapes of requests and answers as the OpenAPI document publishes them.
//!
//! They mirror the types of `platform`, which knows no OpenAPI. A test sends real answers through the published schemas, so
//! the two cannot part unnoticed.
#![expect(dead_code, reason = "only their shape is used, by a derive")]

mod agents;
mod connections;
mod ids;
mod policies;
mod proofs;
mod runs;
mod schedules;
mod system;
mod tenants;
mod triggers;
mod vault;
mod webhooks;
mod workspaces;

pub(crate) use agents::{Agent, AgentPage, InlineAgent, Validation};
pub(crate) use connections::{
    Authorization, AuthorizeConnection, Connection, ConnectionPage, ConnectionPatch, ConnectionTest, Connector,
    ConnectorPage, NewConnection, RotateConnection,
};
pub(crate) use ids::*;
pub(crate) use policies::{
    Approval, ApprovalPage, ApprovalStatus, DecideApproval, NewPolicy, Policy, PolicyCheck, PolicyPage, PolicyPatch,
    PolicyText,
};
pub(crate) use proofs::{ForkRun, Receipt, ReceiptKey, ReceiptKeys, ReplayReport, ReplayRun};
pub(crate) use runs::{Artifacts, EventPage, NewRun, Run, RunPage, RunStatus};
pub(crate) use schedules::{NewSchedule, Preview, Schedule, SchedulePage, SchedulePatch};
pub(crate) use system::{File, Health, PageQuery, Problem, Readiness};
pub(crate) use tenants::{
    ApiKey, ApiKeyCreated, ApiKeyPage, Application, ApplicationPage, Images, ModelProvider, ModelProviderPage,
    NewApiKey, NewModelProvider, NewOrganization, NodePage, Organization, OrganizationCreated, OrganizationPage,
    SandboxTiers, SettingsPatch, Tier,
};
pub(crate) use triggers::{
    NewTrigger, RotateTrigger, Trigger, TriggerDeliveryPage, TriggerPage, TriggerPatch, TriggerReceipt,
    TriggerWithSecret,
};
pub(crate) use vault::{Rewrap, RotateDataKey, Vault};
pub(crate) use webhooks::{
    ChangeWebhook, Delivery, DeliveryPage, DeliveryStatus, NewWebhook, RotateWebhook, WebhookCreated, WebhookDetail,
    WebhookPage, WebhookTested,
};
pub(crate) use workspaces::{
    EndUser, EndUserPage, NewEndUser, NewSnapshot, RestoreWorkspace, Snapshot, SnapshotPage, Workspace, WorkspacePage,
};

/// The page of a list: `{data, next_cursor}`.
macro_rules! page {
    ($name:ident of $item:ty) => {
        /// One page, newest first.
        #[derive(utoipa::ToSchema)]
        pub(crate) struct $name {
            /// Newest first.
            data: Vec<$item>,
            /// For the next page; null at the end.
            #[schema(required)]
            next_cursor: Option<String>,
        }
    };
}
use page;
