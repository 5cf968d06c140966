//! The server loop: accept, one task per connection, drain.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use livery_platform::Platform;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::edge::Edge;
use crate::guarded::Guarded;
use crate::inbound::Peer;
use crate::options::{HEAD_BYTES_MAX, Options};
use crate::phase::{Arriving, Phase, Tracked};
use crate::upgrade::Afterwards;

/// Connections that may wait to be accepted; the kernel's `net.core.somaxconn` may say fewer. With the library's 128, a
/// thousand readers that come back at once after a restart find some of theirs reset.
const BACKLOG: u32 = 4096;
/// The pause after a failed accept (no file descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Listens on an address, with room for many who come at once.
///
/// # Errors
/// Those of the socket: the address is in use, or is not this machine's.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart does not wait for the connections of the earlier process to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `shutdown`, then drains: no new connection, running requests may end, event streams end at once (their
/// readers connect again elsewhere with `Last-Event-ID`).
///
/// # Errors
/// None today: a connection that fails ends alone. The type leaves room for a listener that breaks.
pub async fn serve(
    listener: TcpListener,
    platform: Platform,
    options: Options,
    shutdown: CancellationToken,
) -> io::Result<()> {
    serve_edge(listener, Edge::new(platform, options, shutdown.clone()), shutdown).await
}

/// Serves `/metrics`, `/healthz` and `/readyz` alone, without a key: for an address that only the operator's machines
/// reach.
///
/// # Errors
/// As for [`serve`].
pub async fn serve_metrics(listener: TcpListener, platform: Platform, shutdown: CancellationToken) -> io::Result<()> {
    serve_edge(listener, Edge::metrics(platform, Options::default(), shutdown.clone()), shutdown).await
}

async fn serve_edge(listener: TcpListener, edge: Edge, shutdown: CancellationToken) -> io::Result<()> {
    let seats = Arc::new(Semaphore::new(edge.options().connections_max));
    let mut connections = JoinSet::new();
    while let Some((socket, seat)) = next(&listener, &seats, &mut connections, &shutdown).await {
        let (edge, shutdown) = (edge.clone(), shutdown.clone());
        connections.spawn(async move {
            connection(socket, edge, shutdown).await;
            drop(seat);
        });
    }
    drop(listener);
    drain(connections, edge.options().drain).await;
    Ok(())
}

/// The next connection, once there is a seat for it; `None` at shutdown. Ended connections are collected meanwhile.
async fn next(
    listener: &TcpListener,
    seats: &Arc<Semaphore>,
    connections: &mut JoinSet<()>,
    shutdown: &CancellationToken,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let accept = async {
        // The semaphore is never closed.
        let seat = Arc::clone(seats).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((socket, _)) => return Some((socket, seat)),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::pin!(accept);
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return None,
            Some(ended) = connections.join_next() => report(ended),
            accepted = &mut accept => return accepted,
        }
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection panicked");
    }
}

async fn drain(mut connections: JoinSet<()>, limit: Duration) {
    let ended = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    };
    if tokio::time::timeout(limit, ended).await.is_err() {
        tracing::warn!(left = connections.len(), "connections were cut at the end of the drain");
        connections.shutdown().await;
    }
}

async fn connection(socket: TcpStream, edge: Edge, shutdown: CancellationToken) {
    // Small answers and events leave at once; a socket that cannot do it works all the same.
    let _ = socket.set_nodelay(true);
    let peer = socket.peer_addr().ok().map(|address| Peer(address.ip()));
    let (phase, afterwards) = (Phase::default(), Afterwards::default());
    let options = edge.options().clone();
    let guarded = Guarded::new(socket, phase.clone(), options.write_stall, edge.mint());
    let next = afterwards.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(next.clone());
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        answer(edge.clone(), phase.clone(), request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(options.head_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(guarded), service)
        .with_upgrades();
    tokio::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection ended early");
    }
    // What it became is served in the same task: at shutdown it is waited for, and cut, like any connection.
    if let Some(next) = afterwards.take() {
        next.await;
    }
}

fn answer(
    edge: Edge,
    phase: Phase,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Tracked>, Infallible>> {
    phase.request();
    async move {
        let request = request.map(|body| Body::new(Arriving::new(body, phase.clone())));
        let response = edge.answer(request).await;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            phase.switch();
        }
        Ok(response.map(|body| Tracked::new(body, phase)))
    }
}
