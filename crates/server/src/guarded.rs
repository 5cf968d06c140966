//! The socket under a connection, watched in three ways.
//!
//! A write that stands still for too long ends the connection: a reader who went away without a word must not hold an event
//! stream open. And when the HTTP library refuses a head it cannot parse, it answers with bare status lines of its own;
//! here they become problem documents. Such a line is told from an answer of ours by when it is written: while no request
//! is under way. And a client that still sends when the answer is written is listened to for a moment more: to close on it
//! at once would take the answer away before it is read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::options::{LINGER, LINGER_BYTES_MAX};
use crate::phase::Phase;
use crate::problem::Problem;

/// Read at a time while lingering.
const LINGER_READ_BYTES: usize = 8 * 1024;

/// The socket.
pub(crate) struct Guarded<S> {
    socket: S,
    phase: Phase,
    stall: Duration,
    /// Runs while a write stands still.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Our words in place of the library's.
    instead: Bytes,
    /// Makes the id of a request that never became one.
    request_id: Box<dyn Fn() -> String + Send>,
    /// Once the answer is written and the client still sends.
    lingering: Option<Lingering>,
}

/// How much longer a client is listened to.
struct Lingering {
    end: Pin<Box<Sleep>>,
    bytes_left: usize,
}

impl<S: AsyncWrite + Unpin> Guarded<S> {
    pub(crate) fn new(
        socket: S,
        phase: Phase,
        stall: Duration,
        request_id: impl Fn() -> String + Send + 'static,
    ) -> Self {
        let request_id = Box::new(request_id);
        Self { socket, phase, stall, stalled: None, instead: Bytes::new(), request_id, lingering: None }
    }

    /// Passes the outcome of a write on, or ends a write that stands still.
    fn watch<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let stall = self.stall;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + stall)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the reader takes nothing")))
    }

    /// Writes what stands in for the library's words.
    fn poll_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.instead.has_remaining() {
            let outcome = Pin::new(&mut self.socket).poll_write(cx, &self.instead);
            let written = ready!(self.watch(cx, outcome))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.instead.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Whether these bytes are the library's own refusal; if so, ours takes its place.
    fn replaces(&mut self, head: &[u8]) -> bool {
        if !self.phase.is_idle() {
            return false;
        }
        let Some(status) = head.strip_prefix(b"HTTP/1.1 ").and_then(|rest| StatusCode::from_bytes(rest.get(..3)?).ok())
        else {
            return false;
        };
        self.instead = refusal(status, &(self.request_id)());
        self.phase.leave_unread();
        true
    }
}

impl<S: AsyncRead + Unpin> Guarded<S> {
    /// Reads and throws away until the client is done, or has had enough.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let new = || Lingering { end: Box::pin(tokio::time::sleep(LINGER)), bytes_left: LINGER_BYTES_MAX };
        let lingering = self.lingering.get_or_insert_with(new);
        let mut scratch = [0; LINGER_READ_BYTES];
        while lingering.end.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer)).map(|()| buffer.filled().len());
            match read.ok().filter(|read| *read > 0).and_then(|read| lingering.bytes_left.checked_sub(read)) {
                Some(left) => lingering.bytes_left = left,
                None => break,
            }
        }
        Poll::Ready(())
    }
}

/// A whole answer, framed by hand: the library is past writing one.
fn refusal(status: StatusCode, request_id: &str) -> Bytes {
    let document = Problem::from_status(status).document(request_id);
    let mut answer = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\nrequest-id: {request_id}\r\n\
         cache-control: no-store\r\nx-content-type-options: nosniff\r\nconnection: close\r\n\r\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or("Error"),
        document.len(),
    )
    .into_bytes();
    answer.extend_from_slice(&document);
    answer.into()
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.replaces(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        ready!(self.poll_instead(cx))?;
        let outcome = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.watch(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if bufs.first().is_some_and(|head| self.replaces(head)) {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        ready!(self.poll_instead(cx))?;
        let outcome = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.watch(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        let outcome = Pin::new(&mut self.socket).poll_flush(cx);
        let outcome = self.watch(cx, outcome);
        if matches!(outcome, Poll::Ready(Ok(()))) {
            self.phase.flushed();
        }
        outcome
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            ready!(self.poll_instead(cx))?;
            let outcome = Pin::new(&mut self.socket).poll_shutdown(cx);
            ready!(self.watch(cx, outcome))?;
        }
        if self.phase.has_unread() {
            ready!(self.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}
