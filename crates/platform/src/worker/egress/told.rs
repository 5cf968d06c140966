//! The events about one request. None holds a value: what is told of a request was taken before injection, of an answer
//! after scrubbing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use livery_broker::Error;
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

    const fn call_id(&self) -> Option<&String> {
        match self {
            Self::CallApi { call_id } | Self::SendEmail { call_id } | Self::QuerySql { call_id } => Some(call_id),
            Self::Proxy | Self::Postgres => None,
        }
    }
}

/// One request in the transcript: what every event about it says first.
pub(in crate::worker) struct Entry {
    front_end: FrontEnd,
    /// Slot, connection, name and connector; all null of a request to a host that the agent names.
    through: Value,
    begun: Instant,
}

/// A request through a connection.
pub(in crate::worker) struct Told {
    /// In the transcript.
    pub(in crate::worker) entry: Arc<Entry>,
    /// What the run calls its connection.
    pub(super) slot: String,
    /// The connection as it was when the request came.
    pub(in crate::worker) bound: Bound,
}

/// How a request ended, for its last event.
pub(in crate::worker) struct Outcome {
    pub(super) data: Value,
    pub(super) findings: Vec<Finding>,
}

impl Told {
    pub(in crate::worker) fn new(front_end: FrontEnd, slot: String, bound: Bound) -> Self {
        let through = json!({
            "slot": slot,
            "connection": bound.connection,
            "name": bound.slug,
            "connector": bound.connector.name,
        });
        Self { entry: Arc::new(Entry { front_end, through, begun: Instant::now() }), slot, bound }
    }

    pub(super) fn is_by_model(&self) -> bool {
        self.call_id().is_some()
    }

    /// The model's call that brings it; none of a program's.
    pub(in crate::worker) fn call_id(&self) -> Option<&String> {
        self.entry.front_end.call_id()
    }

    /// What brings it.
    pub(in crate::worker) fn front_end(&self) -> &'static str {
        self.entry.front_end.as_str()
    }

    pub(super) fn event(&self, event_type: EventType, more: Value) -> Event {
        self.entry.event(event_type, more)
    }

    pub(super) fn denied(&self, rule: &str, reason: &str, more: Value) -> Event {
        self.event(EventType::EgressDenied, with(json!({"rule": rule, "reason": reason}), more))
    }
}

impl Entry {
    /// Of a program's request to a host that the agent names.
    pub(super) fn direct() -> Self {
        let through = json!({"slot": null, "connection": null, "name": null, "connector": null});
        Self { front_end: FrontEnd::Proxy, through, begun: Instant::now() }
    }

    fn event(&self, event_type: EventType, more: Value) -> Event {
        let mut data = with(json!({"front_end": self.front_end.as_str()}), self.through.clone());
        if let Some(call_id) = self.front_end.call_id() {
            data["call_id"] = call_id.as_str().into();
        }
        (event_type, with(data, more))
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
        let mut outcome = Self::unanswered(failed.error);
        outcome.data["dialled"] = failed.dialled.map(|address| address.to_string()).into();
        outcome.findings.clone_from(&failed.findings);
        outcome
    }

    /// There is not even the head of an answer.
    pub(super) fn unanswered(error: Error) -> Self {
        let data = json!({"outcome": error.kind(), "sent": !error.nothing_sent(), "dialled": null});
        Self { data, findings: Vec::new() }
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
