//! The body of a request on its way out: whole, or in pieces while they come.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::{AbortHandle, Abortable};
use futures_util::{Stream, StreamExt as _};
use http::Request;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::Error;

/// A body as the connection takes it.
pub(super) type Sent = UnsyncBoxBody<Bytes, Error>;

/// What is sent after a request's head.
pub enum Upload {
    /// All of it is here: sent with its length, and again if need be.
    Whole(Bytes),
    /// The rest is still coming: sent once, while it comes. An error ends the connection in the middle of the message, so that
    /// no part of it passes for the whole.
    Pieces {
        /// What of it is here already, for whoever looks at it before it is sent; `pieces` begin with it.
        first: Bytes,
        /// The pieces, in order.
        pieces: Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>,
        /// All bytes together, where the sender has said so.
        length: Option<u64>,
    },
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(bytes) => f.debug_tuple("Whole").field(&bytes.len()).finish(),
            Self::Pieces { length, .. } => f.debug_struct("Pieces").field("length", length).finish_non_exhaustive(),
        }
    }
}

impl Default for Upload {
    fn default() -> Self {
        Self::Whole(Bytes::new())
    }
}

impl<T: Into<Bytes>> From<T> for Upload {
    fn from(bytes: T) -> Self {
        Self::Whole(bytes.into())
    }
}

impl Upload {
    /// All of it, read to its end: for a request that is signed with its body.
    ///
    /// # Errors
    /// [`Error::TooLarge`] beyond `bytes_max`; those of the pieces.
    pub(crate) async fn whole(self, bytes_max: usize) -> Result<Bytes, Error> {
        let mut pieces = match self {
            Self::Whole(bytes) => return Ok(bytes),
            Self::Pieces { pieces, .. } => pieces,
        };
        let mut all = Vec::new();
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            if all.len() + piece.len() > bytes_max {
                return Err(Error::TooLarge { what: "the body of a request to be signed" });
            }
            all.extend_from_slice(&piece);
        }
        Ok(all.into())
    }

    /// Its bytes, as far as they are known.
    pub const fn length(&self) -> Option<u64> {
        match self {
            Self::Whole(bytes) => Some(bytes.len() as u64),
            Self::Pieces { length, .. } => *length,
        }
    }
}

/// When a piece of a body was last asked for: an upstream is waited for from then on.
#[derive(Clone)]
pub(super) struct Pulse(Arc<Mutex<Instant>>);

impl Pulse {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub(super) fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is still to be sent of a body. Dropping it breaks the sending off: an answer that is over, or that nobody waits for any
/// more, ends its request too, so that nothing leaves of which nobody gives an account.
#[derive(Default)]
pub(super) struct Leash {
    /// `None`: there is nothing that comes in pieces.
    rest: Option<(AbortHandle, Arc<AtomicBool>)>,
}

impl Leash {
    /// Whether all of the body has been handed on.
    pub(super) fn is_sent(&self) -> bool {
        self.rest.as_ref().is_none_or(|(_, is_sent)| is_sent.load(Ordering::SeqCst))
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        if let Some((rest, _)) = &self.rest {
            rest.abort();
        }
    }
}

/// A request that may have to be sent on another connection.
pub(super) struct Outgoing {
    head: Request<()>,
    /// What is sent again; `None`: a body in pieces goes once.
    whole: Option<Bytes>,
    first: Option<Request<Sent>>,
    pub(super) pulse: Pulse,
    pub(super) leash: Leash,
}

impl Outgoing {
    pub(super) fn new(head: Request<()>, upload: Upload) -> Self {
        let pulse = Pulse::new();
        let (whole, first, leash) = match upload {
            Upload::Whole(bytes) => (Some(bytes), None, Leash::default()),
            Upload::Pieces { pieces, length, .. } => {
                let (handle, registration) = AbortHandle::new_pair();
                let is_sent = Arc::<AtomicBool>::default();
                let leash = Leash { rest: Some((handle, Arc::clone(&is_sent))) };
                let pieces = Abortable::new(pieces, registration);
                let body = Pieces { pieces, left: length, pulse: pulse.clone(), is_sent }.boxed_unsync();
                (None, Some(head.clone().map(|()| body)), leash)
            }
        };
        Self { head, whole, first, pulse, leash }
    }

    /// The request, if it can be sent (once more).
    pub(super) fn request(&mut self) -> Option<Request<Sent>> {
        self.pulse.beat();
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let body = Full::new(self.whole.clone()?).map_err(|never| match never {}).boxed_unsync();
        Some(self.head.clone().map(|()| body))
    }

    /// Takes a request back of which not a byte has left.
    pub(super) fn unsent(&mut self, request: Request<Sent>) {
        if self.whole.is_none() {
            self.first = Some(request);
        }
    }

    /// Whether the upstream may get it twice: a safe method, or a key by which it knows a repetition.
    pub(super) fn is_repeatable(&self) -> bool {
        self.whole.is_some() && (self.head.method().is_safe() || self.head.headers().contains_key("idempotency-key"))
    }
}

type Coming = Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>;

struct Pieces {
    pieces: Abortable<Coming>,
    left: Option<u64>,
    pulse: Pulse,
    is_sent: Arc<AtomicBool>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = self.pieces.poll_next_unpin(cx);
        if polled.is_ready() {
            self.pulse.beat();
        }
        if let (Poll::Ready(Some(Ok(piece))), Some(left)) = (&polled, &mut self.left) {
            *left = left.saturating_sub(piece.len() as u64);
        }
        let is_over = matches!(polled, Poll::Ready(None));
        if is_over && self.pieces.is_aborted() {
            // Broken off, it has no end that could pass for one.
            return Poll::Ready(Some(Err(Error::Cut)));
        }
        if is_over || self.left == Some(0) {
            self.is_sent.store(true, Ordering::SeqCst);
        }
        polled.map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
