//! What can go wrong with an image, in sentences for the operator.

use std::io;

use crate::Digest;

/// `Result` with this crate's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An operation on images failed. Nothing of it is left that could be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What was read is no image, or one that is built to do harm.
    #[error("{0}")]
    Invalid(String),
    /// Larger than a limit.
    #[error("{what}: more than {max}, which is the limit")]
    Limit {
        /// Of what.
        what: String,
        /// How much there may be.
        max: u64,
    },
    /// Bytes are not those that were named.
    #[error("{what} should have the SHA-256 {expected} and has {found}")]
    Digest {
        /// Which bytes.
        what: String,
        /// As named.
        expected: Digest,
        /// As found.
        found: Digest,
    },
    /// No image of that name here.
    #[error("there is no image {0}")]
    Unknown(String),
    /// Not for this machine.
    #[error("the image is for {found}, and this machine is {wanted}")]
    Platform {
        /// This machine's.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// A sandbox uses it now.
    #[error("a sandbox uses the image {0} now")]
    InUse(String),
    /// Somebody else changes the store.
    #[error("another process changes the images; try again when it is done")]
    Busy,
    /// The operating system refused.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// Why not.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::Invalid(detail.into())
    }

    pub(crate) fn limit(what: impl Into<String>, max: u64) -> Self {
        Self::Limit { what: what.into(), max }
    }
}

/// Says what was being done when the operating system refused.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| {
            let source: io::Error = source.into();
            // Readers of ours say what they refuse through the only error a reader has.
            match source.downcast::<Error>() {
                Ok(own) => own,
                Err(source) => Error::Io { doing: what(), source },
            }
        })
    }
}
