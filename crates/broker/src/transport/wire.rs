//! [`Wire`]: one open connection, in whichever HTTP its handshake agreed on, and the tasks that drive it.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use super::upload::Sent;
use super::{Limits, Speech};
use crate::{Error, Result};

/// Bytes of one answer that may be under way before they are read, and of all answers on one connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of one request's body that wait to be sent.
const SEND_BYTES_MAX: usize = 64 * 1024;

/// One open connection. The tasks that drive it live and die with the last value that shares it.
pub(super) struct Wire {
    sender: Sender,
    /// Whom it was dialled to.
    pub(super) peer: SocketAddr,
    /// Aborted when dropped, which closes the socket.
    tasks: Arc<Tasks>,
}

enum Sender {
    /// One request after the other.
    One(http1::SendRequest<Sent>),
    /// Many at a time.
    Two(http2::SendRequest<Sent>),
}

type Tasks = Mutex<JoinSet<()>>;

/// Runs what the library wants run, as long as the connection is somebody's.
#[derive(Clone)]
struct Driver(Weak<Tasks>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Driver {
    fn execute(&self, future: F) {
        if let Some(tasks) = self.0.upgrade() {
            let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
            while tasks.try_join_next().is_some() {}
            tasks.spawn(future);
        }
    }
}

impl Wire {
    /// Speaks HTTP/1.1 on a stream; `speech` says whether it may turn into something else.
    pub(super) async fn one(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        peer: SocketAddr,
        speech: Speech,
        limits: &Limits,
    ) -> Result<Self> {
        let (sender, connection) = http1::Builder::new()
            .max_headers(limits.response_headers_max)
            .max_header_size(limits.response_head_bytes_max)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| Error::ConnectFailed)?;
        let tasks = Arc::<Tasks>::default();
        Driver(Arc::downgrade(&tasks)).execute(async move {
            // Its error reaches the caller through the request or the body.
            let _ = match speech {
                Speech::WebSocket => connection.with_upgrades().await,
                Speech::Http | Speech::Grpc => connection.await,
            };
        });
        Ok(Self { sender: Sender::One(sender), peer, tasks })
    }

    /// Speaks HTTP/2 on a stream. Nothing that is pushed is taken.
    pub(super) async fn two(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        peer: SocketAddr,
        limits: &Limits,
    ) -> Result<Self> {
        let tasks = Arc::<Tasks>::default();
        let driver = Driver(Arc::downgrade(&tasks));
        let (sender, connection) = http2::Builder::new(driver.clone())
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(limits.response_head_bytes_max).unwrap_or(u32::MAX))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| Error::ConnectFailed)?;
        driver.execute(async move {
            let _ = connection.await;
        });
        Ok(Self { sender: Sender::Two(sender), peer, tasks })
    }

    /// Another hold of the same connection, where several can use it at a time.
    pub(super) fn share(&self) -> Option<Self> {
        match &self.sender {
            Sender::One(_) => None,
            Sender::Two(sender) => {
                Some(Self { sender: Sender::Two(sender.clone()), peer: self.peer, tasks: Arc::clone(&self.tasks) })
            }
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::One(sender) => sender.is_closed(),
            Sender::Two(sender) => sender.is_closed(),
        }
    }

    /// Whether it takes one more request now.
    pub(super) async fn ready(&mut self) -> Result<(), hyper::Error> {
        match &mut self.sender {
            Sender::One(sender) => sender.ready().await,
            Sender::Two(sender) => sender.ready().await,
        }
    }

    /// Sends a request in the form of HTTP/1.1, and gives it back in that form when nothing of it left.
    pub(super) async fn send(
        &mut self,
        request: Request<Sent>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Sent>>> {
        match &mut self.sender {
            Sender::One(sender) => sender.try_send_request(request).await,
            Sender::Two(sender) => sender.try_send_request(as_two(request)).await,
        }
    }
}

/// With the host in the address instead of a header.
fn as_two(mut request: Request<Sent>) -> Request<Sent> {
    let authority = request.headers_mut().remove(HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    if let Some(authority) = authority {
        parts.scheme = Some(Scheme::HTTPS);
        parts.authority = Some(authority);
    }
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    request
}

/// The way back.
pub(super) fn as_one(mut request: Request<Sent>) -> Request<Sent> {
    let Some(host) = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok()) else {
        return request;
    };
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    request.headers_mut().insert(HOST, host);
    request
}
