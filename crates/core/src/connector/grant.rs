//! Where a credential is exchanged for the token that is sent: an authorization server, or the API of an app's installation.
//!
//! A connector's file says what is known of a server, a connection's settings the rest. Nobody says a thing twice: an endpoint
//! of the file is no setting, so a connection cannot send a client's secret to a server of its own choice.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{HostPattern, Malformed, Origin, PathPattern, Scheme};

/// Most scopes, repositories, permissions or parameters.
const LISTED_MAX: usize = 64;
/// Longest of them in bytes.
const WORD_BYTES_MAX: usize = 256;

/// The address of one endpoint: `https://HOST[:PORT]/PATH` in canonical form, without a query. `http` is for private networks
/// that the operator allows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint {
    origin: Origin,
    path: String,
}

impl Endpoint {
    /// Where it is.
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Its path, which begins with `/`.
    pub fn path(&self) -> &str {
        if self.path.is_empty() { "/" } else { &self.path }
    }

    /// Whether it is spoken to over TLS.
    pub fn is_https(&self) -> bool {
        self.origin.scheme == Scheme::Https
    }

    /// The host and, where it is not the usual one, the port.
    pub fn authority(&self) -> String {
        let text = self.origin.to_string();
        text.split_once("://").map_or_else(String::new, |(_, authority)| authority.to_owned())
    }
}

impl FromStr for Endpoint {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let after_scheme = text.find("://").map_or(0, |at| at + 3);
        let end = text[after_scheme..].find(['/', '?', '#']).map_or(text.len(), |at| after_scheme + at);
        let (origin, path) = text.split_at(end);
        let origin: Origin = origin.parse()?;
        if !matches!(origin.host, HostPattern::Exact(_)) || path.contains('*') {
            return Err(Malformed("an endpoint has one host and one path, without a star"));
        }
        let plain = path.is_empty() || path.parse::<PathPattern>().is_ok();
        // Written as it came: to some servers `https://host` and `https://host/` are two names.
        if plain {
            Ok(Self { origin, path: path.to_owned() })
        } else {
            Err(Malformed("the endpoint's path is not in canonical form, or has more"))
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path)
    }
}

impl TryFrom<String> for Endpoint {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        text.parse()
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.to_string()
    }
}

/// How a client says who it is at the token endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// `Authorization: Basic` (RFC 6749 §2.3.1), what every server has to take.
    #[default]
    Basic,
    /// `client_id` and `client_secret` in the form.
    Post,
}

/// An authorization server, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OauthServer {
    /// Who it is (RFC 8414). With it, answers must name it (RFC 9207) where the server says that they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Endpoint>,
    /// Whether its answers name the issuer; one that does not is then refused.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub names_issuer: bool,
    /// Where a person is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization_endpoint: Option<Endpoint>,
    /// Where tokens come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_endpoint: Option<Endpoint>,
    /// Where a device asks for a code (RFC 8628).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_authorization_endpoint: Option<Endpoint>,
    /// Where tokens are given back (RFC 7009).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revocation_endpoint: Option<Endpoint>,
    /// What is asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// What the tokens are for (RFC 8707).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<Endpoint>,
    /// The person a service account acts for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How the client says who it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_auth: Option<ClientAuth>,
    /// Further parameters of the authorization request that the server wants: `access_type: offline`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
}

/// Parameters of an authorization request that nobody but the flow itself says.
const OWN_PARAMETERS: &[&str] = &[
    "response_type",
    "response_mode",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "resource",
    "request",
    "request_uri",
];

impl OauthServer {
    /// Checks what was read from a file or a request.
    ///
    /// # Errors
    /// [`Malformed`] for words that could not be sent.
    pub fn check(&self) -> Result<(), Malformed> {
        if self.scopes.len() > LISTED_MAX || !self.scopes.iter().all(|scope| is_word(scope)) {
            return Err(Malformed("scopes are at most 64 words of visible ASCII"));
        }
        if !self.subject.iter().all(|subject| is_word(subject)) {
            return Err(Malformed("the subject is one word: an e-mail address"));
        }
        let plain = |(name, value): (&String, &String)| {
            is_word(name) && is_word(value) && !OWN_PARAMETERS.contains(&name.as_str())
        };
        match self.parameters.len() <= LISTED_MAX && self.parameters.iter().all(plain) {
            true => Ok(()),
            false => Err(Malformed("a parameter is malformed, or is one that the flow itself says")),
        }
    }

    /// This server with what a connection says beside it.
    ///
    /// # Errors
    /// [`Malformed`] for an endpoint that is known already.
    pub fn with(&self, said: Self) -> Result<Self, Malformed> {
        let merged = Self {
            issuer: once(&self.issuer, said.issuer)?,
            names_issuer: self.names_issuer || said.names_issuer,
            authorization_endpoint: once(&self.authorization_endpoint, said.authorization_endpoint)?,
            token_endpoint: once(&self.token_endpoint, said.token_endpoint)?,
            device_authorization_endpoint: once(
                &self.device_authorization_endpoint,
                said.device_authorization_endpoint,
            )?,
            revocation_endpoint: once(&self.revocation_endpoint, said.revocation_endpoint)?,
            scopes: if said.scopes.is_empty() { self.scopes.clone() } else { said.scopes },
            resource: once(&self.resource, said.resource)?,
            subject: said.subject.or_else(|| self.subject.clone()),
            client_auth: said.client_auth.or(self.client_auth),
            parameters: self.parameters.clone().into_iter().chain(said.parameters).collect(),
        };
        merged.check()?;
        Ok(merged)
    }

    /// The endpoints that give tokens out or take them: no caller's request may go there.
    pub fn guarded(&self) -> impl Iterator<Item = &Endpoint> {
        [&self.token_endpoint, &self.device_authorization_endpoint, &self.revocation_endpoint].into_iter().flatten()
    }
}

fn once(known: &Option<Endpoint>, said: Option<Endpoint>) -> Result<Option<Endpoint>, Malformed> {
    match (known, said) {
        (Some(_), Some(_)) => Err(Malformed("the connector says this endpoint itself; a connection cannot change it")),
        (known, said) => Ok(known.clone().or(said)),
    }
}

/// Which installation of a GitHub App, and what of its rights a token gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppInstallation {
    /// The app's id, or its client id.
    pub app_id: String,
    /// The installation's number.
    pub installation_id: u64,
    /// Names of the repositories a token is for; none: all of the installation's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<String>,
    /// Rights of a token, `contents: read`; none: all of the app's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub permissions: BTreeMap<String, String>,
}

impl AppInstallation {
    /// Checks what was read from a request.
    ///
    /// # Errors
    /// [`Malformed`] for words that could not be sent.
    pub fn check(&self) -> Result<(), Malformed> {
        let few = self.repositories.len() <= LISTED_MAX && self.permissions.len() <= LISTED_MAX;
        let words = self.permissions.iter().flat_map(|(name, level)| [name, level]).chain(&self.repositories);
        match few && words.chain([&self.app_id]).all(|word| is_word(word)) {
            true => Ok(()),
            false => Err(Malformed("app_id, repositories and permissions are words of visible ASCII, at most 64")),
        }
    }

    /// Where its tokens come from, below the API's address.
    pub fn token_path(&self) -> String {
        format!("/app/installations/{}/access_tokens", self.installation_id)
    }
}

/// Visible ASCII without quotes and backslashes (RFC 6749 §3.3): it stands in a list with spaces between.
fn is_word(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    (1..=WORD_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain)
}
