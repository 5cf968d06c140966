//! An approval as callers see it.

use livery_core::id::{AppId, ApprovalId, EndUserId, KeyId, OrgId, RunId};
use livery_core::{Result, Timestamp};
use livery_store::{ApprovalRow, ApprovalStatus, Json};
use serde::Serialize;
use serde_json::Value;

/// An approval: what a run wants to do, and what somebody said to it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ApprovalView {
    /// Its id.
    pub id: ApprovalId,
    /// `pending`, `approved`, `denied`, `expired` or `used`.
    pub status: &'static str,
    /// The run that waits.
    pub run: RunId,
    /// Its tool call.
    pub call_id: String,
    /// The tenant.
    pub organization: OrgId,
    /// The run's application.
    pub application: Option<AppId>,
    /// The end user the run is for.
    pub end_user: Option<EndUserId>,
    /// Why a person is asked, in the policy's words.
    pub reason: String,
    /// Which policy asks: `{policy, name, version, statement}`.
    pub policy: Json,
    /// What is asked, to be read: plain text, at most 4 KiB, what the model wrote quoted in it.
    pub card: String,
    /// The same as fields.
    pub subject: Json,
    /// What `approve_for_run` would allow, in full.
    pub for_run: String,
    /// SHA-256 over everything the approval is bound to, hex.
    pub digest: String,
    /// When it was asked.
    pub requested_at: Timestamp,
    /// Until when it can be decided.
    pub expires_at: Timestamp,
    /// `once` or `run`.
    pub scope: Option<String>,
    /// When it was decided.
    pub decided_at: Option<Timestamp>,
    /// The key that decided.
    pub decided_by: Option<KeyId>,
    /// The end user on whose behalf.
    pub decided_for: Option<EndUserId>,
    /// What was said with it.
    pub note: Option<String>,
    /// Until when a yes can be used.
    pub use_by: Option<Timestamp>,
    /// When the request went out.
    pub used_at: Option<Timestamp>,
}

pub(super) fn view_of(row: ApprovalRow, now: Timestamp) -> Result<ApprovalView> {
    let is_over = row.status == ApprovalStatus::Pending && row.expires_at <= now;
    let status = if is_over { ApprovalStatus::Expired } else { row.status };
    let subject: Value = row.subject.parse()?;
    Ok(ApprovalView {
        id: row.id,
        status: status.as_str(),
        run: row.run,
        call_id: row.call_id,
        organization: row.org,
        application: row.application,
        end_user: row.end_user,
        reason: row.reason,
        policy: row.policy,
        card: row.card,
        for_run: subject["for_run"].as_str().unwrap_or_default().to_owned(),
        subject: row.subject,
        digest: row.digest,
        requested_at: row.requested_at,
        expires_at: row.expires_at,
        scope: row.scope,
        decided_at: row.decided_at,
        decided_by: row.decided_by,
        decided_for: row.decided_for,
        note: row.note,
        use_by: row.use_by,
        used_at: row.used_at,
    })
}
