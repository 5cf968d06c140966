//! A message to a trigger, from the signature to the run. Once whatever its sender repeats: what a delivery is known by is
//! written in the transaction of the run.

use std::collections::BTreeMap;

use bytes::Bytes;
use livery_broker::Secret;
use livery_core::id::{RequestId, RunId, TriggerId};
use livery_core::inbound::{BodyError, Filter, Message, Path, Template, read_body, read_query};
use livery_core::run::INPUT_BYTES_MAX;
use livery_core::{Error, Result, Timestamp};
use livery_store::{TriggerDeliveryRow, TriggerOutcome, TriggerRow};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::verify::Verified;
use super::{SECRET_FIELD, Verification, owner_of, remembered_until};
use crate::Platform;
use crate::audit::note;
use crate::effects::{EffectKind, Phase};
use crate::runs::{Cause, Queueing, RunTemplate, StartRun, explain};

/// Longest id a sender gives a message; a longer one is known by its digest.
const DELIVERY_ID_BYTES_MAX: usize = 200;
/// Header fields that are no agent's business.
const HIDDEN_HEADERS: &[&str] = &["authorization", "cookie", "proxy-authorization"];

/// A message as it arrived.
#[derive(Debug, Clone)]
pub struct Inbound {
    /// Header fields, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The query string.
    pub query: String,
    /// The exact bytes; at most [`BODY_BYTES_MAX`](super::BODY_BYTES_MAX).
    pub body: Bytes,
    /// The request that brought it.
    pub request_id: RequestId,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Received {
    /// It was believed.
    Receipt(Receipt),
    /// A sender asks whether anybody is there: this is to be sent back.
    Challenge(String),
    /// It was not believed; why, without a word about the secret.
    Refused(&'static str),
    /// It is neither JSON nor a form.
    UnknownType,
}

/// What a believed sender is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// What happened.
    pub status: ReceiptStatus,
    /// The run that was started, now or the first time.
    pub run: Option<RunId>,
}

/// What happened to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptStatus {
    /// It started a run.
    Accepted,
    /// It had started a run before, and started nothing now.
    Replayed,
    /// It is not meant to start one.
    Ignored,
}

impl Platform {
    /// Takes a message from whoever knows the trigger's address.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a trigger that does not exist; [`Error::Malformed`] for a body that cannot be read, and
    /// [`Error::Invalid`] for one the agent cannot work on, both only after the signature was right.
    pub async fn receive_event(&self, id: TriggerId, inbound: Inbound) -> Result<Received> {
        let row = self.store.system_find_trigger(id).await?.ok_or(Error::NotFound { what: "trigger" })?;
        let now = self.clock.now();
        let verification: Verification = row.verification.parse()?;
        let secrets = self.trigger_secrets(&row, now).await?;
        let verified = match verification.verify(&secrets, &inbound.headers, &inbound.body, now) {
            Ok(verified) => verified,
            Err(reason) => return Ok(Received::Refused(reason)),
        };
        let body = match read_body(inbound.headers.get("content-type").map(String::as_str), &inbound.body) {
            Ok(body) => body,
            Err(BodyError::Type) => return Ok(Received::UnknownType),
            Err(error @ BodyError::Malformed(_)) => {
                return Err(Error::Malformed { code: "malformed_json", detail: error.to_string(), errors: Vec::new() });
            }
        };
        if let (Verification::Slack {}, Some(challenge)) = (&verification, challenge(&body)) {
            return Ok(Received::Challenge(challenge));
        }
        let message = message_of(&inbound, body, &verification);
        let delivery = delivery_of(&row, &inbound, &message, verified, now);
        let ignored = match (row.paused_at, row.filter.parse::<Filter>()?.matches(&message)) {
            (Some(_), _) => Some("the trigger is paused"),
            (None, false) => Some("the message does not meet the filter"),
            (None, true) => None,
        };
        if let Some(reason) = ignored {
            let delivery = TriggerDeliveryRow { reason: Some(reason.to_owned()), ..delivery };
            self.store.write(move |tx| Box::pin(async move { tx.remember_delivery(&delivery).await })).await?;
            return Ok(Received::Receipt(Receipt { status: ReceiptStatus::Ignored, run: None }));
        }
        if let Some(before) = self.store.recall_delivery(row.org, id, &delivery.delivery_key).await?
            && let Some(receipt) = replay_of(&before)
        {
            return Ok(Received::Receipt(receipt));
        }
        self.start_by(&row, &message, delivery, inbound.request_id).await.map(Received::Receipt)
    }

    /// The secret, and the one before it while it holds.
    async fn trigger_secrets(&self, row: &TriggerRow, now: Timestamp) -> Result<Vec<Secret>> {
        let previous = row.sealed_previous.as_ref().filter(|_| row.previous_until.is_some_and(|until| until > now));
        let mut secrets = Vec::with_capacity(2);
        for sealed in std::iter::once(&row.sealed_secret).chain(previous) {
            let owner = row.id.to_string();
            secrets.push(self.vault.unseal(&self.store, row.org, &owner, SECRET_FIELD, sealed, now).await?);
        }
        Ok(secrets)
    }

