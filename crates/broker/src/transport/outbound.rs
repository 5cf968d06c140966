//! The shapes of a call: [`Outbound`] in, [`Inbound`] out, and the [`Credential`] that is added in between.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, StatusCode};
use livery_core::Timestamp;
use livery_core::id::OrgId;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::sigv4::AccessKey;
use super::{Body, Socket, Timeouts, Upload};
use crate::guard::Target;
use crate::scrub::Variants;
use crate::{Error, Result, Secret};

/// Largest answer by default, in bytes.
pub(super) const RESPONSE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Where a credential goes. Exactly one place, fixed by what it belongs to and never by the caller.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Slot {
    /// A request header: `prefix` and then the secret.
    Header {
        /// Name of the header.
        name: HeaderName,
        /// Text before the secret, such as `Bearer `.
        prefix: Cow<'static, str>,
    },
    /// `Authorization: Basic …` of a secret that is `user:password`.
    Basic,
    /// `Authorization: Basic …` of this user name and the secret.
    BasicToken {
        /// The user name.
        username: String,
    },
    /// A query parameter.
    Query {
        /// Name of the parameter, plain.
        name: String,
    },
    /// An AWS signature by a secret of two or three lines: id, secret access key, session token.
    Sigv4 {
        /// The region that is signed for.
        region: String,
        /// The service that is signed for.
        service: String,
    },
    /// The TLS handshake, of a secret that is a certificate chain with its private key, in PEM.
    ClientCertificate,
    /// The login of a PostgreSQL session, of a secret that is `user:password`. No request can be sent with it.
    Postgres,
    /// The login of a mail session, of a secret that is `user:password`: no HTTP request carries it.
    Smtp,
}

impl Slot {
    /// `Authorization: Bearer …`
    pub fn bearer() -> Self {
        Self::Header { name: http::header::AUTHORIZATION, prefix: Cow::Borrowed("Bearer ") }
    }

    /// A header that holds the bare secret, such as `x-api-key`. The name is lower case.
    pub fn header(name: &'static str) -> Self {
        Self::Header { name: HeaderName::from_static(name), prefix: Cow::Borrowed("") }
    }
}

/// Longest credential that is sent, in bytes.
pub(super) const CREDENTIAL_BYTES_MAX: usize = 8 * 1024;

/// A secret on its way to the one request it was opened for. No `Debug`, no `Clone`.
///
/// One shorter than [`crate::scrub::SECRET_BYTES_MIN`] is sent, but answers cannot be scrubbed of it: ask
/// [`crate::scrub::is_scrubbable`] before, and refuse it.
pub struct Credential {
    /// Where it goes.
    pub slot: Slot,
    /// The plaintext.
    pub secret: Secret,
    /// What it belongs to (`prv_…`, `con_…`), shown in `[REDACTED:owner]`; with a name to be shown instead, `con_…/name`.
    /// Never chosen by an upstream.
    pub owner: String,
    /// Version of the secret; a rotation counts up, and connections of an older version are not reused.
    pub version: u32,
    /// When it was opened: what a signature is dated with.
    pub at: Timestamp,
}

/// What of an answer's head comes back. Whole names only: a prefix rule would let an upstream write into a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Relayed {
    /// What model providers steer a client with.
    #[default]
    Projected,
    /// What a caller of any HTTP API can use; what would tell the length or digest of the unscrubbed body is not among it.
    Api,
    /// All but those of the connection, and those that would change how its reader connects next time.
    All,
}

impl Credential {
    /// Everything that is made of the secret for its slot, and so is searched for in the answer.
    pub(crate) fn searched(&self) -> Vec<Secret> {
        let secret = self.secret.expose_secret();
        let copy = |bytes: &[u8]| Secret::new(bytes.to_vec());
        match &self.slot {
            Slot::Header { .. } => vec![copy(secret)],
            // Whatever holds 16 bytes of the password is found by the password. The name before it is no secret: searching
            // for it would redact an account's own address.
            Slot::Postgres => {
                let at = secret.iter().position(|byte| *byte == b':').map_or(0, |colon| colon + 1);
                vec![copy(&secret[at..])]
            }
            Slot::Basic => {
                let at = secret.iter().position(|byte| *byte == b':').map_or(0, |colon| colon + 1);
                let encoded = Zeroizing::new(STANDARD.encode(secret));
                vec![copy(&secret[at..]), copy(&encoded.as_bytes()[at * 8 / 6..])]
            }
            Slot::Query { .. } => {
                let encoded: Zeroizing<String> = Zeroizing::new(form_urlencoded::byte_serialize(secret).collect());
                let differs = encoded.as_bytes() != secret;
                std::iter::once(copy(secret)).chain(differs.then(|| copy(encoded.as_bytes()))).collect()
            }
            Slot::BasicToken { username } => {
                let pair = Zeroizing::new([username.as_bytes(), b":", secret].concat());
                let encoded = Zeroizing::new(STANDARD.encode(&*pair));
                vec![copy(secret), copy(&encoded.as_bytes()[(username.len() + 1) * 8 / 6..])]
            }
            // The id is no secret: it stands in every signature.
            Slot::Sigv4 { .. } => match AccessKey::parse(secret) {
                Some(key) => std::iter::once(key.secret).chain(key.session_token).map(copy).collect(),
                None => vec![copy(secret)],
            },
            Slot::ClientCertificate => super::identity::searched(secret),
            Slot::Smtp => crate::mail::searched(secret),
        }
    }

