//! What policies are asked about, and how it looks in Cedar.
//!
//! | Cedar | here |
//! |---|---|
//! | `principal` | `Agent::"NAME"`, an inline agent `Agent::"inline:NAME"`; in `Application`, in `Organization` |
//! | `action` | `Action::"POST"` in `Action::"write"` (`GET`, `HEAD` in `"read"`, unless they open a WebSocket; `"send_email"` in `"write"`; `"query_sql"` in the one its statement is of), both in `Action::"call"`; or `Action::"use_tool"` |
//! | `resource` | `Request::"request"` in `Connection::"NAME"` in `Connector::"NAME"`; or `Tool::"NAME"` |
//!
//! Every attribute is always there, so that no statement fails for want of one; only `resource.body` is there when the request
//! has a body.

use std::collections::BTreeMap;
use std::sync::Arc;

use livery_core::connector::Method;

use super::BODY_BYTES_MAX;
use super::evaluate::{Facts, Thing};
use super::value::{self, Uid, Value};
use crate::sql::Judged;

/// The agent that asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agent<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version; `None`: it came with its run.
    pub version: Option<u32>,
    /// The tenant.
    pub organization: &'a str,
    /// The run's application, or nothing.
    pub application: &'a str,
    /// The end user the run is for, or nothing.
    pub end_user: &'a str,
}

/// What a run wants to do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Question<'a> {
    /// Who.
    pub agent: Agent<'a>,
    /// What.
    pub asked: Asked<'a>,
}

/// What is asked about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Asked<'a> {
    /// A request with a credential.
    Call(Request<'a>),
    /// A tool that carries none.
    Tool {
        /// Its name.
        name: &'a str,
    },
}

/// A request, canonical: what is judged here is what is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Request<'a> {
    /// `call_api`, `send_email`, `query_sql`, `proxy` or `postgres`.
    pub front_end: &'a str,
    /// The connection's name.
    pub connection: &'a str,
    /// The connector's name.
    pub connector: &'a str,
    /// What is done.
    pub verb: Verb<'a>,
    /// `https` or `http`; of mail `smtps` or `smtp`; of a database `postgres`.
    pub scheme: &'a str,
    /// The host.
    pub host: &'a str,
    /// The port.
    pub port: u16,
    /// The canonical path; of a database `/` and its name.
    pub path: &'a str,
    /// Names of the query's parameters.
    pub query_keys: &'a [String],
    /// Who gets a mail, in lower case; of anything else nobody.
    pub recipients: &'a [String],
    /// The body; of mail its parts.
    pub body: Sent<'a>,
}

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb<'a> {
    /// An HTTP request.
    Method(Method),
    /// A message.
    Mail,
    /// SQL for a database.
    Sql(&'a Judged),
}

impl Verb<'_> {
    /// As its action is called, and as the attribute `method` says it.
    const fn words(&self) -> (&'static str, &'static str) {
        match self {
            Self::Method(method) => (method.as_str(), method.as_str()),
            Self::Mail => ("send_email", "SEND"),
            Self::Sql(_) => ("query_sql", "SQL"),
        }
    }

    const fn is_safe(&self) -> bool {
        match self {
            Self::Method(method) => method.is_safe(),
            Self::Mail => false,
            Self::Sql(judged) => judged.class.is_safe(),
        }
    }

    /// The class of a statement and how its parts begin; of anything else nothing.
    fn statement(&self) -> (&'static str, &[String]) {
        match self {
            Self::Method(_) | Self::Mail => ("", &[]),
            Self::Sql(judged) => (judged.class.as_str(), &judged.verbs),
        }
    }
}

/// A request's body, as far as it is there to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent<'a> {
    /// None.
    Nothing,
    /// All of it, and whether it is called JSON.
    Whole {
        /// Its bytes.
        bytes: &'a [u8],
        /// What `Content-Type` says.
        is_json: bool,
    },
    /// More than anybody looks at, or not there yet.
    Unseen,
}

