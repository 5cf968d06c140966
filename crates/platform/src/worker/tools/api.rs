//! `call_api`: one request through a connection of the run, asked for by the model. What leaves passes the run's
//! [`Door`](crate::worker::egress::Door); here the call is put into its words, and the answer into the model's.

use std::time::Duration;

use bytes::Bytes;
use livery_broker::engine::{Answer, Call, Failed, How, Prepared};
use livery_broker::transport::{Relayed, Timeouts};
use livery_harness::ToolOutcome;
use livery_harness::outcome::ApiOutput;
use livery_harness::tools::CallApi;
use serde_json::Value;

use super::Trouble;
use crate::effects::Phase;
use crate::worker::egress::{Admitted, Denied, FrontEnd, Outcome, Told, Unanswered};
use crate::worker::hands::Hands;

/// Largest answer that is read, in bytes; a larger one is an error.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Digits of the request's digest in an idempotency key.
const KEY_DIGITS: usize = 16;
/// How a call is sent.
const HOW: How = How {
    timeouts: Timeouts {
        resolve: Duration::from_secs(5),
        connect: Duration::from_secs(5),
        tls: Duration::from_secs(10),
        first_byte: Duration::from_secs(60),
        idle: Duration::from_secs(30),
        total: Duration::from_secs(120),
    },
    answer_bytes_max: ANSWER_BYTES_MAX,
    relayed: Relayed::Api,
};

/// Performs a call that fits the tool's schema.
pub(super) async fn call(hands: &Hands, call_id: &str, call: CallApi) -> Result<ToolOutcome, Trouble> {
    let (door, slot) = (&hands.door, call.connection.clone());
    let bound = door.bound(&slot).await.map_err(unavailable)?;
    let bound = bound.ok_or_else(|| Trouble::Answer(format!("policy_denied: the run has no connection `{slot}`.")))?;
    let told = Told::new(FrontEnd::CallApi { call_id: call_id.to_owned() }, slot, bound);
    let looked_at = Prepared::new(door.access(&told.bound), asked(call));
    let Admitted { prepared, leave } = door.admit(&told, looked_at).await.map_err(denied)?;
    let admitted = Admitted { prepared: keyed(hands, call_id, &told, prepared), leave };
    let effect = admitted.effect();
    let begun = match Box::pin(door.send(&told, admitted, HOW, std::future::pending())).await {
        Ok(begun) => begun,
        Err(Unanswered::Unavailable(why)) => return Err(unavailable(why)),
        Err(Unanswered::Failed(failed)) => return Err(Trouble::Answer(words(&failed))),
        Err(Unanswered::Gone(error)) => return Err(Trouble::Fatal(error)),
    };
    let version = begun.version;
    let answer = Answer::read(begun.inbound).await;
    hands.platform.reached(effect, Phase::After);
    let outcome = answer.as_ref().map_or_else(Outcome::failed, Outcome::answered);
    door.finish(&told.entry, Some(version), outcome).await.map_err(Trouble::Fatal)?;
    match answer {
        Ok(answer) => Ok(ToolOutcome::Api(shown(answer))),
        Err(failed) => Err(Trouble::Answer(words(&failed))),
    }
}

/// For an upstream that knows a repeated request by its key.
fn keyed(hands: &Hands, call_id: &str, told: &Told, prepared: Prepared) -> Prepared {
    if prepared.is_safe() || !told.bound.connector.idempotency_key {
        return prepared;
    }
    let digits = prepared.digest().and_then(|digest| digest.get(..KEY_DIGITS)).unwrap_or_default().to_owned();
    prepared.with_idempotency_key(format!("livery-{}-{call_id}-{digits}", hands.row.id))
}

pub(super) fn denied(denied: Denied) -> Trouble {
    match denied {
        Denied::No { reason, .. } => Trouble::Answer(format!("policy_denied: {reason}. Nothing was sent.")),
        Denied::Held => Trouble::Held,
        Denied::Gone(error) => Trouble::Fatal(error),
    }
}

pub(super) fn unavailable(why: &str) -> Trouble {
    Trouble::Answer(format!("credential_unavailable: {why}. Nothing was sent."))
}

/// The call in the engine's words.
fn asked(call: CallApi) -> Call {
    let mut query = Vec::new();
    for (name, value) in call.query {
        match value {
            Value::Array(items) => query.extend(items.iter().map(|item| (name.clone(), plain(item)))),
            value => query.push((name, plain(&value))),
        }
    }
    let mut headers: Vec<(String, String)> = call.headers.into_iter().collect();
    let (body, content_type) = match call.body {
        None => (Bytes::new(), None),
        Some(Value::String(text)) => (text.into(), Some("text/plain; charset=utf-8")),
        Some(value) => (value.to_string().into(), Some("application/json")),
    };
    let is_typed = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    if let Some(content_type) = content_type.filter(|_| !is_typed) {
        headers.push(("content-type".to_owned(), content_type.to_owned()));
    }
    Call { method: call.method, path: call.path, query, headers, body }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The answer in the harness's words. What is no text is not shown.
fn shown(answer: Answer) -> ApiOutput {
    let body_bytes = answer.body.len() as u64;
    let body = String::from_utf8(answer.body.into()).ok().filter(|text| !text.contains('\0'));
    let mut headers = std::collections::BTreeMap::new();
    for (name, value) in answer.headers {
        let all: &mut String = headers.entry(name).or_default();
        if !all.is_empty() {
            all.push_str(", ");
        }
        all.push_str(&value);
    }
    ApiOutput { status: answer.status, headers, body, body_bytes }
}

/// The broker's words carry nothing of the request, so they may be shown as they are.
fn words(failed: &Failed) -> String {
    let error = &failed.error;
    let sent = if error.nothing_sent() { "Nothing was sent." } else { "The request may have had its effect." };
    match error {
        livery_broker::Error::Denied { .. } | livery_broker::Error::BadRequest { .. } => {
            format!("policy_denied: {error}. {sent}")
        }
        livery_broker::Error::TooLarge { .. } => {
            format!("{error} ({ANSWER_BYTES_MAX} bytes): ask for less, a page or a part. {sent}")
        }
        _ => format!("{}: {error}. {sent}", error.kind()),
    }
}

#[cfg(test)]
pub(in crate::worker) mod tests;
