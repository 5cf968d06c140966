//! What the policies say to a call of a tool, and a person where they say "ask".
//!
//! ```text
//! permit ─▶ go        deny ─▶ the model reads why        ask ─▶ approved, this very thing ─▶ used up, go
//!                                                            ─▶ denied, or nobody in time ─▶ the model reads why
//!                                                            ─▶ nobody yet ─▶ held: the run waits, holding nothing
//! ```
//!
//! A call that was held is run from its beginning when somebody answered, and has to ask again: the policies as they are then,
//! and for the approval of exactly what it wants then. The approval is used up in the commit that says the call goes on; so
//! one yes is one request, whenever a process dies.

mod mail;
mod sql;

use std::sync::Arc;

use livery_broker::engine::Prepared;
use livery_broker::policy::{Decision, Policies, Rule};
use livery_core::canonical::{sha256_hex, text as canonical};
use livery_core::id::{ApprovalId, ConnectionId};
use livery_core::{EventType, RunError, Timestamp};
use livery_harness::Invocation;
use livery_store::{ApprovalRow, ApprovalStatus, Json};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(super) use self::mail::look as look_at_mail;
pub(super) use self::sql::look as look_at_statement;
use super::egress::{Door, Told};
use super::patience::{CALL_WAIT_MAX, read_patiently};
use super::step::ApprovalChange;
use crate::approvals::{self, Card, FOR_RUN, ONCE};
use crate::effects::{EffectKind, Phase};
use crate::policies::{may_leave, may_use, rule_json};

/// An event on its way to the log.
type Event = (EventType, Value);

/// A call that may be made.
#[derive(Debug)]
pub(super) struct Leave {
    /// For the log: which rule, and whose yes.
    pub(super) told: Value,
    call_id: String,
    /// The approval it goes by.
    approval: Option<(ApprovalId, bool)>,
    /// Whether it was held, so that the log has to say that it goes on.
    was_held: bool,
}

impl Leave {
    /// Whether something has to be in the log before anything is done.
    pub(super) const fn is_noted_first(&self) -> bool {
        self.was_held || self.approval.is_some()
    }

    /// Whether it goes by a person's yes.
    pub(super) const fn is_approved(&self) -> bool {
        self.approval.is_some()
    }

    /// The request, to be sent only as it was looked at, when a person approved it.
    pub(super) fn bind(&self, prepared: Prepared) -> Prepared {
        let digest = prepared.digest().filter(|_| self.approval.is_some()).map(str::to_owned);
        match digest {
            Some(digest) => prepared.only_as(digest),
            None => prepared,
        }
    }

    /// Writes down that the call goes on, the approval used up in the same commit, with `events` behind it.
    pub(super) async fn note(&self, door: &Door, events: Vec<Event>) -> Result<(), RunError> {
        let resumed = json!({"call_id": self.call_id, "approval": self.approval.map(|(id, _)| id)});
        let mut all = vec![(EventType::ToolResumed, resumed)];
        all.extend(events);
        let change = self.approval.filter(|(_, once)| *once).map(|(id, _)| ApprovalChange::Used(id));
        let reached = |phase| {
            if self.is_approved() {
                door.platform().reached(EffectKind::ApprovedCall, phase);
            }
        };
        reached(Phase::BeforeIntent);
        door.log_with(all, change).await?;
        reached(Phase::Before);
        Ok(())
    }
}

/// What a person is asked about, as fields; never changed once it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Subject {
    /// `call` or `tool`.
    kind: String,
    tool: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<Request>,
    /// Of the request, or of the tool's arguments.
    sha256: String,
    for_run: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Request {
    connection: ConnectionId,
    connection_version: u32,
    name: String,
    connector: String,
    method: String,
    scheme: String,
    host: String,
    port: u16,
    path: String,
    url: String,
    body_bytes: usize,
    body_sha256: String,
    /// Who gets a mail.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    recipients: Vec<String>,
    /// Of SQL, its statement; a yes to one is a yes to no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    statement: Option<String>,
}

impl Request {
    /// Whether a yes to this one for the rest of the run is a yes to the other.
    fn covers(&self, other: &Self) -> bool {
        let own = (&self.connection, self.connection_version, &self.method, &self.scheme, &self.host, self.port);
        let theirs =
            (&other.connection, other.connection_version, &other.method, &other.scheme, &other.host, other.port);
        let same_statement = self.statement.is_none() || self.body_sha256 == other.body_sha256;
        own == theirs
            && self.recipients == other.recipients
            && self.statement == other.statement
            && same_statement
            && is_below(&other.path, &self.path)
    }
}

