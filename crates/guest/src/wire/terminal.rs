//! Terminals: programs that believe a person sits before them, kept open between requests.
//!
//! The guest keeps the last [`RING_BYTES`] of what a terminal showed; the host asks for it from an offset on, one question at a
//! time, and is answered once there is something. So a terminal that floods costs its host nothing, and what it showed can be read
//! later. What is typed is bounded by a window, like a command's standard input.
//!
//! Owns: the payloads, the limits, and the [`Ledger`] by which a host holds a guest to them. Read next: `../terminal.rs`.

use super::message::{Outcome, STRINGS_MAX, command, path, strings};
use super::{Error, PAYLOAD_BYTES_MAX, Reader, Writer};

/// Terminals a guest has at once, those whose program has ended and that were not closed included.
pub const TERMINALS_MAX: usize = 8;
/// Bytes kept of what a terminal showed: the last ones.
pub const RING_BYTES: usize = 256 * 1024;
/// Bytes of one answer.
pub const READ_BYTES_MAX: u32 = 32 * 1024;
/// Bytes a host may have typed that the terminal has not taken.
pub const INPUT_WINDOW_BYTES: u32 = 16 * 1024;
/// Most rows, and most columns.
pub const SIDE_MAX: u16 = 1000;

/// How large a terminal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Lines, from 1 to [`SIDE_MAX`].
    pub rows: u16,
    /// Characters of a line, from 1 to [`SIDE_MAX`].
    pub columns: u16,
}

impl Default for Size {
    fn default() -> Self {
        Self { rows: 24, columns: 80 }
    }
}

impl Size {
    /// As a payload.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let mut w = Writer::new();
        self.write(&mut w);
        w.into_bytes()
    }

    /// From a payload.
    ///
    /// # Errors
    /// Not this shape, or a side out of range.
    pub fn decode(payload: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(payload);
        let size = Self::read(&mut r)?;
        r.finish()?;
        Ok(size)
    }

    fn write(self, w: &mut Writer) {
        w.u32(self.rows.into()).u32(self.columns.into());
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        let mut side = || {
            let side = u16::try_from(r.u32()?).map_err(|_| Error::Malformed)?;
            if (1..=SIDE_MAX).contains(&side) { Ok(side) } else { Err(Error::Malformed) }
        };
        Ok(Self { rows: side()?, columns: side()? })
    }
}

/// A terminal to open, and the program that leads its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// Program and arguments; a program without a slash is looked up in `PATH` of `env`.
    pub argv: Vec<Vec<u8>>,
    /// `NAME=value`; this is the whole environment.
    pub env: Vec<Vec<u8>>,
    /// Absolute working directory.
    pub cwd: Vec<u8>,
    /// How large it begins.
    pub size: Size,
    /// Whether it only passes bytes on: no echo, no key that signals, ends or erases anything but Ctrl-D, which ends the input.
    pub plain: bool,
}

impl Open {
    /// As a payload.
    ///
    /// # Errors
    /// The command and its environment do not fit one frame.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let mut w = Writer::new();
        w.bytes(&self.cwd);
        self.size.write(&mut w);
        w.u8(self.plain.into());
        command(w, &self.argv, &self.env)
    }

    /// From a payload.
    ///
    /// # Errors
    /// Not this shape, an empty command, or a string with a NUL.
    pub fn decode(payload: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(payload);
        let cwd = path(&mut r)?;
        let size = Size::read(&mut r)?;
        let plain = match r.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Error::Malformed),
        };
        let argv = strings(&mut r)?;
        let env = strings(&mut r)?;
        r.finish()?;
        if argv.is_empty() || argv.len() + env.len() > STRINGS_MAX {
            return Err(Error::Malformed);
        }
        Ok(Self { argv, env, cwd, size, plain })
    }
}

/// Asks what a terminal shows from an offset on. A later question takes the place of one that was not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// Counts up from 1 for each terminal, and comes back in the answer.
    pub ticket: u32,
    /// Bytes since the terminal was opened.
    pub offset: u64,
    /// Most bytes wanted, at most [`READ_BYTES_MAX`].
    pub limit: u32,
}

impl Read {
    /// As a payload.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u32(self.ticket).u64(self.offset).u32(self.limit);
        w.into_bytes()
    }

    /// From a payload.
    ///
    /// # Errors
    /// Not this shape, or too much at once.
    pub fn decode(payload: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(payload);
        let (ticket, offset, limit) = (r.u32()?, r.u64()?, r.u32()?);
        r.finish()?;
        if limit == 0 || limit > READ_BYTES_MAX {
            return Err(Error::Malformed);
        }
        Ok(Self { ticket, offset, limit })
    }
}

