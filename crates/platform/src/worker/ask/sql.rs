//! What the policies say to a statement for a database, and the card that shows it: all of it, or none.

use std::sync::Arc;

use livery_broker::policy::{Decision, Policies};
use serde_json::Value;

use super::{Looked, Request, Subject, quoted};
use crate::approvals::{Card, inert};
use crate::policies::may_query;
use crate::worker::egress::{Door, Told, Wanted};

/// Longest statement that a card shows, in bytes as it is shown there.
const STATEMENT_BYTES_MAX: usize = 2_500;
/// Longest value of a parameter, likewise.
const VALUE_BYTES_MAX: usize = 500;
/// All of them together.
const VALUES_BYTES_MAX: usize = 700;

/// Whether SQL may be sent, asked before a secret is opened.
pub(in crate::worker) fn look(policies: &Arc<Policies>, door: &Door, told: &Told, wanted: &Wanted) -> Looked {
    let judged = (&wanted.server, &wanted.judged);
    let decision = may_query(policies, door.row(), &told.bound, judged, told.front_end());
    let asked = matches!(decision, Decision::Ask { .. }).then(|| asked(told, wanted));
    Looked { decision, asked }
}

fn asked(told: &Told, wanted: &Wanted) -> (Subject, Option<String>) {
    let (bound, server) = (&told.bound, &wanted.server);
    let place = format!("postgres://{}:{}/{}", server.host, server.port, server.database);
    let sha256 = wanted.sha256();
    let request = Request {
        connection: bound.connection,
        connection_version: bound.version,
        name: bound.slug.clone(),
        connector: bound.connector.name.clone(),
        method: "SQL".to_owned(),
        scheme: "postgres".to_owned(),
        host: server.host.clone(),
        port: server.port,
        path: format!("/{}", server.database),
        url: place.clone(),
        body_bytes: wanted.text.len(),
        body_sha256: sha256.clone(),
        recipients: Vec::new(),
        statement: Some(wanted.text.clone()),
    };
    let for_run = format!("this very statement with these parameters, through {}", bound.slug);
    let subject = Subject { kind: "call".into(), tool: "query_sql".into(), request: Some(request), sha256, for_run };
    (subject, card(told, wanted, &place))
}

/// `None` when it would not be shown to its last character: a person would say yes to what they do not see.
fn card(told: &Told, wanted: &Wanted, place: &str) -> Option<String> {
    let bound = &told.bound;
    let mut card = Card::default();
    card.line("database", place);
    card.line("connection", &format!("{} ({}, version {})", bound.slug, bound.connector.name, bound.version));
    card.line("class", wanted.judged.class.as_str());
    let mut taken = 0;
    for (index, value) in wanted.parameters.iter().enumerate() {
        let value = value.as_str().map_or_else(|| Value::to_string(value), quoted);
        let length = inert(&value).len();
        taken += length + 24;
        if length > VALUE_BYTES_MAX || taken > VALUES_BYTES_MAX {
            return None;
        }
        card.line(&format!("parameter ${}", index + 1), &value);
    }
    let statement = quoted(&wanted.text);
    (inert(&statement).len() <= STATEMENT_BYTES_MAX).then(|| card.rest("statement", &statement))
}
