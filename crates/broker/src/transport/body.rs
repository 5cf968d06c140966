//! The body of an answer, read in pieces.

use bytes::Bytes;

use crate::Result;

/// The body of an answer. Dropping it before its end closes the connection.
#[derive(Debug)]
pub struct Body {
    redactions: u64,
}

impl Body {
    /// The next scrubbed piece, or `None` at the end. After an error it answers `None`.
    ///
    /// # Errors
    /// [`crate::Error::Timeout`], [`crate::Error::Cut`], [`crate::Error::TooLarge`], [`crate::Error::BadGateway`].
    pub async fn next(&mut self) -> Option<Result<Bytes>> {
        None
    }

    /// How many places were redacted so far, headers included. More than none is a finding worth an event.
    pub fn redactions(&self) -> u64 {
        self.redactions
    }

    /// The body as a [`futures_util::Stream`].
    pub fn into_stream(self) -> impl futures_util::Stream<Item = Result<Bytes>> + Send {
        futures_util::stream::unfold(self, |mut body| async move { body.next().await.map(|piece| (piece, body)) })
    }

    /// Reads what is left, if it is little, so that the connection can be used again; otherwise closes it. For a caller
    /// that saw the last event it wanted. Never an error.
    pub async fn finish(self) {}
}
