//! What a person is asked about a message.

use livery_broker::mail::Message;
use livery_broker::policy::{Decision, Policies};
use livery_core::canonical::sha256_hex;
use livery_core::connector::MailServer;
use serde_json::Value;

use super::{Looked, Request, Subject, quoted};
use crate::approvals::Card;
use crate::policies::may_send;
use crate::worker::egress::{Door, Told};

/// Whether a message may leave: asked before a secret is opened, and bound to every part of it.
pub(in crate::worker) fn look(
    policies: &Policies,
    door: &Door,
    told: &Told,
    server: &MailServer,
    message: &Message,
) -> Looked {
    let decision = may_send(policies, door.row(), &told.bound, server, message);
    let asked = matches!(decision, Decision::Ask { .. }).then(|| message_of(told, server, message));
    Looked { decision, asked }
}

fn message_of(told: &Told, server: &MailServer, message: &Message) -> (Subject, Option<String>) {
    let (bound, facts, sha256) = (&told.bound, message.facts(), message.digest());
    let place = format!("{}://{}:{}", server.tls.scheme(), server.host, server.port);
    let text = text_of(&facts);
    let recipients: Vec<String> =
        message.recipients().iter().map(|address| address.as_str().to_ascii_lowercase()).collect();
    let for_run = format!(
        "any message from {} to exactly {}, through {} ({place})",
        message.from(),
        recipients.join(", "),
        bound.slug
    );
    let request = Request {
        connection: bound.connection,
        connection_version: bound.version,
        name: bound.slug.clone(),
        connector: bound.connector.name.clone(),
        method: "SEND".to_owned(),
        scheme: server.tls.scheme().to_owned(),
        host: server.host.clone(),
        port: server.port,
        path: String::new(),
        url: place.clone(),
        body_bytes: text.len(),
        body_sha256: sha256_hex(&text),
        recipients,
        statement: None,
    };
    let mut card = Card::default();
    card.line("message from", &message.from().to_string());
    card.line("connection", &format!("{} ({}, version {})", bound.slug, bound.connector.name, bound.version));
    card.line("mail server", &place);
    let label = format!("text of {} bytes", text.len());
    let card = card.request(Some((&label, &quoted(&text))), &lines_of(&facts));
    (Subject { kind: "call".into(), tool: "send_email".into(), request: Some(request), sha256, for_run }, card)
}

/// What is read by whoever gets it: the text, and the HTML where there is one, for the two may differ.
fn text_of(facts: &Value) -> String {
    let text = facts["text"].as_str().unwrap_or_default();
    match facts["html"].as_str() {
        Some(html) => format!("{text}\n[as HTML]\n{html}"),
        None => text.to_owned(),
    }
}

/// All else, of which nothing may be missing on a card.
fn lines_of(facts: &Value) -> Vec<(String, String)> {
    let mut lines = vec![("subject".to_owned(), quoted(facts["subject"].as_str().unwrap_or_default()))];
    for part in ["to", "cc", "bcc"] {
        let addresses = facts[part].as_array().into_iter().flatten().filter_map(Value::as_str);
        lines.extend(addresses.map(|address| (part.to_owned(), address.to_owned())));
    }
    for file in facts["attachments"].as_array().into_iter().flatten() {
        let name = quoted(file["name"].as_str().unwrap_or_default());
        lines.push(("attachment".to_owned(), format!("{name}, {} bytes, sha256 {}", file["bytes"], file["sha256"])));
    }
    if let Some(answered) = facts["in_reply_to"].as_str() {
        lines.push(("in reply to".to_owned(), quoted(answered)));
    }
    lines
}
