//! [`AuthKind`]: what a credential is made of.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::CredentialSlot;

/// What a credential is made of, which decides what its owner is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthKind {
    /// One text: an API key.
    ApiKey,
    /// One text: a token sent as `Bearer`.
    Bearer,
    /// A user name and a password (or a token in its place).
    Basic,
    /// A person's consent: OAuth 2.0 with an authorization code or a device code. The client's id and secret are kept; the
    /// tokens come when somebody agrees.
    Oauth2,
    /// A client of its own right: its id and secret are exchanged for tokens.
    ClientCredentials,
    /// A Google service account: its key signs what is exchanged for a token.
    ServiceAccount,
    /// A GitHub App: its key signs what is exchanged for a token of one installation.
    GithubApp,
    /// An access key of AWS, which signs each request and is never sent.
    Aws,
    /// A client certificate and its private key, for the TLS handshake.
    ClientCertificate,
}

impl AuthKind {
    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::Bearer => "bearer",
            Self::Basic => "basic",
            Self::Oauth2 => "oauth2",
            Self::ClientCredentials => "client_credentials",
            Self::ServiceAccount => "service_account",
            Self::GithubApp => "github_app",
            Self::Aws => "aws",
            Self::ClientCertificate => "client_certificate",
        }
    }

    /// Whether the credential itself stays here and a token that it is exchanged for is sent.
    pub const fn is_exchanged(self) -> bool {
        matches!(self, Self::Oauth2 | Self::ClientCredentials | Self::ServiceAccount | Self::GithubApp)
    }

    /// Whether its key signs what is exchanged for a token.
    pub const fn is_signed(self) -> bool {
        matches!(self, Self::ServiceAccount | Self::GithubApp)
    }

    /// Whether what is sent of it can be put there.
    pub const fn fits(self, slot: &CredentialSlot) -> bool {
        match slot {
            CredentialSlot::Basic | CredentialSlot::Postgres | CredentialSlot::Smtp => matches!(self, Self::Basic),
            CredentialSlot::Sigv4 { .. } => matches!(self, Self::Aws),
            CredentialSlot::ClientCertificate => matches!(self, Self::ClientCertificate),
            CredentialSlot::Header { .. } | CredentialSlot::Query { .. } | CredentialSlot::BasicToken { .. } => {
                !matches!(self, Self::Basic | Self::Aws | Self::ClientCertificate)
            }
        }
    }
}

/// The tool of the model that goes through connections of a connector, by the connector's name: what a run's log keeps of it.
pub fn tool_of(connector: &str) -> &'static str {
    match connector {
        "smtp" => "send_email",
        "postgres" => "query_sql",
        _ => "call_api",
    }
}

impl fmt::Display for AuthKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
