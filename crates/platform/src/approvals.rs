//! Approvals: what a run wants to do, a policy wants asked, and a person says yes or no to.
//!
//! An approval is bound to the digest of one exact request, and good for one use. Who decides first has decided; what was
//! approved is sent as it was shown, or not at all. The asking is the worker's (`worker/ask`); here people look and answer.

mod card;
mod view;

use livery_core::id::ApprovalId;
use livery_core::{Error, EventType, Result, RunStatus, Timestamp};
use livery_store::{ApprovalRow, ApprovalStatus, Decision, NewEvent, RunRow};
use serde::Deserialize;
use serde_json::json;

pub(crate) use self::card::{Card, inert};
pub use self::view::ApprovalView;
use self::view::view_of;
use crate::audit::note;
use crate::effects::{EffectKind, Phase};
use crate::webhooks::Outbox;
use crate::{Caller, Page, PageRequest, Platform, Posted, Principal, Scope};

/// How long an approval waits for an answer, and a yes for its use, in milliseconds.
pub const TTL_MS: i64 = 15 * 60 * 1000;
/// Approvals of one run that wait at a time.
pub const PENDING_PER_RUN_MAX: usize = 20;
/// Approvals one run may ask for in all.
pub const PER_RUN_MAX: usize = 200;
/// Longest note, in characters.
pub const NOTE_CHARS_MAX: usize = 1000;
/// A yes to one request.
pub(crate) const ONCE: &str = "once";
/// A yes to everything of its kind, for the rest of the run.
pub(crate) const FOR_RUN: &str = "run";

/// What a person says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Yes, to this very request.
    Approve,
    /// Yes, to everything of its kind until the run ends.
    ApproveForRun,
    /// No.
    Deny,
}

/// `POST /v1/approvals/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecideApproval {
    /// Yes or no.
    pub decision: Answer,
    /// Why; the model reads it with a no.
    #[serde(default)]
    pub note: Option<String>,
}

/// What a list of approvals is narrowed to.
#[derive(Debug, Clone, Copy, Default)]
pub struct ApprovalFilter {
    /// In this status.
    pub status: Option<ApprovalStatus>,
    /// Of this run.
    pub run: Option<livery_core::id::RunId>,
}

impl Platform {
    /// Approvals the caller sees, the newest first.
    ///
    /// # Errors
    /// [`Error::Forbidden`] without `approvals:read`.
    pub async fn list_approvals(
        &self,
        principal: &Principal,
        filter: ApprovalFilter,
        page: PageRequest,
    ) -> Result<Page<ApprovalView>> {
        principal.require(Scope::ApprovalsRead)?;
        let narrowed =
            livery_store::ApprovalFilter { status: filter.status, run: filter.run, application: principal.app };
        let list = self.store.list_approvals(principal.org, &narrowed, &page.into()).await?;
        let now = self.clock.now();
        let mut page = Page::try_from_list(list, |row| view_of(row, now))?;
        // A run's list is short; the database's goes by the run alone.
        let wanted = filter.status.map(ApprovalStatus::as_str);
        page.data.retain(|view| wanted.is_none_or(|wanted| view.status == wanted));
        Ok(page)
    }

