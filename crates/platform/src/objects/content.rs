//! Bytes on their way out, checked as they pass: the last piece is given away only when the whole was what was stored.

use std::fmt;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::Fuse;
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use super::{Failure, PIECE_BYTES, Pieces};
use crate::files::hex;

/// The content of an object, piece by piece.
pub struct Content {
    key: String,
    pieces: Fuse<Pieces>,
    left: u64,
    sha256: String,
    /// `None` once the end or a failure was reached.
    digest: Option<Sha256>,
    /// Held while pieces are on their way.
    _permit: OwnedSemaphorePermit,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content").field("key", &self.key).field("left", &self.left).finish_non_exhaustive()
    }
}

impl Content {
    pub(super) fn new(key: &str, pieces: Pieces, bytes: u64, sha256: &str, permit: OwnedSemaphorePermit) -> Self {
        let digest = Some(Sha256::new());
        Self {
            key: key.to_owned(),
            pieces: pieces.fuse(),
            left: bytes,
            sha256: sha256.to_owned(),
            digest,
            _permit: permit,
        }
    }

    /// The next piece, of a few hundred KiB at most; `None` after the last one.
    ///
    /// # Errors
    /// [`Failure`]: the pieces so far are not the whole. No piece comes after it.
    pub async fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        let digest = self.digest.take()?;
        match self.checked(digest).await {
            Ok(piece) if piece.is_empty() => None,
            Ok(piece) => Some(Ok(piece)),
            Err(failure) => {
                failure.log("get", &self.key);
                Some(Err(failure))
            }
        }
    }

    async fn checked(&mut self, digest: Sha256) -> Result<Bytes, Failure> {
        let piece = self.gather().await?;
        let length = piece.len() as u64;
        if length > self.left || (length == 0 && self.left > 0) {
            return Err(Failure::Damaged);
        }
        self.left -= length;
        let hash = {
            let piece = piece.clone();
            move || digest.chain_update(&piece)
        };
        // Hashing is work: it is done where nobody waits for an answer.
        let digest = tokio::task::spawn_blocking(hash).await.map_err(|_| Failure::Nonsense)?;
        if self.left > 0 {
            self.digest = Some(digest);
        } else if hex(&digest.finalize()) != self.sha256 {
            return Err(Failure::Damaged);
        } else if self.pieces.next().await.is_some() {
            // More than was stored, or a source that fails at its end: either way not the same object.
            return Err(Failure::Damaged);
        }
        Ok(piece)
    }

    /// About a piece's worth of bytes; empty at the end.
    async fn gather(&mut self) -> Result<Bytes, Failure> {
        let mut gathered = BytesMut::new();
        while gathered.len() < PIECE_BYTES {
            match self.pieces.next().await.transpose()? {
                None => break,
                Some(piece) if gathered.is_empty() && piece.len() >= PIECE_BYTES => return Ok(piece),
                Some(piece) => gathered.extend_from_slice(&piece),
            }
        }
        Ok(gathered.freeze())
    }
}
