//! `call_api`: one request through a connection of the run, with both its sides in the log.
//!
//! ```text
//! prepare ─▶ egress.denied                                    nothing left
//!         ─▶ egress.requested ─▶ open the secret ─▶ send ─▶ egress.redacted … ─▶ egress.finished
//! ```
//!
//! The intent of a request that may change something is committed before the secret is opened; that of a `GET` or `HEAD` with
//! its result. No event holds a value: what is told of a request was taken before injection, of an answer after scrubbing.

use std::time::{Duration, Instant};

use bytes::Bytes;
use livery_broker::engine::{Access, Answer, Call, Facts, Failed, Prepared};
use livery_broker::transport::{Finding, Timeouts};
use livery_core::canonical::sha256_hex;
use livery_core::{ErrorCode, EventType, RunError};
use livery_harness::ToolOutcome;
use livery_harness::outcome::ApiOutput;
use livery_harness::tools::CallApi;
use serde_json::{Value, json};

use super::Trouble;
use crate::connections::Bound;
use crate::worker::hands::Hands;

/// Places of answers in which a credential may be found before the run is stopped.
pub(in crate::worker) const REDACTED_MAX: u32 = 3;
/// Largest answer that is read, in bytes; a larger one is an error.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Digits of the request's digest in an idempotency key.
const KEY_DIGITS: usize = 16;
/// The waits of one call.
const TIMEOUTS: Timeouts = Timeouts {
    resolve: Duration::from_secs(5),
    connect: Duration::from_secs(5),
    tls: Duration::from_secs(10),
    first_byte: Duration::from_secs(60),
    idle: Duration::from_secs(30),
    total: Duration::from_secs(120),
};

/// An event on its way to the log.
type Event = (EventType, Value);

/// How a run ends whose upstreams give its credentials back.
pub(in crate::worker) fn quarantined() -> RunError {
    let message = format!(
        "a credential came back in {REDACTED_MAX} places of answers and was taken out each time; \
         see the run's egress.redacted events"
    );
    RunError::fatal(ErrorCode::Quarantined, message)
}

/// What every event about one request says first.
struct Told<'a> {
    call_id: &'a str,
    slot: String,
    bound: Bound,
}

