//! The shapes of a call: [`Outbound`] in, [`Inbound`] out, and the [`Credential`] that is added in between.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, StatusCode};
use livery_core::id::OrgId;

use super::{Body, Timeouts};
use crate::guard::Target;
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
        prefix: &'static str,
    },
}

impl Slot {
    /// `Authorization: Bearer …`
    pub fn bearer() -> Self {
        Self::Header { name: http::header::AUTHORIZATION, prefix: "Bearer " }
    }

    /// A header that holds the bare secret, such as `x-api-key`. The name is lower case.
    pub fn header(name: &'static str) -> Self {
        Self::Header { name: HeaderName::from_static(name), prefix: "" }
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
    /// What it belongs to (`prv_…`, `con_…`); shown in `[REDACTED:owner]`, never chosen by an upstream.
    pub owner: String,
    /// Version of the secret; a rotation counts up, and connections of an older version are not reused.
    pub version: u32,
}

/// What of an answer's head comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Relayed {
    /// The headers on the projection list.
    #[default]
    Projected,
    /// All but those of the connection, and those that would change how its reader connects next time.
    All,
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
    /// The body, sent with its length.
    pub body: Bytes,
    /// The credential to add, if any.
    pub credential: Option<Credential>,
    /// Sent as `Idempotency-Key`, the same on every retry of the same effect.
    pub idempotency_key: Option<String>,
    /// Waits.
    pub timeouts: Timeouts,
    /// Largest answer in bytes; reaching it is [`Error::TooLarge`].
    pub response_bytes_max: u64,
    /// Which headers of the answer come back.
    pub relayed: Relayed,
}

impl Outbound {
    /// A `POST` with default waits and limits and nothing else set.
    pub fn post(tenant: OrgId, target: Target, body: impl Into<Bytes>) -> Self {
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