    /// One approval, with everything that is asked.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn get_approval(&self, principal: &Principal, id: ApprovalId) -> Result<ApprovalView> {
        principal.require(Scope::ApprovalsRead)?;
        view_of(self.visible_approval(principal, id).await?, self.clock.now())
    }

    /// Decides. The first decision stands; the run goes on at once. `from`: the address it came from, for the log.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] (`approval_closed`) when it was decided, its time is over, or its run is.
    pub async fn decide_approval(
        &self,
        caller: &Caller,
        id: ApprovalId,
        request: DecideApproval,
        from: Option<String>,
    ) -> Result<Posted<ApprovalView>> {
        let principal = &caller.principal;
        principal.require(Scope::ApprovalsWrite)?;
        let row = self.visible_approval(principal, id).await?;
        // Who acts for an end user decides for that end user's runs alone.
        if caller.on_behalf_of.is_some() && row.end_user != caller.on_behalf_of {
            return Err(Error::NotFound { what: "approval" });
        }
        if let Some(answered) = self.answered(caller).await? {
            return Ok(answered);
        }
        let note_text = checked_note(request.note)?;
        let run = self.store.get_run(row.org, row.run).await?.ok_or(Error::NotFound { what: "approval" })?;
        let now = self.clock.now();
        let scope = match request.decision {
            Answer::Approve => Some(ONCE),
            Answer::ApproveForRun => Some(FOR_RUN),
            Answer::Deny => None,
        };
        let decision = Decision {
            id,
            scope,
            at: now,
            by: principal.key,
            on_behalf_of: caller.on_behalf_of,
            note: note_text,
            use_by: (scope == Some(ONCE)).then(|| now.plus_millis(TTL_MS)),
        };
        let decided = decided_row(&row, &decision);
        let view = view_of(decided.clone(), now)?;
        let outbox = Outbox::of_run(self.clone(), &run)?;
        let told = told_of(&decided, caller, from);
        let (closed, key) = (closed(&row, &run, now), principal.key);
        let platform = self.clone();
        self.reached(EffectKind::ApprovalDecision, Phase::Before);
        let posted = self.post(caller, move |tx| {
            Box::pin(async move {
                if !tx.decide_approval(row.org, &decision).await? {
                    return Err(closed.into());
                }
                platform.reached(EffectKind::ApprovalDecision, Phase::During);
                let event = decided_event(&decided, now)?;
                let events = std::slice::from_ref(&event);
                // A run that still runs something else learns of it when it is about to wait, and its log then.
                if let Some(first_seq) = tx.append_unleased(row.org, row.run, events).await? {
                    outbox.append(tx, first_seq, events).await?;
                    tx.tell_approval(row.org, id).await?;
                    tx.hurry_run(row.org, row.run, now).await?;
                }
                note(tx, row.org, "approval.decided", now, key, told).await?;
                Ok(view)
            })
        });
        let posted = posted.await?;
        self.reached(EffectKind::ApprovalDecision, Phase::Committed);
        Ok(posted)
    }

    async fn visible_approval(&self, principal: &Principal, id: ApprovalId) -> Result<ApprovalRow> {
        let row = self.store.get_approval(principal.org, id).await?.filter(|row| principal.sees(row.application));
        row.ok_or(Error::NotFound { what: "approval" })
    }
}

fn decided_row(row: &ApprovalRow, decision: &Decision) -> ApprovalRow {
    ApprovalRow {
        status: if decision.scope.is_some() { ApprovalStatus::Approved } else { ApprovalStatus::Denied },
        scope: decision.scope.map(str::to_owned),
        decided_at: Some(decision.at),
        decided_by: Some(decision.by),
        decided_for: decision.on_behalf_of,
        note: decision.note.clone(),
        use_by: decision.use_by,
        ..row.clone()
    }
}

/// For the organization's own stream: who, on whose behalf, when, from where, about what.
fn told_of(row: &ApprovalRow, caller: &Caller, from: Option<String>) -> serde_json::Value {
    json!({
        "approval": row.id,
        "run": row.run,
        "status": row.status.as_str(),
        "scope": row.scope,
        "digest": row.digest,
        "policy": row.policy,
        "on_behalf_of": caller.on_behalf_of,
        "request_id": caller.request_id,
        "from": from,
    })
}

/// The event of an answer, or of none in time, in the run's log.
pub(crate) fn decided_event(row: &ApprovalRow, at: Timestamp) -> livery_store::Result<NewEvent> {
    let data = json!({
        "approval": row.id,
        "call_id": row.call_id,
        "status": row.status.as_str(),
        "scope": row.scope,
        "decided_by": row.decided_by,
        "on_behalf_of": row.decided_for,
        "note": row.note,
        "digest": row.digest,
    });
    let actor = row.decided_by.map_or_else(|| "system".to_owned(), |key| key.to_string());
    NewEvent::new(EventType::ApprovalDecided, actor, at, &data)
}

fn checked_note(note: Option<String>) -> Result<Option<String>> {
    let Some(note) = note.map(|note| note.trim().to_owned()).filter(|note| !note.is_empty()) else { return Ok(None) };
    if note.chars().count() > NOTE_CHARS_MAX {
        return Err(Error::invalid_field("/note", format!("at most {NOTE_CHARS_MAX} characters")));
    }
    Ok(Some(inert(&note)))
}

/// Why it can no longer be decided, as far as the rows said before.
fn closed(row: &ApprovalRow, run: &RunRow, now: Timestamp) -> Error {
    let detail = match row.status {
        _ if matches!(
            run.status,
            RunStatus::Succeeded | RunStatus::Failed | RunStatus::Cancelled | RunStatus::TimedOut
        ) =>
        {
            "the run is over".to_owned()
        }
        ApprovalStatus::Pending if row.expires_at <= now => "its time is over; the run was told no".to_owned(),
        ApprovalStatus::Pending => "somebody decided at the same time; look at it again".to_owned(),
        status => format!("it is {status} already"),
    };
    Error::Conflict { code: "approval_closed", detail: format!("the approval can no longer be decided: {detail}") }
}
