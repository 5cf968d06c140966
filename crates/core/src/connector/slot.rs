//! The one place of a request that a credential is put in, pinned by the connector and never by the caller.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Malformed, origin};

/// Longest name of a header or parameter in bytes.
const SLOT_NAME_BYTES_MAX: usize = 64;
/// Longest text before a secret in bytes.
const PREFIX_BYTES_MAX: usize = 32;

/// Headers that decide how a message is read or where it goes: no secret and no constant belongs there.
const STRUCTURAL: &[&str] = &[
    "host",
    "connection",
    "content-length",
    "content-encoding",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "accept-encoding",
    "range",
    "if-range",
    "forwarded",
    "via",
    "cookie",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
];

/// Services of AWS whose answers are credentials or tokens: whoever may ask them needs no connection any more.
const VENDING_SERVICES: &[&str] =
    &["sts", "sso", "sso-oauth", "awsssoportal", "oidc", "cognito-identity", "signin", "eks-auth"];

/// Where a credential goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "in", rename_all = "snake_case", deny_unknown_fields)]
pub enum CredentialSlot {
    /// A request header: the prefix and then the secret.
    Header {
        /// The header, in lower case.
        name: String,
        /// `"Bearer "`, `"token "` or nothing.
        #[serde(default)]
        prefix: String,
    },
    /// `Authorization: Basic`, of user name and password.
    Basic,
    /// `Authorization: Basic`, of a constant user name and a token: how git over https takes one.
    BasicToken {
        /// The user name: `x-access-token`.
        username: String,
    },
    /// A parameter of the query.
    Query {
        /// The parameter.
        name: String,
    },
    /// A signature of the whole request, AWS Signature Version 4, for one region and service.
    Sigv4 {
        /// `eu-central-1`.
        region: String,
        /// `s3`, `dynamodb`, …
        service: String,
    },
    /// The client's side of the TLS handshake: no byte of the request.
    ClientCertificate,
    /// The login of a PostgreSQL session, by SCRAM: no request at all.
    Postgres,
    /// The login of a mail session: no HTTP request.
    Smtp,
}

impl CredentialSlot {
    /// Checks what was read from a file or a request.
    ///
    /// # Errors
    /// [`Malformed`] for a name or prefix that could not be sent, or that would change how the request is read; and for a
    /// service that hands credentials out.
    pub fn check(&self) -> Result<(), Malformed> {
        match self {
            Self::Header { name, prefix } => {
                if !is_header_name(name) {
                    return Err(Malformed("the slot's header is not a lower-case header name that may carry a secret"));
                }
                if prefix.len() > PREFIX_BYTES_MAX || !is_header_text(prefix) {
                    return Err(Malformed("the slot's prefix is at most 32 bytes of visible ASCII and spaces"));
                }
                Ok(())
            }
            Self::Basic | Self::ClientCertificate | Self::Postgres | Self::Smtp => Ok(()),
            Self::BasicToken { username } => match is_slot_word(username) {
                true => Ok(()),
                false => Err(Malformed("the slot's user name is 1 to 64 letters, digits, -, _ or .")),
            },
            Self::Sigv4 { region, service } => {
                if !origin::is_label(region) || !origin::is_label(service) {
                    return Err(Malformed("the slot's region and service are in lower case: eu-central-1, s3"));
                }
                match VENDING_SERVICES.contains(&service.strip_suffix("-fips").unwrap_or(service)) {
                    true => Err(Malformed("the slot's service hands credentials out: no connection is for it")),
                    false => Ok(()),
                }
            }
            Self::Query { name } => match is_slot_word(name) {
                true => Ok(()),
                false => Err(Malformed("the slot's query parameter is 1 to 64 letters, digits, -, _ or .")),
            },
        }
    }
}

impl fmt::Display for CredentialSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header { name, .. } => write!(f, "header:{name}"),
            Self::Basic => f.write_str("basic"),
            Self::BasicToken { username } => write!(f, "basic:{username}"),
            Self::Query { name } => write!(f, "query:{name}"),
            Self::Sigv4 { region, service } => write!(f, "sigv4:{region}/{service}"),
            Self::ClientCertificate => f.write_str("client_certificate"),
            Self::Postgres => f.write_str("postgres"),
            Self::Smtp => f.write_str("smtp"),
        }
    }
}

/// Letters, digits and little else: nothing that ends a parameter or a user name early.
fn is_slot_word(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=SLOT_NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain)
}

/// A lower-case token that is not [`STRUCTURAL`], in either spelling of its hyphens.
pub(super) fn is_header_name(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    let plain = name.replace('_', "-");
    (1..=SLOT_NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(token)
        && !STRUCTURAL.contains(&plain.as_str())
        && !plain.starts_with("x-forwarded-")
}

/// Visible ASCII and spaces: no line break, no NUL.
pub(super) fn is_header_text(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}
