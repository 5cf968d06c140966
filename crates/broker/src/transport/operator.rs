//! HTTP/1.1 to the one origin that the operator named for the platform's own bytes: its object store.
//!
//! The address guard does not judge it, because no tenant chooses it; in exchange this client dials that origin and nothing
//! else. Redirects are answers, never followed. Nothing is injected or scrubbed: no run and no model speaks here.

use std::fmt;
use std::future::Future as _;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::combinators::BoxBody;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, timeout};

use super::ConfigError;
use super::send::classify;
use super::tls::{Offer, Tls};
use super::{Limits, dial};
use crate::error::Phase;
use crate::guard::{Host, Scheme, Target};
use crate::{Error, Result};

/// Requests under way at a time; a further one waits.
const IN_FLIGHT_MAX: usize = 64;
/// How long it may wait.
const TURN_MAX: Duration = Duration::from_secs(15);
/// Idle connections kept.
const IDLE_MAX: usize = 16;
/// How long they are kept.
const IDLE_TIME: Duration = Duration::from_secs(20);
/// How long one may take to be ready again before a new one is dialled.
const POOLED_READY: Duration = Duration::from_millis(50);
/// Looking the name up.
const RESOLVE_MAX: Duration = Duration::from_secs(5);
/// TCP connect, all addresses together.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// TLS handshake.
const TLS_MAX: Duration = Duration::from_secs(10);
/// Sending the request and waiting for the head of its answer.
const HEAD_MAX: Duration = Duration::from_secs(30);
/// The longest silence within an answer's body.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// The body of a request.
pub type OperatorBody = BoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// The client of one origin. Cheap to clone.
#[derive(Clone)]
pub struct OperatorClient {
    inner: Arc<Shared>,
}

struct Shared {
    origin: Target,
    tls: Tls,
    turns: Arc<Semaphore>,
    idle: Arc<Idle>,
    limits: Limits,
}

/// Connections that wait for the next request.
type Idle = Mutex<Vec<(Wire, Instant)>>;

/// One open connection. The task that drives it lives and dies with this value.
struct Wire {
    sender: SendRequest<OperatorBody>,
    /// Aborted on drop, which closes the socket.
    _driver: JoinSet<()>,
}

impl fmt::Debug for OperatorClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorClient({})", self.inner.origin.origin())
    }
}

