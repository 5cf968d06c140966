//! What the proxy asks for each request, and what it is told: the port between the transport and whoever decides.

use std::fmt;
use std::future::Future;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;

use super::body::AskedBody;
use super::hello::HelloRefused;
use super::placeholder::Misplaced;
use super::refusal::Refusal;
use crate::Error;
use crate::guard::Target;
use crate::transport::Speech;
use crate::ws::Stream;

/// Decides about requests and sends them.
pub trait Gate: Send + Sync + 'static {
    /// Whether the run may reach this origin; the path says nothing yet. Asked before a tunnel opens and again for each
    /// request, so that a rule that goes takes effect at once.
    fn admits(&self, origin: &Target) -> bool;

    /// The address of a connection, for a request to the proxy's own address below the connection's name.
    fn base(&self, name: &str) -> Option<Target>;

    /// Sends one request, which no placeholder is in any more, and answers what came back.
    fn pass(&self, asked: Asked) -> impl Future<Output = Result<Answered, Refusal>> + Send;

    /// Told what a run tried that it may not.
    fn found(&self, finding: Finding);

    /// Resolves when what is open must be cut: a tunnel to this origin, or with `None` any connection at all.
    fn revoked(&self, origin: Option<&Target>) -> impl Future<Output = ()> + Send;
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
    /// Whose placeholder the request held, by the name it is pinned under.
    pub named: Option<String>,
    /// The body.
    pub body: AskedBody,
    /// What it opens.
    pub speech: Speech,
}

impl Asked {
    /// Its headers as text.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] for one that is none.
    pub fn header_pairs(&self) -> Result<Vec<(String, String)>, Refusal> {
        let pair = |(name, value): (&HeaderName, &HeaderValue)| {
            let value = value.to_str().map_err(|_| Refusal::Malformed("a header is not plain text"))?;
            Ok((name.as_str().to_owned(), value.to_owned()))
        };
        self.headers.iter().map(pair).collect()
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
    /// What goes on after the head of a `101`.
    pub socket: Option<Spoken>,
}

/// Serves a WebSocket to its end, given the program's side. Dropping it, or its future, hangs up on the upstream.
pub struct Spoken(Box<dyn FnOnce(Stream) -> BoxFuture<'static, ()> + Send>);

impl fmt::Debug for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spoken")
    }
}

impl Spoken {
    /// That will do this with the program's side.
    pub fn new<F: Future<Output = ()> + Send + 'static>(serve: impl FnOnce(Stream) -> F + Send + 'static) -> Self {
        Self(Box::new(|stream| Box::pin(serve(stream))))
    }

    pub(super) async fn serve(self, stream: Stream) {
        (self.0)(stream).await;
    }
}
