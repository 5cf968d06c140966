//! HTTP/2 inside a tunnel: each stream is one request, judged on its own, within limits that hold for the connection.
//!
//! The library counts streams, decodes heads within their size and refuses what no head may hold. Streams run inside the future
//! that serves the connection, so that dropping it ends them all.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::serve::OutBody;

/// Streams of one connection at a time.
const STREAMS_MAX: u32 = 100;
/// Streams that a client may give up before they are answered, within [`RESETS_WINDOW`].
const RESETS_MAX: usize = 100;
const RESETS_WINDOW: Duration = Duration::from_secs(10);
/// Streams given up that nobody has looked at yet.
const RESETS_UNSEEN_MAX: usize = 20;
/// A head once it is decoded, in bytes. How many frames it may come in follows from it.
const HEAD_BYTES_MAX: u32 = 64 * 1024;
/// Bytes of one request's body that may be under way, and of all on one connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of one answer that wait for the client.
const SEND_BYTES_MAX: usize = 64 * 1024;
/// How often a silent client is asked whether it is there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(60);

/// Serves a connection to its end, each request with `answer`.
pub(super) async fn serve<F>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    answer: impl Fn(Request<Incoming>) -> F + Send,
) where
    F: Future<Output = Response<OutBody>> + Send,
{
    let resets = Resets::default();
    let spawned = Streams::default();
    let service = service_fn(|request| {
        let answered = answer(request);
        let unanswered = Unanswered(Some(&resets));
        async move {
            let response = answered.await;
            unanswered.settle();
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http(spawned.clone()).serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut streams = FuturesUnordered::new();
    let all = poll_fn(|cx| {
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        // Only the connection makes streams; what these have to send wakes it.
        streams.extend(spawned.take());
        while let Poll::Ready(Some(())) = streams.poll_next_unpin(cx) {}
        Poll::Pending
    });
    tokio::select! {
        () = all => {}
        () = resets.too_many.notified() => {}
    }
    // A stream that is left here holds the list it is in.
    drop(spawned.take());
}

fn http<'a>(streams: Streams<'a>) -> http2::Builder<Streams<'a>> {
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESETS_UNSEEN_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BYTES_MAX)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    builder
}

/// Hands the streams of a connection to the future that serves it. There are at most [`STREAMS_MAX`] at a time, and few more
/// that were given up.
#[derive(Clone, Default)]
struct Streams<'a>(Arc<Mutex<Vec<BoxFuture<'a, ()>>>>);

impl<'a> Streams<'a> {
    fn take(&self) -> Vec<BoxFuture<'a, ()>> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<'a, F: Future<Output = ()> + Send + 'a> Executor<F> for Streams<'a> {
    fn execute(&self, future: F) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::pin(future));
    }
}

/// When streams were given up.
#[derive(Default)]
struct Resets {
    at: Mutex<VecDeque<Instant>>,
    too_many: Notify,
}

/// A request without an answer so far; dropped with that, it was given up.
struct Unanswered<'a>(Option<&'a Resets>);

impl Unanswered<'_> {
    fn settle(mut self) {
        self.0 = None;
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        let Some(resets) = self.0 else { return };
        let mut at = resets.at.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        at.push_back(now);
        while at.front().is_some_and(|first| now - *first > RESETS_WINDOW) {
            at.pop_front();
        }
        if at.len() > RESETS_MAX {
            resets.too_many.notify_one();
        }
    }
}