impl OperatorClient {
    /// A client of `origin`'s scheme, host and port; its path plays no part. `ca`: more roots to trust, PEM. Opens nothing.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting to mend.
    pub fn new(origin: Target, ca: Option<&Path>) -> Result<Self, ConfigError> {
        let inner = Shared {
            origin,
            tls: Tls::new(ca)?,
            turns: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            idle: Arc::default(),
            limits: Limits::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Sends one request and returns when the head of the answer is there. Dropping the future, or the answer before its
    /// end, closes the connection.
    ///
    /// # Errors
    /// [`Error::BadRequest`] for a URL of another origin; those of connecting and of waiting.
    pub async fn send(&self, request: Request<OperatorBody>) -> Result<Response<OperatorAnswer>> {
        let shared = &self.inner;
        let request = shared.aimed(request)?;
        let turn = timeout(TURN_MAX, Arc::clone(&shared.turns).acquire_owned()).await;
        let turn = turn.ok().and_then(std::result::Result::ok).ok_or(Error::Busy)?;
        let mut wire = match shared.pooled().await {
            Some(wire) => wire,
            None => shared.open().await?,
        };
        let sent = timeout(HEAD_MAX, wire.sender.send_request(request)).await;
        let answer = sent.map_err(|_| Error::Timeout { phase: Phase::FirstByte })?.map_err(|error| classify(&error))?;
        let idle = Arc::clone(&shared.idle);
        Ok(answer.map(|incoming| OperatorAnswer {
            incoming,
            silence: Box::pin(tokio::time::sleep(SILENCE_MAX)),
            wire: Some(wire),
            idle,
            _turn: turn,
        }))
    }
}

impl Shared {
    /// The request as it goes on the wire: a path, and the origin's name.
    fn aimed(&self, mut request: Request<OperatorBody>) -> Result<Request<OperatorBody>> {
        let uri = request.uri();
        let authority = self.origin.authority();
        let same = uri.scheme_str() == Some(self.origin.scheme().as_str())
            && uri.authority().is_some_and(|found| found.as_str().eq_ignore_ascii_case(&authority));
        if !same {
            return Err(Error::BadRequest { why: "it is for another origin" });
        }
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let target = Uri::try_from(target).map_err(|_| Error::BadRequest { why: "its path" })?;
        *request.uri_mut() = target;
        let host = HeaderValue::try_from(authority).map_err(|_| Error::BadRequest { why: "its host" })?;
        request.headers_mut().insert(http::header::HOST, host);
        Ok(request)
    }

    /// The most recently used connection that is still open.
    async fn pooled(&self) -> Option<Wire> {
        loop {
            let (mut wire, since) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if since.elapsed() < IDLE_TIME && matches!(timeout(POOLED_READY, wire.sender.ready()).await, Ok(Ok(()))) {
                return Some(wire);
            }
        }
    }

    async fn open(&self) -> Result<Wire> {
        let port = self.origin.port();
        let addresses: Vec<SocketAddr> = match self.origin.host() {
            Host::Ip(ip) => vec![SocketAddr::new(*ip, port)],
            Host::Name(name) => {
                let found = timeout(RESOLVE_MAX, tokio::net::lookup_host((name.as_str(), port))).await;
                let found = found.map_err(|_| Error::Timeout { phase: Phase::Resolve })?;
                found.map_err(|_| Error::Unresolvable)?.collect()
            }
        };
        let (stream, _) = dial::connect(&addresses, CONNECT_MAX).await?;
        match self.origin.scheme() {
            Scheme::Http => self.speak(stream).await,
            Scheme::Https => {
                let stream = self.tls.handshake(stream, self.origin.host(), None, Offer::Http1, TLS_MAX).await?;
                self.speak(stream).await
            }
        }
    }

    async fn speak(&self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Wire> {
        let (sender, connection) = http1::Builder::new()
            .max_headers(self.limits.response_headers_max)
            .max_header_size(self.limits.response_head_bytes_max)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| Error::ConnectFailed)?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // Its error reaches the caller through the request or the body.
            let _ = connection.await;
        });
        Ok(Wire { sender, _driver: driver })
    }
}

/// The body of an answer: a silence that is too long is an error. Read to its end, its connection serves the next request.
pub struct OperatorAnswer {
    incoming: Incoming,
    silence: Pin<Box<Sleep>>,
    wire: Option<Wire>,
    idle: Arc<Idle>,
    _turn: OwnedSemaphorePermit,
}

impl hyper::body::Body for OperatorAnswer {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let this = &mut *self;
        match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.silence.as_mut().reset(Instant::now() + SILENCE_MAX);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.wire = None;
                Poll::Ready(Some(Err(classify(&error))))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => match this.silence.as_mut().poll(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(()) => {
                    this.wire = None;
                    Poll::Ready(Some(Err(Error::Timeout { phase: Phase::Idle })))
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for OperatorAnswer {
    fn drop(&mut self) {
        if let Some(wire) = self.wire.take().filter(|wire| self.incoming.is_end_stream() && !wire.sender.is_closed()) {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.retain(|(_, since)| since.elapsed() < IDLE_TIME);
            if idle.len() < IDLE_MAX {
                idle.push((wire, Instant::now()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Empty};

    use super::{Error, OperatorClient, Request, Target};

    #[tokio::test]
    async fn it_dials_its_own_origin_and_nothing_else() {
        let client = OperatorClient::new(Target::base_url("http://127.0.0.1:9999").unwrap(), None).unwrap();
        for other in [
            "http://127.0.0.1:9998/",
            "https://127.0.0.1:9999/",
            "http://localhost:9999/",
            "http://user@127.0.0.1:9999/",
            "/x",
        ] {
            let request = Request::get(other).body(Empty::new().map_err(|never| match never {}).boxed()).unwrap();
            let refused = client.send(request).await.map(drop);
            assert_eq!(refused, Err(Error::BadRequest { why: "it is for another origin" }), "{other}");
        }
        assert_eq!(format!("{client:?}"), "OperatorClient(http://127.0.0.1:9999)");
    }
}
