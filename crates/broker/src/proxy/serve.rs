//! One connection of a program in a sandbox, from its first byte to its last.
//!
//! The order: a plain HTTP/1.1 head → `CONNECT`, judged → the client's first TLS message, whole, judged → TLS with the run's own
//! leaf → each request, judged on its own. Whatever is refused closes the connection.

use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::body::AskedBody;
use super::gate::{Asked, Finding, FindingKind, Gate, Spoken};
use super::hello::{self, HELLO_BYTES_MAX, HelloRefused};
use super::refusal::Refusal;
use super::rewound::Rewound;
use super::{Proxy, http2, request};
use crate::Error;
use crate::grpc;
use crate::guard::{Host, Target};
use crate::transport::Speech;
use crate::ws::handshake;

/// The body of every answer.
pub(super) type OutBody = UnsyncBoxBody<Bytes, Error>;

/// How long a head may take to come, and how long a connection may be silent between two requests.
const HEAD_MAX: Duration = Duration::from_secs(60);
/// From the tunnel's opening to the end of its TLS handshake.
const TLS_MAX: Duration = Duration::from_secs(10);
/// Most headers of a request.
const HEADERS_MAX: usize = 100;
/// Request line and headers together, in bytes.
const HEAD_BYTES_MAX: usize = 24 * 1024;

/// What a connection turns into after an answer: its bytes to come, and what becomes of them.
type Turn = Mutex<Option<(OnUpgrade, Next)>>;

/// What becomes of a connection that is no HTTP/1.1 any more.
enum Next {
    /// A tunnel to an origin.
    Tunnel(Target),
    /// A WebSocket.
    Socket(Spoken),
    /// Nothing: a tunnel that was refused.
    End,
}

