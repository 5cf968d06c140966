//! The events about one request. None holds a value: what is told of a request was taken before injection, of an answer
//! after scrubbing.

use std::time::{Duration, Instant};

use livery_broker::engine::{Answer, Facts, Failed};
use livery_broker::transport::{Finding, Speech};
use livery_core::EventType;
use livery_core::canonical::sha256_hex;
use serde_json::{Value, json};

use super::Event;
use crate::connections::Bound;

/// Who brought a request.
#[derive(Debug, Clone)]
pub(in crate::worker) enum FrontEnd {
    /// The model, by the tool of this name.
    CallApi {
        /// Its call.
        call_id: String,
    },
    /// The model, with a message.
    SendEmail {
        /// Its call.
        call_id: String,
    },
    /// A program in the sandbox.
    Proxy,
    /// The model, with a statement.
    QuerySql {
        /// Its call.
        call_id: String,
    },
    /// A program in the sandbox, in a session of a database.
    Postgres,
}

impl FrontEnd {
    const fn as_str(&self) -> &'static str {
        match self {
            Self::CallApi { .. } => "call_api",
            Self::SendEmail { .. } => "send_email",
            Self::Proxy => "proxy",
            Self::QuerySql { .. } => "query_sql",
            Self::Postgres => "postgres",
        }
    }
}

/// What every event about one request says first.
pub(in crate::worker) struct Told {
    pub(super) front_end: FrontEnd,
    /// What the run calls its connection.
    pub(super) slot: String,
    /// The connection as it was when the request came.
    pub(in crate::worker) bound: Bound,
    begun: Instant,
}

/// How a request ended, for its last event.
pub(in crate::worker) struct Outcome {
    pub(super) data: Value,
    pub(super) findings: Vec<Finding>,
}

impl Told {
    pub(in crate::worker) fn new(front_end: FrontEnd, slot: String, bound: Bound) -> Self {
        Self { front_end, slot, bound, begun: Instant::now() }
    }

    pub(super) const fn is_by_model(&self) -> bool {
        self.call_id().is_some()
    }

    pub(super) fn event(&self, event_type: EventType, more: Value) -> Event {
        let mut data = json!({
            "front_end": self.front_end.as_str(),
            "slot": self.slot,
            "connection": self.bound.connection,
            "name": self.bound.slug,
            "connector": self.bound.connector.name,
        });
        if let Some(call_id) = self.call_id() {
            data["call_id"] = call_id.as_str().into();
        }
        (event_type, with(data, more))
    }

    /// The model's call that brings it; none of a program's.
    pub(in crate::worker) const fn call_id(&self) -> Option<&String> {
        match &self.front_end {
            FrontEnd::CallApi { call_id } | FrontEnd::SendEmail { call_id } | FrontEnd::QuerySql { call_id } => {
                Some(call_id)
            }
            FrontEnd::Proxy | FrontEnd::Postgres => None,
        }
    }

    /// What brings it.
    pub(in crate::worker) const fn front_end(&self) -> &'static str {
        self.front_end.as_str()
    }

    pub(super) fn denied(&self, rule: &str, reason: &str, more: Value) -> Event {
        self.event(EventType::EgressDenied, with(json!({"rule": rule, "reason": reason}), more))
    }

    pub(super) fn requested(&self, facts: &Facts, leave: &Value) -> Event {
        let data = json!({
            "method": facts.method,
            "scheme": facts.scheme,
            "host": facts.host,
            "port": facts.port,
            "path": facts.path,
            "query_keys": facts.query_keys,
            "request_bytes": facts.request_bytes,
            "request_sha256": facts.request_sha256,
        });
        let data = match facts.speech {
            Speech::Http => data,
            Speech::Grpc => with(data, json!({"speech": "grpc"})),
            Speech::WebSocket => with(data, json!({"speech": "websocket"})),
        };
        self.event(EventType::EgressRequested, with(data, leave.clone()))
    }

    /// Where a credential was found, and how it ended.
    pub(super) fn ended(&self, version: Option<u32>, outcome: &Outcome) -> Vec<Event> {
        let redacted = |finding: &Finding| {
            let variants: Vec<&str> = finding.variants.iter().map(|variant| variant.as_str()).collect();
            let data = json!({"location": finding.place.to_string(), "variants": variants});
            self.event(EventType::EgressRedacted, data)
        };
        let mut events: Vec<Event> = outcome.findings.iter().map(redacted).collect();
        let mut data = outcome.data.clone();
        data["redactions"] = outcome.findings.len().into();
        data["credential_version"] = version.into();
        data["total_ms"] = millis(self.begun.elapsed()).into();
        events.push(self.event(EventType::EgressFinished, data));
        events
    }
}

/// The fields of both.
pub(super) fn with(mut data: Value, more: Value) -> Value {
    if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
        data.extend(more);
    }
    data
}

impl Outcome {
    /// There was no credential to send it with.
    pub(super) fn unavailable() -> Self {
        Self { data: json!({"outcome": "credential_unavailable", "sent": false}), findings: Vec::new() }
    }

    /// Nobody waited for its answer; how far it came is not known.
    pub(super) fn given_up() -> Self {
        Self { data: json!({"outcome": "client_gone"}), findings: Vec::new() }
    }

    /// It was answered, and the answer is whole.
    pub(in crate::worker) fn answered(answer: &Answer) -> Self {
        let data = json!({
            "outcome": "answered",
            "status": answer.status,
            "response_bytes": answer.body.len(),
            "response_sha256": sha256_hex(&answer.body),
            "dialled": answer.dialled.to_string(),
            "first_byte_ms": millis(answer.took.first_byte),
        });
        Self { data, findings: answer.findings.clone() }
    }

    /// It was not answered, or not to the end.
    pub(in crate::worker) fn failed(failed: &Failed) -> Self {
        let data = json!({
            "outcome": failed.error.kind(),
            "sent": !failed.error.nothing_sent(),
            "dialled": failed.dialled.map(|address| address.to_string()),
        });
        Self { data, findings: failed.findings.clone() }
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
