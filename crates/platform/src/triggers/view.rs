//! A trigger and its deliveries as callers see them. Never a secret, but the once it is made.

use livery_core::id::{AppId, EndUserId, KeyId, OrgId, RequestId, RunId, TriggerId};
use livery_core::{Result, Timestamp};
use livery_store::{Json, TriggerDeliveryRow, TriggerRow};
use serde::Serialize;

use super::Verification;
use crate::runs::RunTemplate;

/// A trigger.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TriggerView {
    /// Its id.
    pub id: TriggerId,
    /// A label for people.
    pub name: String,
    /// Where its sender posts to, below the server's own address.
    pub path: String,
    /// How its sender proves who it is.
    pub verification: Verification,
    /// Which messages start a run.
    pub filter: Json,
    /// The run's input; null: the body.
    pub input: Option<Json>,
    /// What is started.
    #[serde(flatten)]
    pub template: RunTemplate,
    /// Whether it starts nothing.
    pub paused: bool,
    /// Until when the secret before the last rotation holds.
    pub previous_secret_until: Option<Timestamp>,
    /// The end user the runs act for.
    pub on_behalf_of: Option<EndUserId>,
    /// The tenant.
    pub organization: OrgId,
    /// The application the runs belong to.
    pub application: Option<AppId>,
    /// The key that created it.
    pub created_by: KeyId,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// A trigger with its new secret: the only answers that ever carry it.
#[derive(Clone, PartialEq, Serialize)]
pub struct TriggerWithSecret {
    /// The trigger.
    #[serde(flatten)]
    pub trigger: TriggerView,
    /// What its sender signs with.
    pub secret: String,
}

/// One message to a trigger.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TriggerDeliveryView {
    /// The request that brought it.
    pub id: RequestId,
    /// What its sender calls it.
    pub delivery_id: Option<String>,
    /// `started`, `ignored` or `rejected`.
    pub outcome: &'static str,
    /// The run it started.
    pub run: Option<RunId>,
    /// Why it started none.
    pub reason: Option<String>,
    /// When it came.
    pub received_at: Timestamp,
}

impl TriggerDeliveryView {
    pub(super) fn of(row: TriggerDeliveryRow) -> Self {
        Self {
            id: row.id,
            delivery_id: row.delivery_id,
            outcome: row.outcome.as_str(),
            run: row.run,
            reason: row.reason,
            received_at: row.received_at,
        }
    }
}

pub(super) fn view_of(row: TriggerRow, now: Timestamp) -> Result<TriggerView> {
    Ok(TriggerView {
        path: format!("/v1/triggers/{}/events", row.id),
        id: row.id,
        name: row.name,
        verification: row.verification.parse()?,
        filter: row.filter,
        input: row.template,
        template: row.request.parse()?,
        paused: row.paused_at.is_some(),
        previous_secret_until: row.previous_until.filter(|until| *until > now),
        on_behalf_of: row.end_user,
        organization: row.org,
        application: row.application,
        created_by: row.created_by,
        created_at: row.created_at,
        updated_at: row.updated_at,
    })
}
