//! Background commands, as a guest lists them.

use super::{Error, Reader, Writer};

/// One background command that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// The number of the request that started it.
    pub stream: u32,
    /// Its process number, inside.
    pub pid: u32,
}

impl Job {
    /// Appends it to a payload of jobs.
    pub fn encode(self, w: &mut Writer) {
        w.u32(self.stream).u32(self.pid);
    }

    /// The next job of a payload.
    ///
    /// # Errors
    /// Not this shape.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self { stream: r.u32()?, pid: r.u32()? })
    }
}