/// Whether a path is this one, or below it.
fn is_below(path: &str, prefix: &str) -> bool {
    let rest = path.strip_prefix(prefix.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What the policies say to a call, with what a person is asked where they say so.
pub(super) struct Looked {
    decision: Decision,
    /// The subject, and the card that shows it, if one can.
    asked: Option<(Subject, Option<String>)>,
}

/// The policies of a door's run, as they are now.
pub(super) async fn policies(door: &Door) -> Result<Arc<Policies>, Denied> {
    let (platform, run) = (door.platform(), door.row());
    let policies = read_patiently(run.id, "the policies", CALL_WAIT_MAX, || platform.policies_of(run)).await;
    policies.map_err(|error| {
        tracing::warn!(run = %door.row().id, %error, "the policies cannot be read; nothing is let out");
        no(POLICY, "the policies cannot be read now", json!({"detail": error.code()}))
    })
}

/// Whether a request may leave: what every front end asks, before a secret is opened.
pub(super) fn look(policies: &Policies, door: &Door, told: &Told, prepared: &Prepared) -> Looked {
    let decision = may_leave(policies, door.row(), &told.bound, prepared, told.front_end());
    let asked = matches!(decision, Decision::Ask { .. }).then(|| request_of(told, prepared));
    Looked { decision, asked }
}

fn request_of(told: &Told, prepared: &Prepared) -> (Subject, Option<String>) {
    let (bound, facts) = (&told.bound, prepared.facts());
    let body = prepared.body().unwrap_or_default();
    let request = Request {
        connection: bound.connection,
        connection_version: bound.version,
        name: bound.slug.clone(),
        connector: bound.connector.name.clone(),
        method: facts.method.to_owned(),
        scheme: facts.scheme.to_owned(),
        host: facts.host.clone(),
        port: facts.port,
        path: facts.path.clone(),
        url: prepared.url(),
        body_bytes: body.len(),
        body_sha256: sha256_hex(body),
        recipients: Vec::new(),
        statement: None,
    };
    let place = format!("{}://{}:{}", facts.scheme, facts.host, facts.port);
    let for_run = format!("{} {place}{} and everything below it, through {}", facts.method, facts.path, bound.slug);
    let mut card = Card::default();
    card.line("request", &format!("{} {}", facts.method, prepared.url()));
    card.line("connection", &format!("{} ({}, version {})", bound.slug, bound.connector.name, bound.version));
    let headers: Vec<_> = prepared.headers().iter().map(|(name, value)| (name.clone(), quoted(value))).collect();
    let label = format!("body of {} bytes", body.len());
    let text = quoted(&String::from_utf8_lossy(body));
    let card = card.request((!body.is_empty()).then_some((&label, &text)), &headers);
    let sha256 = facts.request_sha256.unwrap_or_default();
    (Subject { kind: "call".into(), tool: "call_api".into(), request: Some(request), sha256, for_run }, card)
}

/// Whether a tool that carries no credential may be used.
pub(super) async fn tool(door: &Door, call_id: &str, name: &str, invocation: &Invocation) -> Result<Leave, Denied> {
    let decision = may_use(&*policies(door).await?, door.row(), name);
    let asked = matches!(decision, Decision::Ask { .. }).then(|| {
        let arguments = canonical(invocation);
        let mut card = Card::default();
        card.line("tool", name);
        let subject = Subject {
            kind: "tool".into(),
            tool: name.to_owned(),
            request: None,
            sha256: sha256_hex(&arguments),
            for_run: format!("the tool {name}, with any arguments"),
        };
        (subject, Some(card.rest("arguments", &arguments)))
    });
    settle(door, Some(&call_id.to_owned()), Looked { decision, asked }).await
}

/// Why a call is not made.
pub(super) enum Denied {
    /// It waits for a person.
    Held,
    /// No: for whoever asked, and for the log.
    No {
        /// `policy` or `approval`.
        rule: &'static str,
        /// In words.
        reason: String,
        /// Further fields of the event.
        more: Value,
    },
    /// The run is over, or somebody else's.
    Gone(RunError),
}

const POLICY: &str = "policy";
const APPROVAL: &str = "approval";

fn no(rule: &'static str, reason: impl Into<String>, more: Value) -> Denied {
    Denied::No { rule, reason: reason.into(), more }
}

/// What follows from it; a program, which has no `call_id`, is not held.
pub(super) async fn settle(door: &Door, call_id: Option<&String>, looked: Looked) -> Result<Leave, Denied> {
    let was_held = call_id.is_some_and(|call_id| door.was_held(call_id));
    let leave = |told| Leave { told, call_id: call_id.cloned().unwrap_or_default(), approval: None, was_held };
    let (rule, reason) = match looked.decision {
        Decision::Permit(None) => return Ok(leave(json!({"rule": "reach"}))),
        Decision::Permit(Some(rule)) => return Ok(leave(json!({"rule": POLICY, "policy": rule_json(Some(&rule))}))),
        Decision::Deny { rule, reason, detail } => {
            return Err(no(POLICY, reason, json!({"policy": rule_json(rule.as_ref()), "detail": detail})));
        }
        Decision::Ask { rule, reason } => (rule, reason),
    };
    let tool = looked.asked.as_ref().map_or("call_api", |(subject, _)| subject.tool.as_str()).to_owned();
    let (Some(call_id), Some((subject, card))) = (call_id, looked.asked) else {
        let words = format!("a person has to approve it ({reason}), and a program cannot wait: use the tool {tool}");
        return Err(no(APPROVAL, words, json!({"policy": rule_json(Some(&rule))})));
    };
    let leave = leave(json!({"rule": POLICY, "policy": rule_json(Some(&rule))}));
    let now = door.platform().clock.now();
    Question { door, call_id, rule, reason, subject, card, now }.put(leave).await
}

struct Question<'a> {
    door: &'a Door,
    call_id: &'a str,
    rule: Rule,
    reason: String,
    subject: Subject,
    card: Option<String>,
    now: Timestamp,
}

impl Question<'_> {
    async fn put(self, mut leave: Leave) -> Result<Leave, Denied> {
        let run = self.door.row();
        let rows = || self.door.platform().store.approvals_of(run.org, run.id);
        let rows = read_patiently(run.id, "the approvals", CALL_WAIT_MAX, rows).await;
        let rows = rows.map_err(|error| {
            let error = livery_core::Error::from(error);
            no(APPROVAL, "the approvals cannot be read now", json!({"detail": error.code()}))
        })?;
        // A no is an answer to the next question too: whoever asks the same again wears a person out until a yes slips through.
        // It is about exactly this, so a yes to all that is below some path does not undo it either.
        let denied = rows.iter().find(|row| self.was_denied(row));
        if let Some(row) = rows.iter().find(|row| denied.is_none() && self.covers(row)) {
            leave.told["approval"] = json!(row.id);
            leave.approval = Some((row.id, false));
            return Ok(leave);
        }
        let own = rows.iter().find(|row| row.call_id == self.call_id && row.digest == self.digest(row.expires_at));
        let answered = own.filter(|row| row.status != ApprovalStatus::Used).or(denied);
        let Some(row) = answered else { return Err(self.ask(&rows).await) };
        let refused =
            |reason: String| no(APPROVAL, reason, json!({"approval": row.id, "policy": rule_json(Some(&self.rule))}));
        match row.status {
            ApprovalStatus::Approved if row.use_by.is_some_and(|until| until > self.now) => {
                leave.told["approval"] = json!(row.id);
                leave.approval = Some((row.id, row.scope.as_deref() == Some(ONCE)));
                Ok(leave)
            }
            ApprovalStatus::Approved => {
                Err(refused("it was approved, and the approval was not used in time".to_owned()))
            }
            ApprovalStatus::Pending if row.expires_at > self.now => Err(Denied::Held),
            ApprovalStatus::Pending => {
                self.expire(row).await.map_err(Denied::Gone)?;
                Err(refused(NOBODY.to_owned()))
            }
            ApprovalStatus::Expired => Err(refused(NOBODY.to_owned())),
            ApprovalStatus::Denied | ApprovalStatus::Used => {
                let said = row.note.as_ref().map_or_else(String::new, |note| format!(": {note}"));
                Err(refused(format!("a person looked at it and said no{said}")))
            }
        }
    }

    /// Whether a yes for the rest of the run holds for this: the same policy in the same version, and what it shows in full.
    fn covers(&self, row: &ApprovalRow) -> bool {
        let is_for_run = row.status == ApprovalStatus::Approved && row.scope.as_deref() == Some(FOR_RUN);
        if !is_for_run || row.policy.parse::<Value>().ok() != Some(rule_json(Some(&self.rule))) {
            return false;
        }
        let Ok(subject) = row.subject.parse::<Subject>() else { return false };
        match (&subject.request, &self.subject.request) {
            (Some(approved), Some(asked)) => approved.covers(asked),
            (None, None) => subject.tool == self.subject.tool,
            _ => false,
        }
    }

    /// Whether a person said no to exactly this, asked by the same statement, in another call of the run.
    fn was_denied(&self, row: &ApprovalRow) -> bool {
        row.status == ApprovalStatus::Denied
            && row.policy.parse::<Value>().ok() == Some(rule_json(Some(&self.rule)))
            && row.subject.parse::<Subject>().is_ok_and(|subject| subject == self.subject)
    }

    /// Over everything a yes is bound to.
    fn digest(&self, expires_at: Timestamp) -> String {
        sha256_hex(canonical(&json!({
            "run": self.door.row().id,
            "call_id": self.call_id,
            "policy": rule_json(Some(&self.rule)),
            "subject": self.subject,
            "expires_at": expires_at,
        })))
    }

    /// Asks a person, unless the run asked too much already.
    async fn ask(self, rows: &[ApprovalRow]) -> Denied {
        let is_open = |row: &&ApprovalRow| row.status == ApprovalStatus::Pending && row.expires_at > self.now;
        if rows.iter().filter(is_open).count() >= approvals::PENDING_PER_RUN_MAX || rows.len() >= approvals::PER_RUN_MAX
        {
            let more = json!({"policy": rule_json(Some(&self.rule))});
            return no(
                APPROVAL,
                "a person would have to approve it, and this run has asked for too many approvals",
                more,
            );
        }
        let Some(card) = &self.card else {
            return no(
                APPROVAL,
                "a person would have to approve it, and it has more than a person can be shown",
                json!({"policy": rule_json(Some(&self.rule))}),
            );
        };
        match self.row(card) {
            Ok(row) => {
                let told = json!({
                    "approval": row.id,
                    "call_id": self.call_id,
                    "tool": self.subject.tool,
                    "reason": self.reason,
                    "policy": rule_json(Some(&self.rule)),
                    "digest": row.digest,
                    "expires_at": row.expires_at,
                });
                let change = ApprovalChange::Requested(Box::new(row));
                let platform = self.door.platform();
                platform.reached(EffectKind::ApprovalRequest, Phase::Before);
                match self.door.log_with(vec![(EventType::ApprovalRequested, told)], Some(change)).await {
                    Ok(()) => {
                        platform.reached(EffectKind::ApprovalRequest, Phase::Committed);
                        Denied::Held
                    }
                    Err(error) => Denied::Gone(error),
                }
            }
            Err(error) => no(APPROVAL, "a person cannot be asked now", json!({"detail": error.to_string()})),
        }
    }

    fn row(&self, card: &str) -> livery_store::Result<ApprovalRow> {
        let run = self.door.row();
        let expires_at = self.now.plus_millis(approvals::TTL_MS);
        Ok(ApprovalRow {
            id: ApprovalId::from_bits(self.door.platform().mint()),
            org: run.org,
            application: run.application,
            end_user: run.end_user,
            run: run.id,
            call_id: self.call_id.to_owned(),
            subject: Json::of(&self.subject)?,
            digest: self.digest(expires_at),
            card: card.to_owned(),
            reason: self.reason.clone(),
            policy: Json::of(&rule_json(Some(&self.rule)))?,
            status: ApprovalStatus::Pending,
            requested_at: self.now,
            expires_at,
            scope: None,
            decided_at: None,
            decided_by: None,
            decided_for: None,
            note: None,
            use_by: None,
            used_at: None,
        })
    }

    async fn expire(&self, row: &ApprovalRow) -> Result<(), RunError> {
        let told = json!({"approval": row.id, "call_id": row.call_id, "status": "expired", "digest": row.digest});
        let change = Some(ApprovalChange::Expired(row.id));
        self.door.log_with(vec![(EventType::ApprovalDecided, told)], change).await
    }
}

const NOBODY: &str = "a person had to approve it, and nobody did in time";

/// As a JSON string: where it begins and ends is seen.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests;