impl Told<'_> {
    fn event(&self, event_type: EventType, more: Value) -> Event {
        let mut data = json!({
            "call_id": self.call_id,
            "front_end": "call_api",
            "slot": self.slot,
            "connection": self.bound.connection,
            "name": self.bound.slug,
            "connector": self.bound.connector.name,
        });
        if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
            data.extend(more);
        }
        (event_type, data)
    }

    fn requested(&self, facts: &Facts) -> Event {
        let data = json!({
            "method": facts.method,
            "scheme": facts.scheme,
            "host": facts.host,
            "port": facts.port,
            "path": facts.path,
            "query_keys": facts.query_keys,
            "request_bytes": facts.request_bytes,
            "request_sha256": facts.request_sha256,
            "rule": "reach",
        });
        self.event(EventType::EgressRequested, data)
    }

    fn redacted(&self, findings: &[Finding]) -> Vec<Event> {
        let event = |finding: &Finding| {
            let variants: Vec<&str> = finding.variants.iter().map(|variant| variant.as_str()).collect();
            let data = json!({"location": finding.place.to_string(), "variants": variants});
            self.event(EventType::EgressRedacted, data)
        };
        findings.iter().map(event).collect()
    }

    fn finished(&self, version: Option<u32>, outcome: &Result<Answer, Failed>, took: Duration) -> Event {
        let mut data = match outcome {
            Ok(answer) => json!({
                "outcome": "answered",
                "status": answer.status,
                "response_bytes": answer.body.len(),
                "response_sha256": sha256_hex(&answer.body),
                "dialled": answer.dialled.to_string(),
                "redactions": answer.findings.len(),
                "first_byte_ms": millis(answer.took.first_byte),
            }),
            Err(failed) => json!({
                "outcome": failed.error.kind(),
                "sent": !failed.error.nothing_sent(),
                "dialled": failed.dialled.map(|address| address.to_string()),
                "redactions": failed.findings.len(),
            }),
        };
        data["credential_version"] = version.into();
        data["total_ms"] = millis(took).into();
        self.event(EventType::EgressFinished, data)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Performs a call that fits the tool's schema.
pub(super) async fn call(hands: &Hands, call_id: &str, call: CallApi) -> Result<ToolOutcome, Trouble> {
    let told = Told { call_id, bound: bound(hands, &call.connection).await?, slot: call.connection.clone() };
    let prepared = match Prepared::new(access(hands, &told.bound), asked(call)) {
        Ok(prepared) => prepared,
        Err(refusal) => {
            let data = json!({"rule": refusal.rule(), "reason": refusal.to_string()});
            hands.log(vec![told.event(EventType::EgressDenied, data)]).await;
            return Err(Trouble::Answer(format!("policy_denied: {refusal}. Nothing was sent.")));
        }
    };
    let requested = told.requested(&prepared.facts());
    let mut events = Vec::new();
    if prepared.is_safe() {
        events.push(requested);
    } else {
        hands.log_first(vec![requested]).await.map_err(Trouble::Fatal)?;
    }
    send(hands, &told, prepared, events).await
}

/// Opens the secret, sends, and tells how it went: the log first, then the model.
async fn send(
    hands: &Hands,
    told: &Told<'_>,
    prepared: Prepared,
    mut events: Vec<Event>,
) -> Result<ToolOutcome, Trouble> {
    let begun = Instant::now();
    let credential = match hands.platform.materialise(hands.row.org, told.bound.connection).await {
        Ok(credential) => credential,
        Err(error) => {
            let data = json!({"outcome": "credential_unavailable", "sent": false});
            events.push(told.event(EventType::EgressFinished, data));
            hands.log(events).await;
            return Err(unavailable(&error));
        }
    };
    let version = credential.version;
    let prepared = keyed(hands, told, prepared);
    let outcome = hands.platform.broker.call(prepared, credential, TIMEOUTS, ANSWER_BYTES_MAX).await;
    let findings = match &outcome {
        Ok(answer) => &answer.findings,
        Err(failed) => &failed.findings,
    };
    events.extend(told.redacted(findings));
    let found = u32::try_from(findings.len()).unwrap_or(u32::MAX);
    events.push(told.finished(Some(version), &outcome, begun.elapsed()));
    hands.log(events).await;
    if hands.count_redacted(found) >= REDACTED_MAX {
        return Err(Trouble::Fatal(quarantined()));
    }
    match outcome {
        Ok(answer) => Ok(ToolOutcome::Api(shown(answer))),
        Err(failed) => Err(Trouble::Answer(words(&failed))),
    }
}

/// For an upstream that knows a repeated request by its key.
fn keyed(hands: &Hands, told: &Told<'_>, prepared: Prepared) -> Prepared {
    if prepared.is_safe() || !told.bound.connector.idempotency_key {
        return prepared;
    }
    let digits = prepared.digest().get(..KEY_DIGITS).unwrap_or_default().to_owned();
    prepared.with_idempotency_key(format!("livery-{}-{}-{digits}", hands.row.id, told.call_id))
}

async fn bound(hands: &Hands, slot: &str) -> Result<Bound, Trouble> {
    let mut bound = hands.platform.bound_connections(&hands.row).await.map_err(|error| unavailable(&error))?;
    bound.remove(slot).ok_or_else(|| Trouble::Answer(format!("policy_denied: the run has no connection `{slot}`.")))
}

fn unavailable(error: &livery_core::Error) -> Trouble {
    let why = match error {
        livery_core::Error::NotFound { .. } => "the connection does not exist any more",
        livery_core::Error::Conflict { .. } => "the connection is revoked or has to be authorised again",
        _ => "the connection cannot be read now",
    };
    Trouble::Answer(format!("credential_unavailable: {why}. Nothing was sent."))
}

fn access(hands: &Hands, bound: &Bound) -> Access {
    let connector = &bound.connector;
    Access {
        org: hands.row.org,
        connection: bound.connection.to_string(),
        name: bound.slug.clone(),
        reach: connector.reach.clone(),
        slot: connector.slot.clone(),
        headers: connector.headers.clone(),
    }
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
mod tests;
