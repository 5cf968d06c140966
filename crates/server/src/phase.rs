//! Where a connection is between request and answer, as the bodies of both tell its socket.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

const IDLE: u8 = 0;
const ANSWERING: u8 = 1;
const ANSWERED: u8 = 2;

/// Shared by the socket, the service and both bodies of a connection. All of them live in one task.
#[derive(Debug, Clone, Default)]
pub(crate) struct Phase(Arc<State>);

#[derive(Debug, Default)]
struct State {
    step: AtomicU8,
    unread: AtomicBool,
    switched: AtomicBool,
}

impl Phase {
    /// A request came.
    pub(crate) fn request(&self) {
        self.0.step.store(ANSWERING, Ordering::Relaxed);
    }

    /// The answer's last byte is with the HTTP library.
    fn answered(&self) {
        self.0.step.store(ANSWERED, Ordering::Relaxed);
    }

    /// Everything was written: what follows is the next request.
    pub(crate) fn flushed(&self) {
        // In any other step there is nothing to do.
        let _ = self.0.step.compare_exchange(ANSWERED, IDLE, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The connection speaks another protocol from here on.
    pub(crate) fn switch(&self) {
        self.0.switched.store(true, Ordering::Relaxed);
    }

    /// Whether no request is under way, and another may come.
    pub(crate) fn is_idle(&self) -> bool {
        self.0.step.load(Ordering::Relaxed) == IDLE && !self.0.switched.load(Ordering::Relaxed)
    }

    /// The client may still be sending what nobody will read.
    pub(crate) fn leave_unread(&self) {
        self.0.unread.store(true, Ordering::Relaxed);
    }

    /// Whether something was left unread.
    pub(crate) fn has_unread(&self) -> bool {
        self.0.unread.load(Ordering::Relaxed)
    }
}

/// A request's body that tells when it was not read to its end.
pub(crate) struct Arriving {
    body: Incoming,
    phase: Phase,
}

impl Arriving {
    pub(crate) fn new(body: Incoming, phase: Phase) -> Self {
        Self { body, phase }
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if !self.body.is_end_stream() {
            self.phase.leave_unread();
        }
    }
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body that tells when it is over.
pub(crate) struct Tracked {
    body: Body,
    phase: Phase,
}

impl Tracked {
    pub(crate) fn new(body: Body, phase: Phase) -> Self {
        Self { body, phase }
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.phase.answered();
    }
}

impl HttpBody for Tracked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
