//! SQL on its way to a database, by the same door as a request: the wall, the policies, the log, and only then the secret.

use std::sync::Arc;

use livery_broker::postgres::{Answer, Cut, Failure, Question, Session};
use livery_broker::sql::{self, Judged, Refused, Rules};
use livery_broker::transport::{Finding, Place};
use livery_core::canonical::{sha256_hex, text as canonical};
use livery_core::connector::PostgresServer;
use livery_core::{EventType, RunError};
use serde_json::{Value, json};

use super::Event;
use super::door::{Denied, Door};
use super::told::{Outcome, Told, with};
use crate::effects::EffectKind;
use crate::worker::ask::{self, Leave};

/// Bytes of values of one answer that a model gets.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// SQL that the wall let through, and for which database.
#[derive(Debug, Clone)]
pub(in crate::worker) struct Wanted {
    pub(in crate::worker) server: PostgresServer,
    pub(in crate::worker) text: String,
    /// Of a tool's statement; a program's are in messages of their own.
    pub(in crate::worker) parameters: Vec<Value>,
    pub(in crate::worker) judged: Judged,
    /// Digest and length of a program's, whose text is not kept.
    pub(in crate::worker) passing: Option<(String, usize)>,
}

/// Why a statement has no answer.
pub(in crate::worker) enum Unqueried {
    /// There is no credential to log in with, in words.
    Unavailable(&'static str),
    /// It failed.
    Failed(Failure),
    /// The run is over, or somebody else's.
    Gone(RunError),
}

impl Wanted {
    /// Judges a text by the rules of its connection.
    ///
    /// # Errors
    /// [`Refused`].
    pub(in crate::worker) fn judged(
        server: &PostgresServer,
        text: String,
        parameters: Vec<Value>,
    ) -> Result<Self, Refused> {
        let judged = sql::judge(&text, Rules { read_only: server.read_only })?;
        Ok(Self { server: server.clone(), text, parameters, judged, passing: None })
    }

    /// Of the statement and its parameters.
    pub(in crate::worker) fn sha256(&self) -> String {
        if let Some((sha256, _)) = &self.passing {
            return sha256.clone();
        }
        sha256_hex(canonical(&json!({"sql": self.text, "parameters": self.parameters})))
    }
}

impl Told {
    /// The intent.
    pub(super) fn queried(&self, wanted: &Wanted, leave: &Value) -> Event {
        let server = &wanted.server;
        let data = json!({
            "method": "SQL",
            "scheme": "postgres",
            "host": server.host,
            "port": server.port,
            "path": format!("/{}", server.database),
            "query_keys": [],
            "statement": wanted.judged.class.as_str(),
            "verbs": wanted.judged.verbs,
            "request_bytes": wanted.passing.as_ref().map_or(wanted.text.len(), |(_, bytes)| *bytes),
            "request_sha256": wanted.sha256(),
        });
        self.event(EventType::EgressRequested, with(data, leave.clone()))
    }
}

impl Door {
    /// Whether SQL may be sent: asked by every front end, for every statement, before there is any secret. A refusal is in the log
    /// when this answers.
    pub(in crate::worker) async fn admit_statement(
        &self,
        told: &Told,
        looked_at: Result<&Wanted, &Refused>,
    ) -> Result<Leave, Denied> {
        let (rule, reason, more) = match looked_at {
            Err(refused) => (refused.rule(), refused.to_string(), json!({})),
            Ok(wanted) => match Box::pin(self.judge_statement(told, wanted)).await {
                Ok(leave) => return Ok(leave),
                Err(ask::Denied::Held) => return Err(Denied::Held),
                Err(ask::Denied::Gone(error)) => return Err(Denied::Gone(error)),
                Err(ask::Denied::No { rule, reason, more }) => (rule, reason, more),
            },
        };
        self.deny(told, rule, &reason, more).await;
        Err(Denied::No { rule, reason })
    }

