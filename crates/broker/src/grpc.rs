//! gRPC over HTTP/2: a body is a row of messages, each with a flag and its length before it. Pure: bytes in, messages out.
//!
//! A message goes on as soon as it is whole and was searched: nothing of it waits for the next, so both sides may talk at once.
//! One that is compressed is searched as what it stands for; answers go on uncompressed, and none else is asked for. A redacted
//! message has another length than its fields say: its reader sees a broken message, never the credential.

use bytes::{Buf as _, Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::transport::{decoded, folded};
use crate::{Error, Result};

/// Largest message, as it comes and once it is decoded, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The flag and the length.
const PREFIX_BYTES: usize = 5;

const BROKEN: Error = Error::BadGateway { why: "gRPC messages that cannot be read" };
const TOO_LARGE: Error = Error::TooLarge { what: "a gRPC message" };

/// Whether these headers say that their body is gRPC's.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let rest = types.next().and_then(|value| value.as_bytes().strip_prefix(b"application/grpc"));
    types.next().is_none() && rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Headers that say what the messages of a body are compressed with, one by one: those of gRPC, and of Connect.
const CODINGS: [&str; 2] = ["grpc-encoding", "connect-content-encoding"];

/// Whether this header says so. Where nobody takes messages apart, nobody searches what is in them.
pub(crate) fn hides_messages(name: &str, value: &[u8]) -> bool {
    CODINGS.contains(&folded(name).as_str()) && !value.trim_ascii().eq_ignore_ascii_case(b"identity")
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// As it came, with its prefix.
    pub whole: Bytes,
    is_compressed: bool,
}

/// Reads the messages of one body.
#[derive(Debug, Default)]
pub struct Inlet {
    bytes: BytesMut,
    /// What compressed ones are compressed with.
    coding: Option<String>,
}

impl Inlet {
    /// For a body whose head this is.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let codings = headers.get_all(CODINGS[0]).iter().map(|value| value.to_str().unwrap_or("?"));
        // Several are the name of none: readers differ in which they believe.
        let coding = codings.map(str::to_owned).reduce(|all, next| format!("{all}, {next}"));
        Self { coding, ..Self::default() }
    }

    /// For a body whose compressed messages are in this coding.
    #[must_use]
    pub fn in_coding(coding: &str) -> Self {
        Self { coding: Some(coding.to_owned()), ..Self::default() }
    }

    /// More bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message; `None`: more bytes have to come.
    ///
    /// # Errors
    /// [`Error::BadGateway`] for a flag that means nothing, [`Error::TooLarge`] as soon as the length says so.
    pub fn take(&mut self) -> Result<Option<Message>> {
        let Some(&[flag, a, b, c, d]) = self.bytes.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).map_err(|_| TOO_LARGE)?;
        match flag {
            _ if length > MESSAGE_BYTES_MAX => Err(TOO_LARGE),
            0 | 1 if self.bytes.len() < PREFIX_BYTES + length => Ok(None),
            0 | 1 => {
                let whole = self.bytes.split_to(PREFIX_BYTES + length).freeze();
                Ok(Some(Message { whole, is_compressed: flag == 1 }))
            }
            _ => Err(BROKEN),
        }
    }

    /// Whether nothing of a message is waiting for its rest.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What a message says, decoded.
    ///
    /// # Errors
    /// A coding that is not known or not named, or one that the message is not in; [`Error::TooLarge`] for what becomes too large.
    pub fn said(&self, message: &Message) -> Result<Bytes> {
        let mut said = message.whole.clone();
        said.advance(PREFIX_BYTES);
        match &self.coding {
            _ if !message.is_compressed => Ok(said),
            Some(coding) => decoded(coding, &said, MESSAGE_BYTES_MAX as u64).map(Bytes::from),
            None => Err(BROKEN),
        }
    }
}

/// Appends a message as it stands in a body, uncompressed.
///
/// # Errors
/// [`Error::TooLarge`]
pub fn write(out: &mut Vec<u8>, said: &[u8]) -> Result<()> {
    let length = u32::try_from(said.len()).map_err(|_| TOO_LARGE)?;
    out.push(0);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(said);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pieces: &[&[u8]]) -> (Vec<Bytes>, Option<Error>) {
        let (mut inlet, mut said) = (Inlet::default(), Vec::new());
        for piece in pieces {
            inlet.push(piece);
            loop {
                match inlet.take() {
                    Ok(Some(message)) => said.push(inlet.said(&message).unwrap()),
                    Ok(None) => break,
                    Err(error) => return (said, Some(error)),
                }
            }
        }
        (said, None)
    }

    #[test]
    fn messages_come_whole_wherever_the_bytes_are_cut() {
        let mut bytes = Vec::new();
        let said: Vec<Bytes> = vec!["".into(), "one".into(), vec![7; 70_000].into()];
        said.iter().for_each(|said| write(&mut bytes, said).unwrap());
        for cut in (0..40).chain([bytes.len() - 1, bytes.len()]) {
            assert_eq!(all(&[&bytes[..cut], &bytes[cut..]]), (said.clone(), None), "{cut}");
        }
    }

    /// R24: a length is refused when it is said.
    #[test]
    fn what_is_none_or_too_large_is_refused() {
        assert_eq!(all(&[b"\x02\0\0\0\0"]), (Vec::new(), Some(BROKEN)));
        assert_eq!(all(&[b"\0\0\x40\0\x01"]), (Vec::new(), Some(TOO_LARGE)));
        assert_eq!(all(&[b"\0\0\x40\0\0"]), (Vec::new(), None));
        assert_eq!(
            Inlet::default().said(&Message { whole: Bytes::from_static(b"\x01\0\0\0\0"), is_compressed: true }),
            Err(BROKEN)
        );
    }

    /// A24: readers differ in which of two codings they believe.
    #[test]
    fn a24_a_coding_that_is_named_twice_is_none() {
        let said = |codings: &[&'static str]| {
            let name = http::HeaderName::from_static("grpc-encoding");
            let headers = codings.iter().map(|coding| (name.clone(), coding.parse().unwrap()));
            let message = Message { whole: Bytes::from_static(b"\x01\0\0\0\x01x"), is_compressed: true };
            Inlet::of(&HeaderMap::from_iter(headers)).said(&message)
        };
        assert_eq!(said(&["identity"]), Ok("x".into()));
        assert!(said(&["identity", "gzip"]).is_err() && said(&["gzip", "identity"]).is_err() && said(&[]).is_err());
    }

    #[test]
    fn only_grpc_is_grpc() {
        let is = |value: &'static str| is_grpc(&HeaderMap::from_iter([(CONTENT_TYPE, value.parse().unwrap())]));
        assert!(is("application/grpc") && is("application/grpc+proto") && is("application/grpc;charset=x"));
        assert!(!is("application/grpc-web") && !is("application/json") && !is_grpc(&HeaderMap::new()));
    }
}