    /// Whether the answer can be searched for what keeps it secret: see [`crate::scrub::SECRET_BYTES_MIN`].
    pub fn is_scrubbable(&self) -> bool {
        self.searched().first().is_some_and(crate::scrub::is_scrubbable)
    }
}

/// What is spoken, from the head on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Speech {
    /// A request and its answer.
    #[default]
    Http,
    /// A request that opens a WebSocket.
    WebSocket,
    /// A request and an answer of gRPC, whose messages go both ways at once.
    Grpc,
}

/// One call out. No `Debug`: the credential is in it.
pub struct Outbound {
    /// Whose call it is: pools and limits are per tenant.
    pub tenant: OrgId,
    /// Where to.
    pub target: Target,
    /// `GET`, `HEAD`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: Method,
    /// Headers of the caller. Authentication, hop-by-hop, forwarding and framing headers among them are removed.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Upload,
    /// The credential to add, if any.
    pub credential: Option<Credential>,
    /// Sent as `Idempotency-Key`, the same on every retry of the same effect.
    pub idempotency_key: Option<String>,
    /// Waits.
    pub timeouts: Timeouts,
    /// Largest answer in bytes, as it comes and once decoded; reaching it is [`Error::TooLarge`].
    pub response_bytes_max: u64,
    /// Which headers of the answer come back.
    pub relayed: Relayed,
    /// What is spoken.
    pub speech: Speech,
}

impl Outbound {
    /// A `POST` with default waits and limits and nothing else set.
    pub fn post(tenant: OrgId, target: Target, body: impl Into<Upload>) -> Self {
        Self {
            tenant,
            target,
            method: Method::POST,
            headers: Vec::new(),
            body: body.into(),
            credential: None,
            idempotency_key: None,
            timeouts: Timeouts::default(),
            response_bytes_max: RESPONSE_BYTES_MAX,
            relayed: Relayed::default(),
            speech: Speech::default(),
        }
    }
}

/// The head of an answer and its body to come.
#[derive(Debug)]
pub struct Inbound {
    /// Any status, redirects and errors included: judging it is the caller's.
    pub status: StatusCode,
    /// The headers the call asked for ([`Relayed`]), scrubbed.
    pub headers: HeaderMap,
    /// The body, scrubbed, to be read in pieces.
    pub body: Body,
    /// Whether headers and body were searched for the key. `false` without a credential, and for one shorter than
    /// [`crate::scrub::SECRET_BYTES_MIN`].
    pub scrubbed: bool,
    /// What was found in the headers; see [`Body::finding`] for the body.
    pub findings: Vec<Finding>,
    /// The checked address the request went to.
    pub dialled: SocketAddr,
    /// How long it took to get here.
    pub took: Took,
    /// The WebSocket that was opened, where one was asked for; the body is empty then.
    pub socket: Option<Socket>,
}

/// A key was in an answer, and was taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub place: Place,
    /// In which spellings.
    pub variants: Variants,
}

/// Where in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a header that comes back.
    Header(HeaderName),
    /// In the name of one, which does not come back.
    HeaderName,
    /// In the body.
    Body,
    /// In what a mail server said.
    Reply,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::HeaderName => f.write_str("header_name"),
            Self::Body => f.write_str("body"),
            Self::Reply => f.write_str("reply"),
        }
    }
}

/// The waits of one call up to the head of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Took {
    /// Looking the name up; `None` on a connection that was open already.
    pub resolve: Option<Duration>,
    /// TCP and TLS; `None` on a connection that was open already.
    pub connect: Option<Duration>,
    /// From the first byte sent to the head of the answer.
    pub first_byte: Duration,
}

impl Inbound {
    /// Reads the whole body.
    ///
    /// # Errors
    /// Those of [`Body::next`]; [`Error::TooLarge`] beyond `bytes_max`.
    pub async fn collect(mut self, bytes_max: usize) -> Result<Bytes> {
        let mut out = Vec::new();
        while let Some(piece) = self.body.next().await {
            let piece = piece?;
            if out.len() + piece.len() > bytes_max {
                return Err(Error::TooLarge { what: "the upstream's answer" });
            }
            out.extend_from_slice(&piece);
        }
        Ok(out.into())
    }
}