/// What a terminal shows. It is sent once there is something from the offset on, or the program has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output<'a> {
    /// Of the question.
    pub ticket: u32,
    /// Where `bytes` begin: the offset that was asked for, or later where the ring has lost what came before.
    pub start: u64,
    /// How the program ended; `None`: it runs, or there is more to read.
    pub ended: Option<Outcome>,
    /// What came next.
    pub bytes: &'a [u8],
}

impl<'a> Output<'a> {
    /// As a payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (tag, value) = match self.ended {
            None | Some(Outcome::Background(_)) => (0, 0),
            Some(Outcome::Code(code)) => (1, code.cast_unsigned()),
            Some(Outcome::Signal(signal)) => (2, signal.cast_unsigned()),
        };
        let mut w = Writer::new();
        w.u32(self.ticket).u64(self.start).u8(tag).u32(value).rest(self.bytes);
        w.into_bytes()
    }

    /// From a payload.
    ///
    /// # Errors
    /// Not this shape.
    pub fn decode(payload: &'a [u8]) -> Result<Self, Error> {
        let mut r = Reader::new(payload);
        let (ticket, start) = (r.u32()?, r.u64()?);
        let ended = match (r.u8()?, r.u32()?) {
            (0, 0) => None,
            (1, code) => Some(Outcome::Code(code.cast_signed())),
            (2, signal) => Some(Outcome::Signal(signal.cast_signed())),
            _ => return Err(Error::Malformed),
        };
        Ok(Self { ticket, start, ended, bytes: r.rest() })
    }
}

/// The host's books of one terminal. Pure: it says what is allowed and holds no byte of it.
#[derive(Debug)]
pub struct Ledger {
    /// The last question asked.
    asked: Option<Read>,
    /// The ticket of the last one that was answered.
    answered: u32,
    /// Bytes typed that the guest has not granted back.
    owed: u32,
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

impl Ledger {
    /// Of a terminal just opened.
    #[must_use]
    pub const fn new() -> Self {
        Self { asked: None, answered: 0, owed: 0 }
    }

    /// Books the next question and answers it.
    pub fn asks(&mut self, offset: u64, limit: u32) -> Read {
        let ticket = self.asked.map_or(0, |read| read.ticket).saturating_add(1);
        let read = Read { ticket, offset, limit: limit.clamp(1, READ_BYTES_MAX) };
        self.asked = Some(read);
        read
    }

    /// Books an answer. `None`: it is to a question that another has taken the place of.
    ///
    /// # Errors
    /// The guest may not say this: nobody asked, it was answered before, it is longer than was asked for, it goes back, or it
    /// says nothing of a program that runs.
    pub fn answers<'a>(&mut self, payload: &'a [u8]) -> Result<Option<Output<'a>>, Error> {
        let output = Output::decode(payload)?;
        let asked = self.asked.ok_or(Error::Malformed)?;
        if output.ticket <= self.answered || output.ticket > asked.ticket || output.bytes.len() > PAYLOAD_BYTES_MAX {
            return Err(Error::Malformed);
        }
        self.answered = output.ticket;
        if output.ticket < asked.ticket {
            return Ok(None);
        }
        let length = u32::try_from(output.bytes.len()).map_err(|_| Error::TooLong)?;
        let goes_on = output.start.checked_add(length.into()).is_some();
        if length > asked.limit || output.start < asked.offset || !goes_on || (length == 0 && output.ended.is_none()) {
            return Err(Error::Malformed);
        }
        Ok(Some(output))
    }

    /// Bytes that may be typed now.
    #[must_use]
    pub const fn room(&self) -> u32 {
        INPUT_WINDOW_BYTES - self.owed
    }

    /// Books what is about to be typed. `false`: the window does not hold it.
    pub fn types(&mut self, bytes: u32) -> bool {
        let fits = bytes <= self.room();
        if fits {
            self.owed += bytes;
        }
        fits
    }

    /// Books what the guest has taken.
    ///
    /// # Errors
    /// It was never typed.
    pub fn granted(&mut self, bytes: u32) -> Result<(), Error> {
        self.owed = self.owed.checked_sub(bytes).ok_or(Error::Malformed)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