    async fn judge_statement(&self, told: &Told, wanted: &Wanted) -> Result<Leave, ask::Denied> {
        let policies: Arc<_> = ask::policies(self).await?;
        let looked = ask::look_at_statement(&policies, self, told, wanted);
        ask::settle(self, told.call_id(), looked).await
    }

    /// Writes the intent down. One that may change something is in the log when this answers.
    ///
    /// # Errors
    /// The run is over, or somebody else's.
    pub(in crate::worker) async fn intend_statement(
        &self,
        told: &Told,
        wanted: &Wanted,
        leave: &Leave,
    ) -> Result<(), RunError> {
        let requested = told.queried(wanted, &leave.told);
        if leave.is_noted_first() {
            return leave.note(self, vec![requested]).await;
        }
        if wanted.judged.class.is_safe() {
            self.log(vec![requested]).await;
            return Ok(());
        }
        self.log_with(vec![requested], None).await
    }

    /// Sends a statement that was admitted and reads its answer. It is sent once: there is no second try of any kind.
    pub(in crate::worker) async fn query(
        &self,
        told: &Told,
        wanted: Wanted,
        leave: Leave,
    ) -> Result<Answer, Unqueried> {
        self.intend_statement(told, &wanted, &leave).await.map_err(Unqueried::Gone)?;
        let credential = match self.credential(told.bound.connection).await {
            Ok(credential) => credential,
            Err(why) => {
                self.log(told.entry.ended(None, &Outcome::unavailable())).await;
                return Err(Unqueried::Unavailable(why));
            }
        };
        let version = credential.version;
        let logged_in = self.platform().broker.log_in(self.row().org, &wanted.server, credential).await;
        let (answer, outcome) = match logged_in {
            Ok(session) => self.platform().during(EffectKind::QuerySql, ask(session, wanted)).await,
            Err(failure) => {
                let outcome = failed(&failure, None, Vec::new());
                (Err(failure), outcome)
            }
        };
        self.finish(&told.entry, Some(version), outcome).await.map_err(Unqueried::Gone)?;
        answer.map_err(Unqueried::Failed)
    }
}

async fn ask(mut session: Session, wanted: Wanted) -> (Result<Answer, Failure>, Outcome) {
    let Wanted { server, text, parameters, .. } = wanted;
    let question = Question { text, parameters, rows_max: server.row_limit, bytes_max: ANSWER_BYTES_MAX };
    let answer = session.ask(&server, &question).await;
    let dialled = session.peer().to_string();
    let (count, variants) = session.redactions();
    let findings = if count > 0 { vec![Finding { place: Place::Body, variants }] } else { Vec::new() };
    let outcome = match &answer {
        Ok(answer) => answered(answer, dialled, findings),
        Err(failure) => failed(failure, Some(dialled), findings),
    };
    session.leave().await;
    (answer, outcome)
}

fn answered(answer: &Answer, dialled: String, findings: Vec<Finding>) -> Outcome {
    let data = json!({
        "outcome": "answered",
        "sent": true,
        "command": answer.command,
        "rows": answer.rows.len(),
        "response_bytes": answer.bytes,
        "truncated": answer.cut.map(word),
        "dialled": dialled,
    });
    Outcome { data, findings }
}

fn failed(failure: &Failure, dialled: Option<String>, findings: Vec<Finding>) -> Outcome {
    let code = match failure {
        Failure::Refused(complaint) => Some(complaint.code.clone()),
        _ => None,
    };
    let data = json!({
        "outcome": failure.kind(),
        "sent": !failure.nothing_sent(),
        "sql_code": code,
        "dialled": dialled,
    });
    Outcome { data, findings }
}

/// Which limit an answer met.
pub(in crate::worker) const fn word(cut: Cut) -> &'static str {
    match cut {
        Cut::Rows => "row_limit",
        Cut::Bytes => "size_limit",
    }
}
