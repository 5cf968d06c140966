//! Policies and approvals.

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{AppId, ApprovalId, EndUserId, KeyId, OrgId, PolicyId, RunId, Time, page};

/// A policy to save.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "reading", "text": "permit (principal, action in Action::\"read\", resource);"}))]
pub(crate) struct NewPolicy {
    /// A label for people.
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// In Cedar; at most 64 KiB.
    #[schema(min_length = 1)]
    text: String,
    /// The application whose runs it speaks of; absent: that of the key, or all of the organization's.
    #[schema(value_type = Option<AppId>)]
    application: Option<String>,
}

/// What changes; what is absent stays.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyPatch {
    #[schema(min_length = 1, max_length = 200)]
    name: Option<String>,
    /// In Cedar; at most 64 KiB.
    #[schema(min_length = 1)]
    text: Option<String>,
}

/// A text to look over.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"text": "permit (principal, action in Action::\"read\", resource);"}))]
pub(crate) struct PolicyText {
    /// In Cedar.
    text: String,
}

/// A policy.
#[derive(ToSchema)]
pub(crate) struct Policy {
    id: PolicyId,
    name: String,
    /// In Cedar.
    text: String,
    /// Counts the replacements, from 1.
    version: u32,
    organization: OrgId,
    /// The application whose runs it speaks of; null: all of the organization's.
    #[schema(required)]
    application: Option<AppId>,
    created_by: KeyId,
    created_at: Time,
    updated_at: Time,
}

page!(PolicyPage of Policy);

/// What is in a text, or what is wrong with it.
#[derive(ToSchema)]
pub(crate) struct PolicyCheck {
    /// Whether it can be saved.
    valid: bool,
    #[schema(inline)]
    statements: Vec<PolicyStatement>,
    #[schema(inline)]
    errors: Vec<PolicyFault>,
}

#[derive(ToSchema)]
struct PolicyStatement {
    /// Its place in the text, from 1.
    statement: u32,
    /// `permit`, `ask` or `forbid`.
    effect: String,
    /// `calls` or `tools`.
    about: String,
    /// What it asks, or its reason.
    #[schema(required)]
    reason: Option<String>,
}

#[derive(ToSchema)]
struct PolicyFault {
    /// From 1.
    line: u32,
    /// From 1.
    column: u32,
    detail: String,
}

/// How an approval stands. `used`: the request it was for went out.
#[derive(ToSchema, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ApprovalStatus {
    Pending,
    Approved,
    Denied,
    Expired,
    Used,
}

/// Yes or no.
#[derive(ToSchema, Deserialize)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"decision": "approve", "note": "Checked with the customer."}))]
pub(crate) struct DecideApproval {
    #[schema(inline)]
    decision: Answer,
    /// Why; with a no, the model reads it.
    #[schema(max_length = 1000)]
    note: Option<String>,
}

/// `approve_for_run` holds for everything that `for_run` says.
#[derive(ToSchema, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Approve,
    ApproveForRun,
    Deny,
}

/// What a run wants to do, and what somebody said to it.
#[derive(ToSchema)]
pub(crate) struct Approval {
    id: ApprovalId,
    status: ApprovalStatus,
    /// The run that waits.
    run: RunId,
    /// Its tool call.
    call_id: String,
    organization: OrgId,
    #[schema(required)]
    application: Option<AppId>,
    /// The end user the run is for.
    #[schema(required)]
    end_user: Option<EndUserId>,
    /// Why a person is asked, in the policy's words.
    reason: String,
    /// Which statement of which policy asks: `{policy, name, version, statement}`.
    #[schema(value_type = Object)]
    policy: Map<String, Value>,
    /// What is asked: plain text, at most 4 KiB, what the model wrote quoted in it.
    card: String,
    /// The same as fields; null once the run's contents were deleted.
    #[schema(value_type = Object, required)]
    subject: Option<Map<String, Value>>,
    /// What `approve_for_run` allows, in full.
    for_run: String,
    /// SHA-256 over everything it is bound to, hex.
    digest: String,
    requested_at: Time,
    /// Until when it can be decided.
    expires_at: Time,
    /// `once` or `run`.
    #[schema(required)]
    scope: Option<String>,
    #[schema(required)]
    decided_at: Option<Time>,
    /// The key that decided.
    #[schema(required)]
    decided_by: Option<KeyId>,
    /// The end user on whose behalf.
    #[schema(required)]
    decided_for: Option<EndUserId>,
    #[schema(required)]
    note: Option<String>,
    /// Until when a yes can be used.
    #[schema(required)]
    use_by: Option<Time>,
    #[schema(required)]
    used_at: Option<Time>,
}

page!(ApprovalPage of Approval);
