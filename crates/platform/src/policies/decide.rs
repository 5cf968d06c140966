//! "May this leave": the one question every front end asks before a secret is opened.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use livery_broker::engine::Prepared;
use livery_broker::mail::Message;
use livery_broker::policy::{Agent, Asked, Decision, Policies, Question, Request, Rule, Sent, Source, Verb};
use livery_broker::sql::Judged;
use livery_core::Result;
use livery_core::connector::{MailServer, PostgresServer};
use livery_core::id::{AppId, OrgId};
use livery_store::RunRow;
use serde_json::{Value, json};

use crate::Platform;
use crate::connections::Bound;

/// Parsed sets kept at hand.
const SETS_MAX: usize = 256;

type Sets = HashMap<(OrgId, Option<AppId>), (u64, Arc<Policies>)>;

/// Parsed sets, each with the revision it is of.
#[derive(Default)]
pub(crate) struct PolicySets(Mutex<Sets>);

impl PolicySets {
    fn recall(&self, key: (OrgId, Option<AppId>), revision: u64) -> Option<Arc<Policies>> {
        let sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sets.get(&key).filter(|(kept, _)| *kept == revision).map(|(_, set)| Arc::clone(set))
    }

    fn remember(&self, key: (OrgId, Option<AppId>), revision: u64, set: &Arc<Policies>) {
        let mut sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sets.len() >= SETS_MAX && !sets.contains_key(&key) {
            sets.clear();
        }
        sets.insert(key, (revision, Arc::clone(set)));
    }
}

impl Platform {
    /// The policies that speak of a run, as they are now.
    ///
    /// # Errors
    /// Those of the database. Who gets one lets nothing out.
    pub(crate) async fn policies_of(&self, run: &RunRow) -> Result<Arc<Policies>> {
        let (org, app) = (run.org, run.application);
        let revision = self.store.policy_revision(org).await?;
        if revision == 0 {
            return Ok(Arc::default());
        }
        if let Some(set) = self.policies.recall((org, app), revision) {
            return Ok(set);
        }
        // Read after the revision: at worst newer than it says, and then read again.
        let rows = self.store.policies_for(org, app).await?;
        let source = |row: livery_store::PolicyRow| Source {
            id: row.id.to_string(),
            name: row.name,
            version: row.version,
            text: row.content,
        };
        let set = Arc::new(Policies::parse(&rows.into_iter().map(source).collect::<Vec<_>>()));
        self.policies.remember((org, app), revision, &set);
        Ok(set)
    }
}

/// Whether a request may leave. The connection's own reach was asked before, when it was prepared; no secret is anywhere near.
pub(crate) fn may_leave(
    policies: &Policies,
    run: &RunRow,
    bound: &Bound,
    prepared: &Prepared,
    front_end: &str,
) -> Decision {
    let facts = prepared.facts();
    let request = Request {
        front_end,
        connection: &bound.slug,
        connector: &bound.connector.name,
        verb: Verb::Method(prepared.method()),
        scheme: facts.scheme,
        host: &facts.host,
        port: facts.port,
        path: &facts.path,
        query_keys: &facts.query_keys,
        recipients: &[],
        body: prepared.sent(),
    };
    ask(policies, run, Asked::Call(request))
}

/// Whether a message may leave. The connection's recipients were asked before, when it was made; no secret is anywhere near.
pub(crate) fn may_send(
    policies: &Policies,
    run: &RunRow,
    bound: &Bound,
    server: &MailServer,
    message: &Message,
) -> Decision {
    let recipients: Vec<String> =
        message.recipients().iter().map(|address| address.as_str().to_ascii_lowercase()).collect();
    let facts = message.facts().to_string();
    let request = Request {
        front_end: "send_email",
        connection: &bound.slug,
        connector: &bound.connector.name,
        verb: Verb::Mail,
        scheme: server.tls.scheme(),
        host: &server.host,
        port: server.port,
        path: "",
        query_keys: &[],
        recipients: &recipients,
        body: Sent::Whole { bytes: facts.as_bytes(), is_json: true },
    };
    ask(policies, run, Asked::Call(request))
}

/// Whether SQL may be sent to a database. What no statement may do was refused before; no secret is anywhere near.
pub(crate) fn may_query(
    policies: &Policies,
    run: &RunRow,
    bound: &Bound,
    (server, judged): (&PostgresServer, &Judged),
    front_end: &str,
) -> Decision {
    let request = Request {
        front_end,
        connection: &bound.slug,
        connector: &bound.connector.name,
        verb: Verb::Sql(judged),
        scheme: "postgres",
        host: &server.host,
        port: server.port,
        path: &format!("/{}", server.database),
        query_keys: &[],
        recipients: &[],
        body: Sent::Nothing,
    };
    ask(policies, run, Asked::Call(request))
}

/// Whether a run may use a tool that carries no credential.
pub(crate) fn may_use(policies: &Policies, run: &RunRow, tool: &str) -> Decision {
    ask(policies, run, Asked::Tool { name: tool })
}

fn ask(policies: &Policies, run: &RunRow, asked: Asked<'_>) -> Decision {
    if policies.is_empty() {
        return Decision::Permit(None);
    }
    let text = |id: Option<String>| id.unwrap_or_default();
    let (organization, application) = (run.org.to_string(), text(run.application.map(|id| id.to_string())));
    let end_user = text(run.end_user.map(|id| id.to_string()));
    let agent = Agent {
        name: &run.agent_name,
        version: run.agent_version,
        organization: &organization,
        application: &application,
        end_user: &end_user,
    };
    policies.decide(&Question { agent, asked })
}

/// A rule as the log has it.
pub(crate) fn rule_json(rule: Option<&Rule>) -> Value {
    rule.map_or(
        Value::Null,
        |rule| json!({"policy": rule.policy, "name": rule.name, "version": rule.version, "statement": rule.statement}),
    )
}