    async fn start_by(
        &self,
        row: &TriggerRow,
        message: &Message,
        mut delivery: TriggerDeliveryRow,
        request_id: RequestId,
    ) -> Result<Receipt> {
        let cause = Cause { trigger: Some((row.id, delivery.delivery_id.clone())), ..Cause::default() };
        let mut caller = self.caller_for(owner_of(row));
        caller.request_id = request_id;
        let prepared = match request_of(row, message) {
            Ok(request) => self.prepare_run(&caller, &request, &cause).await,
            Err(error) => Err(error),
        };
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(error @ (Error::Unavailable { .. } | Error::Internal { .. } | Error::Limited { .. })) => {
                return Err(error);
            }
            Err(error) => return Err(self.reject(row, delivery, &error).await?),
        };
        delivery.outcome = TriggerOutcome::Started;
        delivery.run = Some(prepared.id());
        let platform = self.clone();
        self.reached(EffectKind::TriggerReceipt, Phase::Before);
        let receipt = self
            .store
            .write(move |tx| {
                Box::pin(async move {
                    if !tx.remember_delivery(&delivery).await? {
                        let before = tx.recall_delivery(delivery.org, delivery.trigger, &delivery.delivery_key).await?;
                        return Ok(before.as_ref().and_then(replay_of));
                    }
                    platform.reached(EffectKind::TriggerReceipt, Phase::During);
                    let run = prepared.insert(tx, Queueing::Enqueue).await?;
                    Ok(Some(Receipt { status: ReceiptStatus::Accepted, run: Some(run.id) }))
                })
            })
            .await?;
        self.reached(EffectKind::TriggerReceipt, Phase::Committed);
        let receipt = receipt.ok_or_else(|| Error::internal("a delivery is neither new nor known"))?;
        if receipt.status == ReceiptStatus::Accepted {
            self.metrics.run_accepted();
        }
        Ok(receipt)
    }

    /// Notes why a message cannot start a run, for the trigger's owner; what its sender is told.
    async fn reject(&self, row: &TriggerRow, mut delivery: TriggerDeliveryRow, error: &Error) -> Result<Error> {
        let (org, trigger, code, detail) = (row.org, row.id, error.code(), explain(error));
        delivery.outcome = TriggerOutcome::Rejected;
        delivery.reason = Some(detail.clone());
        self.store
            .write(move |tx| {
                Box::pin(async move {
                    tx.remember_delivery(&delivery).await?;
                    let data =
                        json!({"trigger": trigger, "delivery": delivery.delivery_id, "code": code, "detail": detail});
                    note(tx, org, "trigger.rejected", delivery.received_at, trigger, data).await
                })
            })
            .await?;
        let detail = "the message was understood, and cannot start a run; the trigger's owner sees why".to_owned();
        Ok(Error::Invalid { code: "invalid_input", detail, errors: Vec::new() })
    }
}

/// Slack asks once whether the address is meant (`url_verification`).
fn challenge(body: &Value) -> Option<String> {
    let asks = body.get("type").and_then(Value::as_str) == Some("url_verification");
    asks.then(|| body.get("challenge").and_then(Value::as_str).map(str::to_owned)).flatten()
}

fn message_of(inbound: &Inbound, body: Value, verification: &Verification) -> Message {
    let proof: Vec<String> = verification.proof_headers().iter().map(|name| name.to_ascii_lowercase()).collect();
    let shown =
        inbound.headers.iter().filter(|(name, _)| !HIDDEN_HEADERS.contains(&name.as_str()) && !proof.contains(name));
    let headers = shown.map(|(name, value)| (name.clone(), value.clone())).collect();
    Message { body, headers, query: read_query(&inbound.query) }
}

/// The row of a message that has started nothing yet.
fn delivery_of(
    row: &TriggerRow,
    inbound: &Inbound,
    message: &Message,
    verified: Verified,
    now: Timestamp,
) -> TriggerDeliveryRow {
    let in_body = verified.id_path.as_ref().and_then(|path| path.parse::<Path>().ok());
    let in_body = in_body.and_then(|path| match path.find(message)?.to_value() {
        Value::String(id) => Some(id),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    });
    let id = verified.id.or(in_body).filter(|id| !id.is_empty());
    let bearer = matches!(row.verification.parse(), Ok(Verification::Bearer { .. }));
    let delivery_key = match &id {
        Some(id) if id.len() <= DELIVERY_ID_BYTES_MAX => format!("id:{id}"),
        Some(id) => format!("id-digest:{}", digest(&[id.as_bytes()])),
        // Nothing tells two messages of such a sender apart: each is new.
        None if bearer => format!("request:{}", inbound.request_id),
        None => format!("digest:{}", digest(&[verified.stamp.unwrap_or_default().as_bytes(), b".", &inbound.body])),
    };
    let shown = id.or(verified.claimed).map(|id| id.chars().take(DELIVERY_ID_BYTES_MAX).collect());
    TriggerDeliveryRow {
        id: inbound.request_id,
        org: row.org,
        trigger: row.id,
        delivery_key,
        delivery_id: shown,
        outcome: TriggerOutcome::Ignored,
        run: None,
        reason: None,
        received_at: now,
        expires_at: remembered_until(now),
    }
}

fn digest(parts: &[&[u8]]) -> String {
    let digest = parts.iter().fold(Sha256::new(), |hasher, part| hasher.chain_update(part)).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn replay_of(before: &TriggerDeliveryRow) -> Option<Receipt> {
    (before.outcome == TriggerOutcome::Started).then_some(Receipt { status: ReceiptStatus::Replayed, run: before.run })
}

fn request_of(row: &TriggerRow, message: &Message) -> Result<StartRun> {
    let request: RunTemplate = row.request.parse()?;
    let input = match &row.template {
        Some(template) => {
            let template = Template::new(&template.parse::<Value>()?).map_err(|(_, error)| Error::internal(error))?;
            let limit_bytes = INPUT_BYTES_MAX as u64;
            template.render(message, INPUT_BYTES_MAX).map_err(|_| Error::TooLarge { what: "the input", limit_bytes })?
        }
        None if message.body.is_null() => Value::Object(serde_json::Map::new()),
        None => message.body.clone(),
    };
    Ok(request.with_input(input))
}
