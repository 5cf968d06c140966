//! Frames as bytes: the head of one that comes, and one that goes.

use super::message::{Sender, Violation};
use super::{FRAME_BYTES_MAX, MESSAGE_BYTES_MAX};

const _: () = assert!(FRAME_BYTES_MAX <= MESSAGE_BYTES_MAX);

/// Largest payload of a control frame, in bytes.
pub(super) const CONTROL_BYTES_MAX: usize = 125;

pub(super) const CONTINUATION: u8 = 0;
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// What stands before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) is_last: bool,
    pub(super) opcode: u8,
    pub(super) mask: Option<[u8; 4]>,
    /// Bytes of the head.
    pub(super) size: usize,
    /// Bytes of the payload.
    pub(super) length: usize,
}

impl Head {
    pub(super) const fn is_control(self) -> bool {
        self.opcode >= CLOSE
    }

    /// The head these bytes begin with; `None`: more of it has to come.
    pub(super) fn read(bytes: &[u8], sender: Sender) -> Result<Option<Self>, Violation> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        let (is_last, opcode, is_masked) = (first & 0x80 != 0, first & 0x0f, second & 0x80 != 0);
        if first & 0x70 != 0 || !matches!(opcode, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG) {
            return Err(Violation::Reserved);
        }
        if is_masked != (sender == Sender::Program) {
            return Err(Violation::Masking);
        }
        let short = usize::from(second & 0x7f);
        if opcode >= CLOSE && (!is_last || short > CONTROL_BYTES_MAX) {
            return Err(Violation::Control);
        }
        let Some((length, of_length)) = length(short, rest)? else { return Ok(None) };
        if length > FRAME_BYTES_MAX {
            return Err(Violation::TooLarge);
        }
        let mask = match (is_masked, rest.get(of_length..of_length + 4)) {
            (false, _) => None,
            (true, None) => return Ok(None),
            (true, Some(mask)) => mask.try_into().ok(),
        };
        let size = 2 + of_length + if is_masked { 4 } else { 0 };
        Ok(Some(Self { is_last, opcode, mask, size, length }))
    }
}

/// The payload's length and how many bytes say it; a length is written in as few as it takes.
fn length(short: usize, rest: &[u8]) -> Result<Option<(usize, usize)>, Violation> {
    let (long, bytes, least) = match short {
        126 => match rest.first_chunk::<2>() {
            Some(bytes) => (u64::from(u16::from_be_bytes(*bytes)), 2, 126),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(bytes) => (u64::from_be_bytes(*bytes), 8, 1 << 16),
            None => return Ok(None),
        },
        short => return Ok(Some((short, 0))),
    };
    if long < least {
        return Err(Violation::Reserved);
    }
    Ok(Some((usize::try_from(long).map_err(|_| Violation::TooLarge)?, bytes)))
}

/// Takes a mask off, or puts it on.
pub(super) fn mask(payload: &mut [u8], key: [u8; 4]) {
    payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
}

/// Appends one frame; `key` masks it, as a client has to.
pub(super) fn frame(out: &mut Vec<u8>, is_last: bool, opcode: u8, payload: &[u8], key: Option<[u8; 4]>) {
    let masked = if key.is_some() { 0x80 } else { 0 };
    out.push(if is_last { 0x80 } else { 0 } | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ 0..=125), _) => out.push(masked | short),
        (_, Ok(length)) => {
            out.push(masked | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend(key.iter().flatten());
    let at = out.len();
    out.extend_from_slice(payload);
    if let Some(key) = key {
        mask(&mut out[at..], key);
    }
}
