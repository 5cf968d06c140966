//! Remembers every byte a connection received, headers and all, before anything has looked at it.
//!
//! Refused: more than [`CAPTURE_BYTES_MAX`] in all; a capture that overflowed says so instead of missing a canary quietly.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The most bytes kept over all connections of one server.
pub(crate) const CAPTURE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What one connection received.
type Bytes = Mutex<Vec<u8>>;

/// All bytes received, connection by connection.
#[derive(Debug, Default)]
pub(crate) struct Capture {
    connections: Mutex<Vec<Arc<Bytes>>>,
    held: AtomicUsize,
    overflowed: AtomicBool,
}

impl Capture {
    /// Whether some connection received this.
    ///
    /// # Panics
    /// The capture has overflowed: the answer would be a guess.
    pub(crate) fn saw(&self, needle: &str) -> bool {
        assert!(
            !self.overflowed.load(Ordering::SeqCst),
            "more than {CAPTURE_BYTES_MAX} bytes were received, not all are kept"
        );
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        // The standard library's search of texts is fast in a build for tests, too.
        connections.iter().any(|bytes| {
            let bytes = bytes.lock().unwrap_or_else(PoisonError::into_inner);
            String::from_utf8_lossy(&bytes).contains(needle)
        })
    }

    fn keep(&self, into: &Bytes, bytes: &[u8]) {
        if self.held.fetch_add(bytes.len(), Ordering::SeqCst) + bytes.len() > CAPTURE_BYTES_MAX {
            self.overflowed.store(true, Ordering::SeqCst);
            return;
        }
        into.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
    }
}

/// A connection that is listened in on, and that can end with a reset instead of a goodbye.
pub(crate) struct Tapped {
    stream: TcpStream,
    capture: Option<(Arc<Capture>, Arc<Bytes>)>,
    reset: Arc<AtomicBool>,
}

impl Tapped {
    /// With a capture, the bytes are kept. `reset` may be set at any time before the connection ends.
    pub(crate) fn new(stream: TcpStream, capture: Option<Arc<Capture>>, reset: Arc<AtomicBool>) -> Self {
        let capture = capture.map(|capture| {
            let bytes = Arc::new(Mutex::new(Vec::new()));
            capture.connections.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&bytes));
            (capture, bytes)
        });
        Self { stream, capture, reset }
    }
}

impl Drop for Tapped {
    fn drop(&mut self) {
        if self.reset.load(Ordering::SeqCst) {
            // Closing without lingering sends a reset. If the kernel refuses, the peer sees an early end: still a failure.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Tapped {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let (Poll::Ready(Ok(())), Some((capture, bytes))) = (&outcome, &self.capture) {
            capture.keep(bytes, &buf.filled()[before..]);
        }
        outcome
    }
}

impl AsyncWrite for Tapped {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if self.reset.load(Ordering::SeqCst) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