impl Question<'_> {
    /// The question in Cedar's words; `reads_body`: a statement looks at the body, so it has to be readable.
    pub(super) fn facts(&self, reads_body: bool) -> Result<Facts, String> {
        let mut facts = Facts::default();
        self.agent.put(&mut facts);
        let front_end = match &self.asked {
            Asked::Call(request) => {
                let body = if reads_body { request.body.read()? } else { None };
                request.put(body, &mut facts);
                request.front_end
            }
            Asked::Tool { name } => {
                let tool = Uid::new("Tool", name);
                put(&mut facts, tool.clone(), [("name", Value::text(name))], &[]);
                facts.action = Some(Uid::new("Action", "use_tool"));
                facts.resource = Some(tool);
                "tool"
            }
        };
        facts.context = record([("front_end", Value::text(front_end))]);
        Ok(facts)
    }
}

impl Agent<'_> {
    fn put(&self, facts: &mut Facts) {
        // A name has no colon: an agent that came with its run is never taken for one that was published.
        let name = self.version.map_or_else(|| format!("inline:{}", self.name), |_| self.name.to_owned());
        let uid = Uid::new("Agent", &name);
        let mut within = vec![Uid::new("Organization", self.organization)];
        if !self.application.is_empty() {
            within.push(Uid::new("Application", self.application));
        }
        let attributes = [
            ("name", Value::text(self.name)),
            ("version", Value::Long(self.version.unwrap_or(0).into())),
            ("published", Value::Bool(self.version.is_some())),
            ("organization", Value::text(self.organization)),
            ("application", Value::text(self.application)),
            ("end_user", Value::text(self.end_user)),
        ];
        put(facts, uid.clone(), attributes, &within);
        facts.principal = Some(uid);
    }
}

impl Request<'_> {
    fn put(&self, body: Option<Value>, facts: &mut Facts) {
        let (action, method) = self.verb.words();
        let (action, uid) = (Uid::new("Action", action), Uid::new("Request", "request"));
        // What nobody has looked at may do anything: a WebSocket is opened by `GET`.
        let is_read = self.verb.is_safe() && self.body != Sent::Unseen;
        let group = Uid::new("Action", if is_read { "read" } else { "write" });
        let (statement, verbs) = self.verb.statement();
        put(facts, action.clone(), [], &[group, Uid::new("Action", "call")]);
        let within = [Uid::new("Connection", self.connection), Uid::new("Connector", self.connector)];
        let keys = self.query_keys.iter().map(|key| Value::text(key)).collect();
        let attributes = [
            ("connection", Value::text(self.connection)),
            ("connector", Value::text(self.connector)),
            ("method", Value::text(method)),
            ("scheme", Value::text(self.scheme)),
            ("host", Value::text(self.host)),
            ("port", Value::Long(self.port.into())),
            ("path", Value::text(self.path)),
            ("query_keys", Value::Set(Arc::new(keys))),
            ("recipients", texts(self.recipients.iter().map(String::as_str))),
            ("recipient_domains", texts(self.recipients.iter().filter_map(|one| Some(one.split_once('@')?.1)))),
            ("statement", Value::text(statement)),
            ("verbs", Value::Set(Arc::new(verbs.iter().map(|verb| Value::text(verb)).collect()))),
        ];
        put(facts, uid.clone(), attributes.into_iter().chain(body.map(|body| ("body", body))), &within);
        put(facts, within[0].clone(), [], &within[1..]);
        (facts.action, facts.resource) = (Some(action), Some(uid));
    }
}

/// A set: each text once.
fn texts<'t>(texts: impl Iterator<Item = &'t str>) -> Value {
    let once: std::collections::BTreeSet<&str> = texts.collect();
    Value::Set(Arc::new(once.into_iter().map(Value::text).collect()))
}

impl Sent<'_> {
    fn read(&self) -> Result<Option<Value>, String> {
        let unread = || {
            format!(
                "a policy looks at the body, and this one is not a JSON object of at most {BODY_BYTES_MAX} bytes with every \
                 key named once and `Content-Type: application/json`"
            )
        };
        match self {
            Self::Nothing => Ok(None),
            Self::Whole { bytes, is_json: true } => value::body(bytes).map(Some).ok_or_else(unread),
            Self::Whole { is_json: false, .. } | Self::Unseen => Err(unread()),
        }
    }
}

fn put<'n>(facts: &mut Facts, uid: Uid, attributes: impl IntoIterator<Item = (&'n str, Value)>, within: &[Uid]) {
    let thing = Thing { attributes: record(attributes), within: within.iter().cloned().collect() };
    facts.things.insert(uid, thing);
}

fn record<'n>(fields: impl IntoIterator<Item = (&'n str, Value)>) -> value::Record {
    Arc::new(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<BTreeMap<_, _>>())
}
