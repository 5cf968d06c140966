//! What the proxy asks for each request, and what it is told: the port between the transport and whoever decides.

use std::fmt;
use std::future::Future;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;

use super::hello::HelloRefused;
use super::placeholder::{Finder, HOLD_BYTES, Misplaced};
use super::refusal::Refusal;
use crate::Error;
use crate::guard::Target;

/// Largest request body, in bytes.
pub const REQUEST_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Decides about requests and sends them.
pub trait Gate: Send + Sync + 'static {
    /// Whether the run may reach this origin; the path says nothing yet. Asked before a tunnel opens and again for each
    /// request, so that a rule that goes takes effect at once.
    fn admits(&self, origin: &Target) -> bool;

    /// Sends one request, which no placeholder is in any more, and answers what came back.
    fn pass(&self, asked: Asked) -> impl Future<Output = Result<Answered, Refusal>> + Send;

    /// Told what a run tried that it may not.
    fn found(&self, finding: Finding);

    /// Resolves when everything that is open must be cut.
    fn revoked(&self) -> impl Future<Output = ()> + Send;
}

/// Something a run tried that it may not. Nothing of the request is in it but the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The host it was for, as the tunnel or the URL said it.
    pub host: String,
    /// What it was.
    pub what: FindingKind,
}

/// What a run tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingKind {
    /// A host no rule allows.
    Host,
    /// A first message whose name is missing, hidden or unreadable.
    Hello(HelloRefused),
    /// A certificate asked for, or a request made, for another name than the tunnel's.
    OtherName,
    /// A placeholder where it does not belong.
    Placeholder(Misplaced),
}

impl FindingKind {
    /// Stable lower-case name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host_not_allowed",
            Self::Hello(_) => "tls_name_unreadable",
            Self::OtherName => "name_mismatch",
            Self::Placeholder(Misplaced::Header) => "placeholder_in_header",
            Self::Placeholder(Misplaced::Target) => "placeholder_in_target",
            Self::Placeholder(Misplaced::Body) => "placeholder_in_body",
        }
    }
}

/// One request of a run.
#[derive(Debug)]
pub struct Asked {
    /// Where to, in the one form that is sent.
    pub target: Target,
    /// The method.
    pub method: Method,
    /// The headers; a header that held its placeholder is gone.
    pub headers: HeaderMap,
    /// The body.
    pub body: AskedBody,
}

/// A request's body, in pieces. What comes out holds no placeholder: the end is held back until it is known.
pub struct AskedBody {
    incoming: Incoming,
    finder: Finder,
    held: BytesMut,
    received: u64,
    over: bool,
}

impl fmt::Debug for AskedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AskedBody").field("received", &self.received).finish_non_exhaustive()
    }
}

impl AskedBody {
    pub(super) fn new(incoming: Incoming) -> Self {
        Self { incoming, finder: Finder::default(), held: BytesMut::new(), received: 0, over: false }
    }

    /// The next piece, `None` after the last.
    ///
    /// # Errors
    /// A placeholder, too many bytes, or a client that broke off. What was sent of the request must not be completed.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        while !self.over {
            let Some(frame) = self.incoming.frame().await else {
                self.over = true;
                break;
            };
            // A client's trailers go nowhere.
            let Ok(piece) = frame.map_err(|_| Refusal::BrokenOff)?.into_data() else { continue };
            self.received += piece.len() as u64;
            if self.received > REQUEST_BYTES_MAX {
                return Err(Refusal::TooLarge);
            }
            if !self.finder.push(&piece).is_empty() {
                return Err(Refusal::Placeholder(Misplaced::Body));
            }
            self.held.extend_from_slice(&piece);
            if self.held.len() > HOLD_BYTES {
                return Ok(Some(self.held.split_to(self.held.len() - HOLD_BYTES).freeze()));
            }
        }
        Ok((!self.held.is_empty()).then(|| self.held.split().freeze()))
    }
}

/// The answer to a request.
#[derive(Debug)]
pub struct Answered {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, scrubbed. Those that concern a connection are removed on the way to the client.
    pub headers: HeaderMap,
    /// Its body, scrubbed. An error breaks the answer off, so that no part of it passes for the whole.
    pub body: UnsyncBoxBody<Bytes, Error>,
}
