//! Connectors: where a credential may go, where in a request it is put, how it is tested. Pure values, no I/O.
//!
//! A [`Recipe`] is what a connector's file says. With the settings of one connection it becomes a [`Connector`], in which
//! nothing is left open: its [`Reach`] names every origin, method and path. Whoever sends a request asks
//! [`Reach::permits`] with the canonical target and gets a yes, or a [`ReachRefusal`] that a person can read.
//!
//! Names, hosts and paths are checked while they are parsed, and whatever could be read in two ways is refused, so a value
//! of these types needs no second look.
//!
//! A kind of credential is either sent as it is, or exchanged for a token that is sent: `connector/grant.rs` says where.
//!
//! Read next: `connector/reach.rs`, then `connector/recipe.rs`.

mod grant;
mod graphql;
mod kind;
mod mail;
mod origin;
mod path;
mod postgres;
mod reach;
mod recipe;
mod slot;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use grant::{AppInstallation, ClientAuth, Endpoint, OauthServer};
pub use graphql::{GraphqlDigest, GraphqlField, GraphqlKind, GraphqlRule, is_graphql_name};
pub use kind::{AuthKind, tool_of};
pub use mail::{EmailAddress, MailServer, MailTls, RecipientRefusal, RecipientRule, Sender};
pub use origin::{HOST_BYTES_MAX, HostPattern, Origin, OriginRef, Scheme, is_label, reads_as_number};
pub use path::PathPattern;
pub use postgres::PostgresServer;
pub use reach::{Method, Reach, ReachRefusal};
pub use recipe::{Recipe, Setting, SettingKind, Settings};
pub use slot::CredentialSlot;

/// Longest name of a connector or connection, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Most origins of one connector.
pub const ORIGINS_MAX: usize = 16;
/// Most path patterns of one connector or connection.
pub const PATHS_MAX: usize = 64;
/// Most constant headers of one connector.
pub const HEADERS_MAX: usize = 16;

/// What a connector's name, or a connection's, may be: 1 to [`NAME_BYTES_MAX`] of `a-z`, `0-9`, `_`, `-`. It stands in
/// `[REDACTED:NAME]`, in pointers and in prompts.
pub fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-'))
}

/// Text that is not one of these values. The message says what is; it repeats nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub(crate) &'static str);

/// One connector with nothing left open.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Connector {
    /// Its name: `stripe`.
    pub name: String,
    /// Its name for people: `Stripe`.
    pub title: String,
    /// The kinds of credentials it takes, the default first.
    pub auth: Vec<AuthKind>,
    /// Where a credential may go.
    pub reach: Reach,
    /// Where in a request it is put.
    pub slot: CredentialSlot,
    /// Where tokens come from, for the kinds that are exchanged for one.
    pub oauth: Option<OauthServer>,
    /// Which installation of an app, for the kind `github_app`.
    pub installation: Option<AppInstallation>,
    /// The API that gives tokens to an app's installation; none: the reach's first origin.
    pub token_api: Option<Endpoint>,
    /// The database, for the slot `postgres`; its [`Reach`] has no origin, and so no request goes there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgres: Option<PostgresServer>,
    /// The mail server it sends through, for the slot `smtp`: then it has no origins, and carries no HTTP request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mail: Option<MailServer>,
    /// Constant headers of every request, none of them secret: name in lower case, value.
    pub headers: Vec<(String, String)>,
    /// A harmless call that shows whether the credential is accepted.
    pub test: Option<TestCall>,
    /// Whether the upstream knows a repeated request by its `Idempotency-Key`.
    pub idempotency_key: bool,
    /// The environment variable in which programs look for its key: `STRIPE_API_KEY`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variable: Option<String>,
    /// The variable in which they look for its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_url: Option<BaseUrl>,
}

/// The variable that holds a service's address, and the path its programs expect in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseUrl {
    /// The variable: `OPENAI_BASE_URL`.
    pub variable: String,
    /// Empty, or `/v1`.
    #[serde(default)]
    pub path: String,
}

/// A harmless call and what its answer must look like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestCall {
    /// A method that changes nothing at this path.
    pub method: Method,
    /// An absolute path, with a query if need be.
    pub path: String,
    /// A JSON body, for upstreams whose reads are posts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// What the JSON of the answer must say beside a status of 2xx, for upstreams that refuse with 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expectation>,
}

/// What one place of an answer must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// JSON Pointer.
    pub pointer: String,
    /// Exactly this value; without it, anything but `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equals: Option<Value>,
}

impl TestCall {
    /// Judges an answer by its status and the start of its body. `Err` is a reason in words of ours: nothing of the body is
    /// in it.
    pub fn judge(&self, status: u16, body: &[u8]) -> Result<(), String> {
        match status {
            200..=299 => {}
            401 => return Err("the upstream does not accept the credential (401)".into()),
            403 => return Err("the upstream does not let the credential make the test call (403)".into()),
            429 => return Err("the upstream limits the rate of calls; try again later (429)".into()),
            300..=399 => return Err(format!("the upstream redirects the test call, which is not followed ({status})")),
            500..=599 => return Err(format!("the upstream has a failure of its own ({status})")),
            _ => return Err(format!("the upstream answered the test call with {status}")),
        }
        match &self.expect {
            Some(expected) if !expected.is_met(body) => {
                Err("the upstream answered that it does not accept the credential".into())
            }
            _ => Ok(()),
        }
    }
}

impl Expectation {
    fn is_met(&self, body: &[u8]) -> bool {
        let Ok(answer) = serde_json::from_slice::<Value>(body) else { return false };
        match (answer.pointer(&self.pointer), &self.equals) {
            (Some(found), Some(expected)) => found == expected,
            (Some(found), None) => !found.is_null(),
            (None, _) => false,
        }
    }
}

#[cfg(test)]
mod tests;
