//! The body of a program's request: searched for placeholders on its way, and sent while it comes when it is long.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use sha2::{Digest, Sha256};

use super::placeholder::{Finder, HOLD_BYTES, Misplaced};
use super::refusal::Refusal;
use crate::Error;
use crate::grpc;
use crate::transport::Upload;

/// Largest request body, in bytes.
pub const REQUEST_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes that are there before anything of a request is sent: what is refused within them was sent to nobody.
pub const LOOKED_INTO_BYTES: usize = 256 * 1024;

/// A request's body, in pieces. What comes out holds no placeholder: the end is held back until it is known.
pub struct AskedBody {
    incoming: Incoming,
    finder: Finder,
    /// Of gRPC: its messages, each looked into and sent by itself.
    messages: Option<grpc::Inlet>,
    held: BytesMut,
    received: u64,
    over: bool,
}

impl fmt::Debug for AskedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AskedBody").field("received", &self.received).finish_non_exhaustive()
    }
}

/// What became of a body that was sent while it came.
#[derive(Clone, Default)]
pub struct Account(Arc<Mutex<Sum>>);

#[derive(Default)]
struct Sum {
    bytes: u64,
    hash: Sha256,
    stopped: Option<Refusal>,
}

impl Account {
    /// Bytes that were handed on so far, and their SHA-256 in hex.
    pub fn sum(&self) -> (u64, String) {
        let sum = self.lock();
        (sum.bytes, sum.hash.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Why the body was broken off, if it was.
    pub fn stopped(&self) -> Option<Refusal> {
        self.lock().stopped.clone()
    }

    fn take(&self, piece: Result<Bytes, Refusal>) -> Result<Bytes, Error> {
        let mut sum = self.lock();
        match piece {
            Ok(piece) => {
                sum.bytes += piece.len() as u64;
                sum.hash.update(&piece);
                Ok(piece)
            }
            Err(refusal) => {
                sum.stopped = Some(refusal);
                Err(Error::Cut)
            }
        }
    }

    /// A panic while it was held left it whole enough: a digest of what is not sent any more.
    fn lock(&self) -> MutexGuard<'_, Sum> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AskedBody {
    pub(super) fn new(incoming: Incoming, messages: Option<grpc::Inlet>) -> Self {
        Self { incoming, finder: Finder::default(), messages, held: BytesMut::new(), received: 0, over: false }
    }

    /// The body as it is sent: whole when it ends within [`LOOKED_INTO_BYTES`]; else the rest follows, and the account of it.
    ///
    /// # Errors
    /// A placeholder or a broken end within those bytes, or a length beyond [`REQUEST_BYTES_MAX`].
    pub async fn upload(mut self) -> Result<(Upload, Option<Account>), Refusal> {
        let length = self.incoming.size_hint().exact();
        if length.is_some_and(|length| length > REQUEST_BYTES_MAX) {
            return Err(Refusal::TooLarge);
        }
        let mut first = BytesMut::new();
        // What both sides say by turns cannot be waited for.
        while self.messages.is_none() && first.len() < LOOKED_INTO_BYTES {
            match self.next().await? {
                Some(piece) => first.extend_from_slice(&piece),
                None => return Ok((Upload::Whole(first.freeze()), None)),
            }
        }
        let account = Account::default();
        let counted = account.clone();
        let first = first.freeze();
        let pieces = futures_util::stream::unfold(
            (Some(first.clone()).filter(|first| !first.is_empty()), Some(self)),
            move |(first, body)| {
                let account = counted.clone();
                async move {
                    let mut body = body?;
                    let piece = match first {
                        Some(first) => Ok(first),
                        None => body.next_sent().await.transpose()?,
                    };
                    let piece = account.take(piece);
                    let body = piece.is_ok().then_some(body);
                    Some((piece, (None, body)))
                }
            },
        );
        Ok((Upload::Pieces { first, pieces: Box::pin(pieces), length }, Some(account)))
    }

    async fn next_sent(&mut self) -> Result<Option<Bytes>, Refusal> {
        if self.messages.is_some() { self.next_message().await } else { self.next().await }
    }

    /// The next message of gRPC, `None` after the last.
    async fn next_message(&mut self) -> Result<Option<Bytes>, Refusal> {
        let broken = |_| Refusal::Malformed("a gRPC message that cannot be looked into");
        loop {
            let Some(messages) = &mut self.messages else { return Ok(None) };
            if let Some(message) = messages.take().map_err(broken)? {
                let said = messages.said(&message).map_err(broken)?;
                if !self.finder.push(&said).is_empty() {
                    return Err(Refusal::Placeholder(Misplaced::Body));
                }
                return Ok(Some(message.whole));
            }
            let Some(frame) = self.incoming.frame().await else {
                return if messages.is_empty() { Ok(None) } else { Err(Refusal::BrokenOff) };
            };
            let Ok(piece) = frame.map_err(|_| Refusal::BrokenOff)?.into_data() else { continue };
            self.received += piece.len() as u64;
            if self.received > REQUEST_BYTES_MAX {
                return Err(Refusal::TooLarge);
            }
            messages.push(&piece);
        }
    }

    /// The next piece, `None` after the last.
    ///
    /// # Errors
    /// A placeholder, too many bytes, or a client that broke off. What was sent of the request must not be completed.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        while !self.over {
            let Some(frame) = self.incoming.frame().await else {
                self.over = true;
                break;
            };
            // A client's trailers go nowhere.
            let Ok(piece) = frame.map_err(|_| Refusal::BrokenOff)?.into_data() else { continue };
            self.received += piece.len() as u64;
            if self.received > REQUEST_BYTES_MAX {
                return Err(Refusal::TooLarge);
            }
            if !self.finder.push(&piece).is_empty() {
                return Err(Refusal::Placeholder(Misplaced::Body));
            }
            self.held.extend_from_slice(&piece);
            if self.held.len() > HOLD_BYTES {
                return Ok(Some(self.held.split_to(self.held.len() - HOLD_BYTES).freeze()));
            }
        }
        Ok((!self.held.is_empty()).then(|| self.held.split().freeze()))
    }
}