impl<G: Gate> Proxy<G> {
    /// Serves one connection to its end. Dropping the future cuts it, and whatever it has under way.
    pub async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        tokio::select! {
            () = Box::pin(self.connection(stream)) => {}
            () = self.gate.revoked(None) => {}
        }
    }

    async fn connection(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let turn = Turn::default();
        let service = service_fn(|request| self.outer(request, &turn));
        // How it ended concerns nobody: the client knows, and findings are told where they are found.
        let _ = http().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
        let Some((mut stream, next)) = turned(&turn).await else { return };
        match next {
            Next::Tunnel(origin) => tokio::select! {
                () = Box::pin(self.tunnel(stream, &origin)) => {}
                () = self.gate.revoked(Some(&origin)) => {}
            },
            Next::Socket(spoken) => spoken.serve(Box::pin(stream)).await,
            // The library hands the stream over even so; dropped without an end, the refusal itself could be cut off.
            Next::End => {
                let _ = stream.shutdown().await;
            }
        }
    }

    /// A request outside of any tunnel.
    async fn outer(&self, mut request: Request<Incoming>, turn: &Turn) -> Result<Response<OutBody>, Infallible> {
        if request.method() != Method::CONNECT && request.uri().authority().is_none() {
            return Ok(self.below(request, turn).await);
        }
        if request.method() != Method::CONNECT {
            let target = request::absolute(&request);
            return Ok(self.answer(request, target, None, turn).await);
        }
        let (next, response) = match request::tunnel(&request) {
            Ok(origin) if self.admits(&origin) => (Next::Tunnel(origin), Response::new(empty())),
            Ok(_) => (Next::End, Refusal::Host.response()),
            Err(refusal) => (Next::End, refusal.response()),
        };
        let upgrade = hyper::upgrade::on(&mut request);
        *turn.lock().unwrap_or_else(PoisonError::into_inner) = Some((upgrade, next));
        Ok(response)
    }

    /// What is spoken inside a tunnel.
    async fn tunnel(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, origin: &Target) {
        let handshake = async {
            let first = self.first_message(&mut stream, origin).await?;
            let Host::Name(name) = origin.host() else { return None };
            let config = self.authority.as_ref()?.leaf(name).ok()?;
            TlsAcceptor::from(config).accept(Rewound::new(first, stream)).await.ok()
        };
        let Ok(Some(tls)) = timeout(TLS_MAX, handshake).await else { return };
        if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
            return http2::serve(tls, |request| self.stream(request, origin)).await;
        }
        let turn = Turn::default();
        let service = service_fn(|request| async {
            let target = request::inside(&request, origin);
            Ok::<_, Infallible>(self.answer(request, target, None, &turn).await)
        });
        let _ = http().serve_connection(TokioIo::new(tls), service).with_upgrades().await;
        if let Some((stream, Next::Socket(spoken))) = turned(&turn).await {
            spoken.serve(Box::pin(stream)).await;
        }
    }

    /// One request in HTTP/2.
    async fn stream(&self, request: Request<Incoming>, origin: &Target) -> Response<OutBody> {
        let target = request::inside(&request, origin);
        if let Err(Refusal::OtherName) = target {
            self.find(origin, FindingKind::OtherName);
        }
        // No stream turns into anything: `handshake` takes none of HTTP/2.
        let mut response = self.answer(request, target, None, &Turn::default()).await;
        response.headers_mut().remove(CONNECTION);
        response
    }

    /// The client's first message, if the name in it is the tunnel's.
    async fn first_message(&self, stream: &mut (impl AsyncRead + Unpin), origin: &Target) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(2048);
        let judged = loop {
            match hello::server_name(&bytes) {
                Ok(None) => {}
                Ok(Some(name)) => break Ok(name),
                Err(refused) => break Err(refused),
            }
            let room = HELLO_BYTES_MAX.saturating_sub(bytes.len()) as u64;
            match (&mut *stream).take(room).read_buf(&mut bytes).await {
                Ok(count) if count > 0 => {}
                _ => break Err(HelloRefused::NotTls),
            }
        };
        let what = match judged {
            Ok(name) if *origin.host() == Host::Name(name.clone()) => return Some(bytes),
            Ok(_) => FindingKind::OtherName,
            Err(refused) => FindingKind::Hello(refused),
        };
        self.find(origin, what);
        None
    }

    /// A request below a connection's name at the proxy's own address: for programs that trust no certificate but those they
    /// brought along. Plain HTTP on the sandbox's own loopback; outside it goes where the connection goes.
    async fn below(&self, request: Request<Incoming>, turn: &Turn) -> Response<OutBody> {
        let target = request::below(&request).and_then(|(name, path)| {
            let base = self.gate.base(name).ok_or(Refusal::Host)?;
            let unclear = Refusal::Malformed("the path or query is not in a form that has one meaning only");
            Ok((name.to_owned(), base.join(path).map_err(|_| unclear)?))
        });
        match target {
            Ok((name, target)) => self.answer(request, Ok(target), Some(&name), turn).await,
            Err(refusal) => refusal.response(),
        }
    }

    /// Judges one request and has it sent. With `name`, it must hold the placeholder of that connection.
    async fn answer(
        &self,
        request: Request<Incoming>,
        target: Result<Target, Refusal>,
        name: Option<&str>,
        turn: &Turn,
    ) -> Response<OutBody> {
        let host = match target {
            Ok(target) => target,
            Err(refusal) => return refusal.response(),
        };
        match self.pass(request, host.clone(), name, turn).await {
            Ok(response) => response,
            Err(refusal) => {
                if let Refusal::Placeholder(misplaced) = refusal {
                    self.find(&host, FindingKind::Placeholder(misplaced));
                }
                refusal.response()
            }
        }
    }

    async fn pass(
        &self,
        mut request: Request<Incoming>,
        target: Target,
        name: Option<&str>,
        turn: &Turn,
    ) -> Result<Response<OutBody>, Refusal> {
        if !self.admits(&target) {
            return Err(Refusal::Host);
        }
        if request.headers().len() > HEADERS_MAX {
            return Err(Refusal::Malformed("there are too many headers"));
        }
        let accept = handshake::asked(&request).map_err(Refusal::Malformed)?;
        let upgrade = accept.as_ref().map(|_| hyper::upgrade::on(&mut request));
        let is_grpc = request.version() == Version::HTTP_2 && grpc::is_grpc(request.headers());
        let speech = match &accept {
            Some(_) => Speech::WebSocket,
            None if is_grpc => Speech::Grpc,
            None => Speech::Http,
        };
        let (head, incoming) = request.into_parts();
        let mut headers = head.headers;
        let messages = is_grpc.then(|| grpc::Inlet::of(&headers));
        let named = self.placeholders.judge(&target, &mut headers).map_err(Refusal::Placeholder)?.map(str::to_owned);
        if name.is_some() && name != named.as_deref() {
            return Err(Refusal::NoPlaceholder);
        }
        let body = AskedBody::new(incoming, messages);
        let asked = Asked { target, method: head.method, headers, named, body, speech };
        let answered = self.gate.pass(asked).await?;
        let is_switch = answered.status == StatusCode::SWITCHING_PROTOCOLS;
        if is_switch != answered.socket.is_some() || (is_switch && accept.is_none()) {
            return Err(Refusal::Upstream(Error::BadGateway { why: "an upgrade nobody asked for" }));
        }
        let mut response = Response::new(answered.body);
        *response.status_mut() = answered.status;
        *response.headers_mut() = answered.headers;
        request::trim_answer(response.headers_mut());
        if let (Some(accept), Some(upgrade), Some(spoken)) = (accept, upgrade, answered.socket) {
            handshake::answer(response.headers_mut(), accept);
            *turn.lock().unwrap_or_else(PoisonError::into_inner) = Some((upgrade, Next::Socket(spoken)));
        }
        Ok(response)
    }

    fn admits(&self, target: &Target) -> bool {
        let admitted = self.gate.admits(target);
        if !admitted {
            self.find(target, FindingKind::Host);
        }
        admitted
    }

    fn find(&self, target: &Target, what: FindingKind) {
        self.gate.found(Finding { host: target.host().to_string(), what });
    }
}

/// What a connection turned into, once its last answer is out.
async fn turned(turn: &Turn) -> Option<(TokioIo<Upgraded>, Next)> {
    let (upgrade, next) = turn.lock().unwrap_or_else(PoisonError::into_inner).take()?;
    Some((TokioIo::new(upgrade.await.ok()?), next))
}

fn empty() -> OutBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

fn http() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    builder
}
