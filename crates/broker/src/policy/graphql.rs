//! What a request asks of a GraphQL API, read from its body alone, and whether a connection's rule allows all of it.
//!
//! A request does what its body says in the language: one address, one method, any effect. So a rule about operations holds
//! only where the body can be read, in one way, whole: a `POST` of JSON without parameters in the address. Each operation is
//! judged, also those of a batch and those that would not be executed. What only the server knows is refused: a persisted
//! query that is not listed, a key of the request that is not the language's own.
//!
//! Read next: `graphql/document.rs`.

mod document;

use livery_core::connector::{GraphqlField, GraphqlKind, GraphqlRule, Method};
use sha2::{Digest, Sha256};

pub use self::document::{Operation, operations};
use super::question::Sent;
use super::value::{self, Value};

/// Most requests of one batch.
const BATCH_MAX: usize = 50;
/// Every answer may say what type it is of.
const TYPE_NAME: &str = "__typename";

/// Why a text is not read. Nothing of the text is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(&'static str);

/// Why a request to a GraphQL address does not leave. The text says what is allowed and repeats nothing of the request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphqlRefusal {
    /// It is no plain `POST`.
    #[error("this connection takes GraphQL as a POST of JSON, with nothing in the address behind the path")]
    Form,
    /// It cannot be read in one way.
    #[error("this connection is for certain GraphQL operations, and this request cannot be read: {0}")]
    Unreadable(#[from] Unreadable),
    /// An operation asks for what is not on the list.
    #[error("the GraphQL operation is not allowed on this connection; what a {kind} may ask for: {}", list(.allowed))]
    Operation {
        /// What it is.
        kind: GraphqlKind,
        /// What such an operation may ask for.
        allowed: Vec<GraphqlField>,
    },
    /// A persisted query that nobody listed.
    #[error("the persisted query is not listed on this connection; send the query itself")]
    Persisted,
}

/// At most this many in one sentence.
const LISTED_MAX: usize = 16;

fn list(fields: &[GraphqlField]) -> String {
    let shown: Vec<String> = fields.iter().take(LISTED_MAX).map(GraphqlField::to_string).collect();
    match fields.len() {
        0 => "nothing".to_owned(),
        count if count > LISTED_MAX => format!("{} and {} more", shown.join(", "), count - LISTED_MAX),
        _ => shown.join(", "),
    }
}

/// Judges a request to an address that the rule is about.
///
/// # Errors
/// [`GraphqlRefusal`]: the first thing that says no.
pub fn judge(rule: &GraphqlRule, method: Method, query_keys: &[String], sent: &Sent<'_>) -> Result<(), GraphqlRefusal> {
    if method != Method::Post || !query_keys.is_empty() {
        return Err(GraphqlRefusal::Form);
    }
    let bytes = match sent {
        Sent::Whole { bytes, is_json: true } => bytes,
        Sent::Unseen => return Err(Unreadable("its body is too large to be looked into").into()),
        Sent::Nothing | Sent::Whole { is_json: false, .. } => return Err(GraphqlRefusal::Form),
    };
    for asked in read(bytes)? {
        asked.judge(rule)?;
    }
    Ok(())
}

/// One request, alone or of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    /// With all operations of its document.
    Document(Vec<Operation>),
    /// By the digest of a document that the server has.
    Persisted(String),
}

impl Asked {
    fn judge(&self, rule: &GraphqlRule) -> Result<(), GraphqlRefusal> {
        let operations = match self {
            Self::Document(operations) => operations,
            Self::Persisted(digest) if rule.allows_persisted(digest) => return Ok(()),
            Self::Persisted(_) => return Err(GraphqlRefusal::Persisted),
        };
        let refused = operations.iter().find(|operation| {
            // An operation that asks for its type alone is of a kind all the same.
            let mut fields = operation.fields.iter().filter(|field| *field != TYPE_NAME);
            rule.fields(operation.kind).is_empty() || fields.any(|field| !rule.allows(operation.kind, field))
        });
        match refused {
            None => Ok(()),
            Some(Operation { kind, .. }) => {
                Err(GraphqlRefusal::Operation { kind: *kind, allowed: rule.fields(*kind).to_vec() })
            }
        }
    }
}

fn read(body: &[u8]) -> Result<Vec<Asked>, Unreadable> {
    match value::json(body).ok_or(Unreadable("its body is not JSON with every key named once, or too large"))? {
        Value::Set(batch) if !batch.is_empty() && batch.len() <= BATCH_MAX => batch.iter().map(one).collect(),
        Value::Set(_) => Err(Unreadable("its batch is empty or too long")),
        request => Ok(vec![one(&request)?]),
    }
}

fn one(request: &Value) -> Result<Asked, Unreadable> {
    let Value::Record(request) = request else { return Err(Unreadable("its body is not a JSON object")) };
    if request.keys().any(|key| !matches!(key.as_str(), "query" | "operationName" | "variables" | "extensions")) {
        return Err(Unreadable("it has a key other than query, operationName, variables and extensions"));
    }
    let digest = request.get("extensions").map(digest_of).transpose()?.flatten();
    match (request.get("query"), digest) {
        (Some(Value::Text(text)), digest) => {
            if digest.is_some_and(|digest| digest != sha256(text)) {
                return Err(Unreadable("its digest is not the query's"));
            }
            operations(text).map(Asked::Document)
        }
        (None, Some(digest)) => Ok(Asked::Persisted(digest)),
        _ => Err(Unreadable("it has no query")),
    }
}

/// The digest in `{"persistedQuery": {"version": 1, "sha256Hash": "…"}}`.
fn digest_of(extensions: &Value) -> Result<Option<String>, Unreadable> {
    let strange = Unreadable("its extensions hold more than the digest of a persisted query");
    let Value::Record(extensions) = extensions else { return Err(strange) };
    // `null` is an empty record.
    let Some(persisted) = extensions.get("persistedQuery") else {
        return if extensions.is_empty() { Ok(None) } else { Err(strange) };
    };
    let Value::Record(persisted) = persisted else { return Err(strange) };
    let known = extensions.len() == 1 && persisted.keys().all(|key| matches!(key.as_str(), "version" | "sha256Hash"));
    match persisted.get("sha256Hash") {
        Some(Value::Text(digest)) if known => Ok(Some(digest.to_string())),
        _ => Err(strange),
    }
}

fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
