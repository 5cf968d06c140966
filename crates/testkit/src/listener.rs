//! The HTTP plumbing both fakes share: accept, read a bounded body, answer step by step, stop.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::capture::{Capture, Tapped};

/// The most bytes of one request's body.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The most connections at a time; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 4_096;

/// What arrived.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) method: Method,
    /// With the query.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Since the server started.
    pub(crate) at: Duration,
}

/// What to do next with an answer's body.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Send(Bytes),
    /// Hand over what was written, then wait.
    Pause(Duration),
    /// Never go on; the client must give up.
    Hang,
    /// End the connection with a reset.
    Reset,
}

/// A running server. Dropped, it stops.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Listener {
    pub(crate) async fn start<H, F, S>(
        address: SocketAddr,
        capture: Option<Arc<Capture>>,
        handle: H,
    ) -> std::io::Result<Self>
    where
        H: Fn(Received) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<S>> + Send + 'static,
        S: Stream<Item = Step> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(accept(listener, capture, handle));
        Ok(Self { address, task })
    }

    /// Ends every connection and waits until they have ended.
    pub(crate) async fn stop(mut self) {
        self.task.abort();
        // Aborted is what it is meant to be.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept<H, F, S>(listener: TcpListener, capture: Option<Arc<Capture>>, handle: H)
where
    H: Fn(Received) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<S>> + Send + 'static,
    S: Stream<Item = Step> + Send + 'static,
{
    let started = Instant::now();
    // Dropped with this task, and then every connection is.
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= CONNECTIONS_MAX || connections.try_join_next().is_some() {
            if connections.len() >= CONNECTIONS_MAX {
                connections.join_next().await;
            }
        }
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: they come back when connections end.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        // Small writes are the point of some tests.
        let _ = stream.set_nodelay(true);
        let (capture, handle) = (capture.clone(), handle.clone());
        connections.spawn(async move {
            let reset = Arc::new(AtomicBool::new(false));
            let io = TokioIo::new(Tapped::new(stream, capture, Arc::clone(&reset)));
            let service = service_fn(move |request| respond(request, started, Arc::clone(&reset), handle.clone()));
            // A client that goes away in the middle is none of our errors.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
        });
    }
}

async fn respond<H, F, S>(
    request: Request<Incoming>,
    started: Instant,
    reset: Arc<AtomicBool>,
    handle: H,
) -> std::io::Result<Response<impl hyper::body::Body<Data = Bytes, Error = std::io::Error>>>
where
    H: Fn(Received) -> F + Send + 'static,
    F: Future<Output = Response<S>> + Send + 'static,
    S: Stream<Item = Step> + Send + 'static,
{
    let at = started.elapsed();
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(std::io::Error::other)?.to_bytes();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let received = Received { method: parts.method, path, headers: parts.headers, body, at };
    let response = handle(received).await;
    Ok(response.map(|steps| StreamBody::new(frames(Box::pin(steps), reset))))
}

fn frames(
    steps: std::pin::Pin<Box<dyn Stream<Item = Step> + Send>>,
    reset: Arc<AtomicBool>,
) -> impl Stream<Item = Result<Frame<Bytes>, std::io::Error>> {
    use futures_util::StreamExt;
    stream::unfold((steps, reset), |(mut steps, reset)| async move {
        loop {
            match steps.next().await? {
                Step::Send(bytes) => return Some((Ok(Frame::data(bytes)), (steps, reset))),
                // Waiting, even for nothing, hands over what was written before.
                Step::Pause(time) if time.is_zero() => tokio::task::yield_now().await,
                Step::Pause(time) => tokio::time::sleep(time).await,
                Step::Hang => std::future::pending().await,
                Step::Reset => {
                    reset.store(true, Ordering::SeqCst);
                    return Some((Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)), (steps, reset)));
                }
            }
        }
    })
}
