//! One call through a connection, front to back: what a front end hands in, and what it may hand on.
//!
//! ```text
//! Call ─▶ canonical form ─▶ placeholders ─▶ Reach::permits ─▶ strip ─▶ Prepared      no secret so far: record it, ask for it
//! Prepared + Secret ─▶ resolve, check, dial ─▶ inject ─▶ send ─▶ decode ─▶ scrub ─▶ Answer (or its pieces, as they come)
//! ```
//!
//! [`Prepared`] is both what the rules said yes to and what is sent: nobody can change it in between. The secret comes last,
//! so it is opened for requests that go out and for no others. A refusal is a value that a model can read; it says what is
//! allowed and repeats nothing of the request.
//!
//! Read next: `engine/prepare.rs`, then `engine/perform.rs`.

mod encoded;
mod overrides;
mod perform;
mod prepare;

use std::net::SocketAddr;

use bytes::Bytes;
use livery_core::connector::{CredentialSlot, Reach, ReachRefusal};
use livery_core::id::OrgId;

pub use self::perform::How;
pub use self::prepare::{Facts, Prepared};
use crate::Error;
use crate::guard::RequestRefused;
use crate::guard::Target;
use crate::policy::graphql::GraphqlRefusal;
use crate::transport::{Finding, Speech, Took, Upload};

/// What a connection lets a call do.
#[derive(Debug, Clone, PartialEq)]
pub struct Access {
    /// The tenant.
    pub org: OrgId,
    /// The connection (`con_…`).
    pub connection: String,
    /// Its name, shown in `[REDACTED:name]`.
    pub name: String,
    /// Where its credential may go.
    pub reach: Reach,
    /// Where in a request it is put.
    pub slot: CredentialSlot,
    /// Constant headers of every request; they win over a caller's.
    pub headers: Vec<(String, String)>,
}

/// A request as somebody asked for it: nothing of it is trusted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Call {
    /// The method, as it was written.
    pub method: String,
    /// A path below the connection's base address; may have a query.
    pub path: String,
    /// Further parameters, plain.
    pub query: Vec<(String, String)>,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

/// A request as a program made it, on its way through the proxy. Of it only the target is canonical.
#[derive(Debug)]
pub struct Passing {
    /// Where to.
    pub target: Target,
    /// The method, as it was written.
    pub method: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// The body, in which no placeholder is or comes.
    pub body: Upload,
    /// What it opens.
    pub speech: Speech,
}

/// Why a request does not leave. The text is for the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It has no canonical form.
    #[error(transparent)]
    Form(#[from] RequestRefused),
    /// The connection is not for it.
    #[error(transparent)]
    Reach(#[from] ReachRefusal),
    /// A GraphQL API is asked for what the connection is not for.
    #[error(transparent)]
    Graphql(#[from] GraphqlRefusal),
    /// A stand-in for a key where no key belongs.
    #[error("the request holds a placeholder for a credential; leave it out, the credential is added by itself")]
    Placeholder,
    /// One method in the clothes of another.
    #[error("a request is sent with its own method: leave the override `_method` out")]
    MethodOverride,
    /// A body in a content coding that cannot be taken off to look at it.
    #[error(
        "the body is in a content coding that cannot be looked into here: send it as it is, or at most 256 KiB of gzip, deflate, br or zstd"
    )]
    Encoded,
    /// A form that is sent while it comes: what its end says is not known at its beginning.
    #[error("a form of this size cannot be looked into: send it as JSON or multipart/form-data")]
    LargeForm,
    /// It cannot be sent as it is.
    #[error(transparent)]
    Request(#[from] Error),
}

impl Refusal {
    /// Stable name of the rule.
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::Form(_) => "canonical_form",
            Self::Reach(refusal) => refusal.rule(),
            Self::Graphql(_) => "graphql",
            Self::Placeholder => "placeholder",
            Self::MethodOverride => "method_override",
            Self::Encoded => "encoded_body",
            Self::LargeForm => "large_form",
            Self::Request(_) => "request",
        }
    }
}

/// An answer that may be shown: decoded, scrubbed, whole.
#[derive(Debug)]
pub struct Answer {
    /// Any status; redirects are answers.
    pub status: u16,
    /// The headers that come back.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// Where the credential was found and taken out.
    pub findings: Vec<Finding>,
    /// The checked address it came from.
    pub dialled: SocketAddr,
    /// How long the head took.
    pub took: Took,
}

/// A call that was sent, or was to be, and gave no answer that may be shown.
#[derive(Debug)]
pub struct Failed {
    /// Why.
    pub error: Error,
    /// Where the credential was found before it failed.
    pub findings: Vec<Finding>,
    /// The checked address, when there was an answer's head.
    pub dialled: Option<SocketAddr>,
}

#[cfg(test)]
mod tests;
