//! The body of an answer, read in pieces: each with a deadline, all together with a size, and every byte past the scrubber.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use tokio::time::{Instant, timeout_at};

use super::coding::Decoding;
use super::headers;
use super::outbound::{Finding, Place, Relayed};
use super::pool::{Permit, Pool, PoolKey};
use super::send::classify;
use super::upload::Leash;
use super::wire::Wire;
use crate::error::Phase;
use crate::grpc;
use crate::scrub::{Framing, Scrubber};
use crate::{Error, Result};

/// What [`Body::finish`] reads at most to save a connection, in bytes and in time.
const DRAIN_BYTES_MAX: u64 = 64 * 1024;
const DRAIN_TIME_MAX: Duration = Duration::from_millis(50);
/// Most headers behind a body.
const TRAILERS_MAX: usize = 100;

/// The body of an answer. Dropping it before its end closes the connection.
pub struct Body {
    /// `None` once the end or an error was reached.
    flow: Option<Flow>,
    decoding: Decoding,
    scrubber: Scrubber,
    /// Of gRPC: its messages, each searched and handed on by itself.
    messages: Option<grpc::Inlet>,
    idle: Duration,
    deadline: Instant,
    received: u64,
    bytes_max: u64,
    redactions_head: u64,
    relayed: Relayed,
    trailers: Option<HeaderMap>,
    trailer_findings: Vec<Finding>,
}

/// What is held while bytes still come.
pub(super) struct Flow {
    pub(super) incoming: Incoming,
    pub(super) wire: Wire,
    pub(super) pool: Arc<Pool>,
    pub(super) key: PoolKey,
    /// Counts the call as in flight.
    pub(super) permit: Permit,
    /// What is still sent of the request.
    pub(super) leash: Leash,
}

/// The limits of one body.
pub(super) struct BodyLimits {
    pub(super) idle: Duration,
    pub(super) deadline: Instant,
    pub(super) bytes_max: u64,
    /// Whether what stands behind it comes back.
    pub(super) relayed: Relayed,
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("received", &self.received).field("ended", &self.flow.is_none()).finish()
    }
}

impl Body {
    pub(super) fn new(
        flow: Flow,
        decoding: Decoding,
        scrubber: Scrubber,
        redactions_head: u64,
        limits: &BodyLimits,
    ) -> Self {
        Self {
            flow: Some(flow),
            decoding,
            scrubber,
            messages: None,
            idle: limits.idle,
            deadline: limits.deadline,
            received: 0,
            bytes_max: limits.bytes_max,
            redactions_head,
            relayed: limits.relayed,
            trailers: None,
            trailer_findings: Vec::new(),
        }
    }

    /// The same, of gRPC's messages.
    pub(super) fn of_messages(self, messages: Option<grpc::Inlet>) -> Self {
        Self { messages, ..self }
    }

    /// A body without a byte, of an answer that is none.
    pub(super) fn none() -> Self {
        Self {
            flow: None,
            decoding: Decoding::default(),
            scrubber: Scrubber::new(None, Framing::None),
            messages: None,
            idle: Duration::ZERO,
            deadline: Instant::now(),
            received: 0,
            bytes_max: 0,
            redactions_head: 0,
            relayed: Relayed::default(),
            trailers: None,
            trailer_findings: Vec::new(),
        }
    }

    /// The next scrubbed piece, never empty, or `None` at the end. After an error it answers `None`.
    ///
    /// Cancel safe: a dropped `next` loses nothing.
    ///
    /// # Errors
    /// [`crate::Error::Timeout`], [`crate::Error::Cut`], [`crate::Error::TooLarge`], [`crate::Error::BadGateway`].
    pub async fn next(&mut self) -> Option<Result<Bytes>> {
        loop {
            let received = self.receive().await?;
            let piece = match received {
                Ok(Received::Piece(piece)) => self.scrub(piece),
                Ok(Received::End) => self.end(),
                Err(error) => Err(error),
            };
            match piece {
                Ok(piece) if piece.is_empty() && self.flow.is_some() => {}
                Ok(piece) if piece.is_empty() => return None,
                Ok(piece) => return Some(Ok(piece)),
                Err(error) => {
                    self.flow = None;
                    return Some(Err(error));
                }
            }
        }
    }

    /// How many places were redacted so far, headers included. More than none is a finding worth an event.
    pub fn redactions(&self) -> u64 {
        self.redactions_head + self.scrubber.redactions()
    }

    /// What was found so far, in the body and behind it.
    pub fn findings(&self) -> Vec<Finding> {
        let found = self.scrubber.redactions() > 0;
        let body = found.then(|| Finding { place: Place::Body, variants: self.scrubber.variants() });
        body.into_iter().chain(self.trailer_findings.iter().cloned()).collect()
    }

    /// What stands behind the body, scrubbed, once [`Body::next`] has said that it is over; where all of a head comes back.
    pub const fn take_end(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }

    /// Ends it here: nothing more is received, and nothing more of the request is sent.
    pub fn hang_up(&mut self) {
        self.flow = None;
    }

    /// The body as a [`futures_util::Stream`].
    pub fn into_stream(self) -> impl futures_util::Stream<Item = Result<Bytes>> + Send {
        futures_util::stream::unfold(self, |mut body| async move { body.next().await.map(|piece| (piece, body)) })
    }

    /// The body and what stands behind it, as frames of an answer.
    pub fn into_frames(self) -> impl futures_util::Stream<Item = Result<Frame<Bytes>>> + Send {
        futures_util::stream::unfold(self, |mut body| async move {
            let frame = match body.next().await {
                Some(piece) => piece.map(Frame::data),
                None => Ok(Frame::trailers(body.take_end()?)),
            };
            Some((frame, body))
        })
    }

    /// Reads what is left, if it is little, so that the connection can be used again; otherwise closes it. For a caller
    /// that saw the last event it wanted. Never an error.
    pub async fn finish(mut self) {
        self.bytes_max = self.bytes_max.min(self.received + DRAIN_BYTES_MAX);
        self.deadline = self.deadline.min(Instant::now() + DRAIN_TIME_MAX);
        while let Some(Ok(_)) = self.next().await {}
    }

    /// One frame off the wire, or `None` when the body is over.
    async fn receive(&mut self) -> Option<Result<Received>> {
        let flow = self.flow.as_mut()?;
        let idle = Instant::now() + self.idle;
        let phase = if idle < self.deadline { Phase::Idle } else { Phase::Total };
        let frame = match timeout_at(idle.min(self.deadline), flow.incoming.frame()).await {
            Err(_) => return Some(Err(Error::Timeout { phase })),
            Ok(None) => return Some(Ok(Received::End)),
            Ok(Some(Err(error))) => return Some(Err(classify(&error))),
            Ok(Some(Ok(frame))) => frame,
        };
        let piece = match frame.into_data() {
            Ok(piece) => piece,
            Err(frame) => {
                return Some(
                    self.take_trailers(frame.into_trailers().unwrap_or_default())
                        .map(|()| Received::Piece(Bytes::new())),
                );
            }
        };
        self.received += piece.len() as u64;
        if self.received > self.bytes_max {
            return Some(Err(Error::TooLarge { what: "the upstream's answer" }));
        }
        Some(Ok(Received::Piece(piece)))
    }

    /// What stands behind the body, searched like what stands before it.
    fn take_trailers(&mut self, received: HeaderMap) -> Result<()> {
        if received.len() > TRAILERS_MAX {
            return Err(Error::TooLarge { what: "what follows the upstream's answer" });
        }
        // Whoever takes part of a head has no use for what follows the body.
        if self.relayed == Relayed::All {
            let (trailers, findings) = headers::project(&received, self.relayed, self.scrubber.matcher());
            (self.trailers, self.trailer_findings) = (Some(trailers), findings);
        }
        Ok(())
    }

    fn scrub(&mut self, piece: Bytes) -> Result<Bytes> {
        let piece = if self.decoding.is_active() { self.decoding.push(&piece)?.into() } else { piece };
        if !self.scrubber.is_active() {
            return Ok(piece);
        }
        if let Some(messages) = &mut self.messages {
            messages.push(&piece);
            return self.scrub_messages();
        }
        let mut out = Vec::with_capacity(piece.remaining());
        self.scrubber.push(&piece, &mut out)?;
        Ok(out.into())
    }

    /// Every message that is whole, without the key.
    fn scrub_messages(&mut self) -> Result<Bytes> {
        let mut out = Vec::new();
        while let Some(messages) = &mut self.messages
            && let Some(message) = messages.take()?
        {
            let mut said = Vec::new();
            self.scrubber.message(&messages.said(&message)?, &mut said);
            grpc::write(&mut out, &said)?;
        }
        Ok(out.into())
    }

    /// The clean end: the tail comes out, the connection goes back.
    fn end(&mut self) -> Result<Bytes> {
        let mut out = Vec::new();
        let tail = self.decoding.finish()?;
        if let Some(messages) = &mut self.messages {
            messages.push(&tail);
            out.extend_from_slice(&self.scrub_messages()?);
            if !self.messages.as_ref().is_none_or(grpc::Inlet::is_empty) {
                return Err(Error::Cut);
            }
        } else {
            self.scrubber.push(&tail, &mut out)?;
            self.scrubber.finish(&mut out);
        }
        if let Some(Flow { incoming, wire, pool, key, permit, leash }) = self.flow.take() {
            let is_sent = leash.is_sent();
            drop((incoming, permit, leash));
            // One that is shared is in the pool already; one whose request is not over is good for no other.
            if wire.share().is_none() && is_sent {
                pool.put(key, wire);
            }
        }
        Ok(out.into())
    }
}

enum Received {
    Piece(Bytes),
    End,
}
