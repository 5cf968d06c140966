//! Server-sent events: a run's log as a stream that can be taken up again anywhere.
//!
//! `id:` is the sequence number, so a reader that reconnects with `Last-Event-ID: N` gets N+1 onward. Nothing is queued
//! here: the next event is read when the socket took the last one, so a slow reader costs one chunk of memory.

use std::future::Future;
use std::pin::Pin;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{FutureExt as _, stream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use livery_core::Error;
use livery_platform::metrics::OpenStream;
use livery_platform::runs::{Follow, Followed};
use serde::Serialize;

use crate::app::App;
use crate::options::{EVENT_CHUNK_BYTES_MAX, EVENT_RETRY_MS};
use crate::params::Params;
use crate::problem::{Problem, Result};
use crate::streams::Seat;

const LAST_EVENT_ID: &str = "last-event-id";
/// Sequence numbers are positive and fit a database's integer.
const SEQ_MAX: u64 = i64::MAX.unsigned_abs();

/// After which event a reader wants to go on: `Last-Event-ID`, else `?after=`, else from the beginning.
///
/// # Errors
/// Either is no sequence number.
pub(crate) fn after(headers: &HeaderMap, params: &Params) -> Result<u64> {
    // Read in any case: a wrong parameter is wrong even where the header wins.
    let from_query = params.whole("after", 0, SEQ_MAX)?.unwrap_or(0);
    let Some(field) = headers.get(LAST_EVENT_ID) else { return Ok(from_query) };
    let digits = field.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let seq = digits.and_then(|text| text.parse().ok()).filter(|seq| *seq <= SEQ_MAX);
    seq.ok_or_else(|| Problem::invalid_header("Last-Event-ID", "must be the id of an event: a whole number"))
}

/// The stream as an answer. `bearer` is asked again at every heartbeat, so that a revoked key stops reading.
pub(crate) fn answer(app: App, follow: Follow, seat: Seat, bearer: String) -> Response {
    let open = app.platform.metrics().event_stream();
    let reader = Reader { app, bearer, next: read(follow), over: false, seat, open };
    let opening = stream::once(async { Ok(Bytes::from(format!("retry: {EVENT_RETRY_MS}\n\n"))) });
    let events = stream::unfold(reader, |reader| async move { reader.chunk().await });
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(futures_util::StreamExt::chain(opening, events))).into_response()
}

/// The next thing, and the reader it came from. Kept across heartbeats: a read that was begun is never dropped.
type Next = Pin<Box<dyn Future<Output = (Follow, Option<Result<Followed, Error>>)> + Send>>;

fn read(mut follow: Follow) -> Next {
    Box::pin(async move {
        let item = follow.next().await;
        (follow, item)
    })
}

struct Reader {
    app: App,
    bearer: String,
    next: Next,
    over: bool,
    #[expect(dead_code, reason = "held until the stream ends")]
    seat: Seat,
    #[expect(dead_code, reason = "counted until the stream ends")]
    open: OpenStream,
}

/// The log could not be read on; the reader connects again.
#[derive(Debug, thiserror::Error)]
#[error("the event stream broke off")]
struct Broken;

impl Reader {
    /// Waits for something to send, then takes along what is there already.
    async fn chunk(mut self) -> Option<(Result<Bytes, Broken>, Self)> {
        if self.over {
            return None;
        }
        let heartbeat = self.app.options.heartbeat;
        let first = tokio::select! {
            biased;
            () = self.app.draining.cancelled() => return None,
            first = &mut self.next => first,
            () = tokio::time::sleep(heartbeat) => return self.beat().await,
        };
        let mut out = BytesMut::new();
        let mut read_now = Some(first);
        while let Some((follow, item)) = read_now.take() {
            match item {
                Some(Ok(followed)) => frame(&followed, &mut out),
                Some(Err(error)) => {
                    tracing::warn!(%error, "an event stream broke off");
                    return Some((Err(Broken), Self { over: true, ..self }));
                }
                None => {
                    self.over = true;
                    break;
                }
            }
            self.next = read(follow);
            if out.len() < EVENT_CHUNK_BYTES_MAX {
                read_now = self.next.as_mut().now_or_never();
            }
        }
        (!out.is_empty()).then(|| (Ok(out.freeze()), self))
    }

    /// A comment that shows the connection lives; the end, when the key no longer may read.
    async fn beat(self) -> Option<(Result<Bytes, Broken>, Self)> {
        match self.app.platform.authenticate(&self.bearer).await {
            Err(Error::Unauthenticated { .. }) => None,
            // Any other failure says nothing about the key.
            _ => Some((Ok(Bytes::from_static(b": \n\n")), self)),
        }
    }
}

/// One event in the format of the WHATWG HTML standard, §9.2.
fn frame(followed: &Followed, out: &mut BytesMut) {
    match followed {
        Followed::Event(event) => {
            out.put_slice(format!("id: {}\nevent: {}\ndata: ", event.seq, event.event_type).as_bytes());
            data(event.as_ref(), out);
        }
        // Live pieces are not in the log: without an id, `Last-Event-ID` keeps naming the last event that is.
        Followed::Live { name, data: piece } => {
            out.put_slice(format!("event: {name}\ndata: ").as_bytes());
            data(piece, out);
        }
    }
    out.put_slice(b"\n\n");
}

/// JSON has no raw line ends, so the data is one line.
fn data(value: &impl Serialize, out: &mut BytesMut) {
    // Writing JSON into memory fails for no type of ours.
    let _ = serde_json::to_writer(out.writer(), value);
}

#[cfg(test)]
mod tests;
