//! A program for the isolate host: what the guest must know of it. The program itself passes through unread.
//!
//! Read next: `../isolate.rs` (guest) and `livery-sandbox`'s `client/code.rs` (host).

use super::message::OUTPUT_BYTES_MAX;
use super::{Error, Reader, Writer};

/// Bytes of the largest answer a program may leave.
pub const ANSWER_BYTES_MAX: u32 = 512 * 1024;

/// One program to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// Milliseconds until the host process gets SIGKILL; at least 1.
    pub timeout_ms: u32,
    /// Bytes kept of each of stdout and stderr; at most [`OUTPUT_BYTES_MAX`].
    pub output_limit: u32,
}

impl Code {
    /// As a payload.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u32(self.timeout_ms).u32(self.output_limit);
        w.into_bytes()
    }

    /// From a payload.
    ///
    /// # Errors
    /// Not this shape, no time at all, or more output than is kept.
    pub fn decode(payload: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(payload);
        let (timeout_ms, output_limit) = (r.u32()?, r.u32()?);
        r.finish()?;
        if timeout_ms == 0 || output_limit > OUTPUT_BYTES_MAX {
            return Err(Error::Malformed);
        }
        Ok(Self { timeout_ms, output_limit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_survives_the_wire_and_nothing_else_does() {
        let code = Code { timeout_ms: 5_000, output_limit: 64 };
        assert_eq!(Code::decode(&code.encode()), Ok(code));
        for wrong in [Code { timeout_ms: 0, ..code }, Code { output_limit: OUTPUT_BYTES_MAX + 1, ..code }] {
            assert_eq!(Code::decode(&wrong.encode()), Err(Error::Malformed));
        }
        assert!(Code::decode(&code.encode()[..7]).is_err());
        assert!(Code::decode(&[code.encode(), vec![0]].concat()).is_err());
    }
}
